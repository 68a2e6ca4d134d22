"""A capture and its names → a profile: who spent how long in which joined stack."""

from __future__ import annotations

import shlex
from array import array
from collections.abc import Callable, Iterator, Mapping
from itertools import compress
from operator import and_
from typing import NamedTuple, Protocol

from mixstack.columns import Part, SampleColumns
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

    def among(self, columns: SampleColumns, names: Mapping[tuple[int, int], str]) -> SampleColumns:
        """The samples of these that count; `names` as in `Capture.thread_names`."""
        of_thread = [
            (not self.pids or pid in self.pids)
            and (not self.threads or tid in self.threads or names.get((pid, tid)) in self.threads)
            for pid, tid in columns.thread_ids
        ]

        def those(part: Part) -> Part:
            kept = [*map(of_thread.__getitem__, part.threads)]
            if self.comms:
                comms = map(columns.seen.name, part.sights)
                kept = [*map(and_, kept, map(self.comms.__contains__, comms))]
            return Part(*(array(column.typecode, compress(column, kept)) for column in part))

        return columns._replace(parts=map(those, columns.parts))


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
    if wanted != ALL:
        columns = wanted.among(columns, capture.thread_names)
    joiner = Joiner(namer, columns.seen, show_interpreter=show_interpreter)
    lines = Timelines(columns.thread_ids, recording.start_ns, period_ns)
    last_sights: dict[int, int] = {}
    last_ns = recording.start_ns
    done = 0
    for times_ns, threads, sights in _parts(columns, namer):
        joins_of = {
            thread: joiner.joins_by_sight(columns.thread_ids[thread][0], times_ns[0])
            for thread in set(threads)
        }
        first, *others = joins_of.values()
        if all(other is first for other in others):  # of one process
            joins = [*map(first.__getitem__, sights)]
        else:
            joins = [joins_of[thread][sight] for thread, sight in zip(threads, sights, strict=True)]
        lines.add(threads, times_ns, joiner.stack_ids(joins))
        last_sights.update(zip(threads, sights, strict=True))
        last_ns = max(last_ns, times_ns[-1])
        done += len(times_ns)
        if progress is not None:
            progress(done)
    end_ns = max(footer.end_ns, last_ns) if footer else last_ns + (period_ns if done else 0)
    names = {
        thread: capture.thread_names.get(columns.thread_ids[thread], columns.seen.name(sight))
        for thread, sight in last_sights.items()
    }
    return Profile(
        title=shlex.join(recording.command),
        exporter=f"mixstack {recording.mixstack_version}",
        period_ns=period_ns,
        frames=joiner.frames,
        stacks=joiner.stacks,
        threads=lines.finish(end_ns, names),
        quality=joiner.tally().quality(footer.losses if footer else Losses(), capture.complete),
        thinned_ns=lines.window_ns,
    )


def _parts(columns: SampleColumns, namer: Namer) -> Iterator[Part]:
    """The samples in parts during each of which no address of any process changes its meaning."""
    for part in columns.parts:
        pids = {columns.thread_ids[thread][0] for thread in set(part.threads)}
        for begin in range(0, len(part.times_ns), _PART):
            yield from _halves(Part(*(c[begin : begin + _PART] for c in part)), pids, namer)


def _halves(part: Part, pids: set[int], namer: Namer) -> Iterator[Part]:
    def meanings(time_ns: int) -> list[int]:
        return [namer.generation(pid, time_ns) for pid in pids]

    samples = len(part.times_ns)
    if samples == 1 or meanings(part.times_ns[0]) == meanings(part.times_ns[-1]):
        yield part
    else:
        yield from _halves(Part(*(column[: samples // 2] for column in part)), pids, namer)
        yield from _halves(Part(*(column[samples // 2 :] for column in part)), pids, namer)
