"""A capture and its names → a profile: who spent how long in which joined stack."""

from __future__ import annotations

import shlex
from array import array
from collections.abc import Callable, Iterator, Mapping
from itertools import compress
from typing import NamedTuple, Protocol

from mixstack.columns import SampleColumns
from mixstack.merge.evaluators import Namer
from mixstack.merge.join import Joiner
from mixstack.merge.lines import Timelines
from mixstack.model import Footer, Losses, Profile, Recording

_SECOND_NS = 1_000_000_000
_PART = 1 << 14  # samples that are taken at once


class Capture(Protocol):
    """What of a capture the profile is made of."""

    @property
    def recording(self) -> Recording: ...

    @property
    def footer(self) -> Footer | None: ...

    @property
    def complete(self) -> bool: ...

    @property
    def thread_names(self) -> Mapping[tuple[int, int], str]:
        """What Python calls a thread, by (pid, tid)."""
        ...

    def columns(self) -> SampleColumns:
        """All samples, in order of time."""
        ...


class Wanted(NamedTuple):
    """Which samples count: those that fit each of these; an empty set is fitted by all.

    threads: their numbers, or what Python calls them. comms: names of threads, as the kernel had
    them at that moment.
    """

    pids: frozenset[int] = frozenset()
    threads: frozenset[int | str] = frozenset()
    comms: frozenset[str] = frozenset()

    def keeps(self, pid: int, tid: int, name: str | None, comm: str) -> bool:
        return (
            (not self.pids or pid in self.pids)
            and (not self.threads or tid in self.threads or name in self.threads)
            and (not self.comms or comm in self.comms)
        )

    def among(self, columns: SampleColumns, names: Mapping[tuple[int, int], str]) -> SampleColumns:
        """The samples of these that count; `names` as in `Capture.thread_names`."""
        comms = [comm for comm, _ in columns.seen]
        threads = [(*thread, names.get(thread)) for thread in columns.thread_ids]
        kept = [
            self.keeps(*threads[thread], comms[sight])
            for thread, sight in zip(columns.threads, columns.sights, strict=True)
        ]

        def those(column: array[int]) -> array[int]:
            return array(column.typecode, compress(column, kept))

        return columns._replace(
            times_ns=those(columns.times_ns),
            threads=those(columns.threads),
            sights=those(columns.sights),
        )


ALL = Wanted()


def build_profile(
    capture: Capture,
    namer: Namer,
    *,
    show_interpreter: bool,
    wanted: Wanted = ALL,
    progress: Callable[[int], None] | None = None,
) -> Profile:
    """Join, name and add up the samples; `progress` hears now and then how many are done.

    A recording without a footer ends one period after its last sample.
    """
    recording, footer = capture.recording, capture.footer
    period_ns = round(_SECOND_NS / recording.rate_hz)
    columns = capture.columns()
    if wanted is not ALL:
        columns = wanted.among(columns, capture.thread_names)
    joiner = Joiner(namer, columns.seen, show_interpreter=show_interpreter)
    lines = Timelines(columns.thread_ids, recording.start_ns, period_ns)
    last_sights: dict[int, int] = {}
    done = 0
    for part in _parts(columns, namer):
        times_ns, threads, sights = (
            columns.times_ns[part],
            columns.threads[part],
            columns.sights[part],
        )
        joins_of = {
            thread: joiner.joins_by_sight(columns.thread_ids[thread][0], times_ns[0])
            for thread in set(threads)
        }
        joins = [joins_of[thread][sight] for thread, sight in zip(threads, sights, strict=True)]
        lines.add(threads, times_ns, joiner.stack_ids(joins))
        last_sights.update(zip(threads, sights, strict=True))
        done = part.stop
        if progress is not None:
            progress(done)
    last_ns = max(recording.start_ns, columns.times_ns[-1]) if done else recording.start_ns
    end_ns = max(footer.end_ns, last_ns) if footer else last_ns + (period_ns if done else 0)
    names = {
        thread: capture.thread_names.get(columns.thread_ids[thread], columns.seen[sight][0])
        for thread, sight in last_sights.items()
    }
    return Profile(
        title=shlex.join(recording.command),
        exporter=f"mixstack {recording.mixstack_version}",
        period_ns=period_ns,
        stacks=joiner.stacks,
        threads=lines.finish(end_ns, names),
        quality=joiner.tally().quality(footer.losses if footer else Losses(), capture.complete),
        thinned_ns=lines.window_ns,
    )


def _parts(columns: SampleColumns, namer: Namer) -> Iterator[slice]:
    """The samples in parts during each of which no address of any process changes its meaning."""
    pids = {pid for pid, _ in columns.thread_ids}

    def meanings(sample: int) -> list[int]:
        return [namer.generation(pid, columns.times_ns[sample]) for pid in pids]

    def halves(begin: int, end: int) -> Iterator[slice]:
        if end - begin == 1 or meanings(begin) == meanings(end - 1):
            yield slice(begin, end)
        else:
            middle = (begin + end) // 2
            yield from halves(begin, middle)
            yield from halves(middle, end)

    samples = len(columns.times_ns)
    for begin in range(0, samples, _PART):
        yield from halves(begin, min(begin + _PART, samples))
