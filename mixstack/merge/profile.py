"""A capture and its names → a profile: who spent how long in which joined stack."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator
from typing import NamedTuple, Protocol

from mixstack.merge.evaluators import Namer
from mixstack.merge.join import Joiner
from mixstack.merge.timeline import Timeline
from mixstack.model import Footer, Losses, Profile, Recording, Sample, ThreadProfile

_SECOND_NS = 1_000_000_000
_PROGRESS_EVERY = 4096


class Capture(Protocol):
    """What of a capture the profile is made of."""

    @property
    def recording(self) -> Recording: ...

    @property
    def footer(self) -> Footer | None: ...

    @property
    def complete(self) -> bool: ...

    def samples(self) -> Iterator[Sample]:
        """In order of time; equal stacks should be one object, which makes the join quick."""
        ...


class Wanted(NamedTuple):
    """Which samples count: those that fit each of these; an empty set is fitted by all.

    comms: names of threads, as the kernel had them at that moment.
    """

    pids: frozenset[int] = frozenset()
    tids: frozenset[int] = frozenset()
    comms: frozenset[str] = frozenset()

    def keeps(self, sample: Sample) -> bool:
        return (
            (not self.pids or sample.pid in self.pids)
            and (not self.tids or sample.tid in self.tids)
            and (not self.comms or sample.thread_name in self.comms)
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
    joiner = Joiner(namer, show_interpreter=show_interpreter)
    lines: dict[tuple[int, int], Timeline] = {}
    done, last_ns = 0, recording.start_ns
    for done, sample in enumerate(capture.samples(), start=1):
        if wanted is not ALL and not wanted.keeps(sample):
            continue
        time_ns, pid, tid, _, thread_name, _ = sample
        line = lines.get((pid, tid))
        if line is None:
            line = lines[pid, tid] = Timeline(recording.start_ns, period_ns)
        line.add(time_ns, joiner.stack_id(sample))
        line.thread_name = thread_name
        if time_ns > last_ns:
            last_ns = time_ns
        if progress is not None and done % _PROGRESS_EVERY == 0:
            progress(done)
    if progress is not None:
        progress(done)
    end_ns = max(footer.end_ns, last_ns) if footer else last_ns + (period_ns if done else 0)
    for line in lines.values():
        line.finish(end_ns)
    return Profile(
        title=shlex.join(recording.command),
        exporter=f"mixstack {recording.mixstack_version}",
        period_ns=period_ns,
        stacks=joiner.stacks,
        threads=tuple(
            ThreadProfile(
                pid,
                tid,
                line.thread_name,
                recording.start_ns,
                end_ns,
                line.stack_ids,
                line.durations_ns,
            )
            for (pid, tid), line in sorted(lines.items(), key=lambda entry: entry[0])
        ),
        quality=joiner.tally().quality(footer.losses if footer else Losses(), capture.complete),
    )
