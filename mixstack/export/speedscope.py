"""The speedscope file format; its JSON schema ships in the npm package speedscope."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate, islice
from typing import Final, NamedTuple, TextIO

from mixstack.model import Frame, FrameKind, Profile, ThreadProfile

SCHEMA: Final = "https://www.speedscope.app/file-format-schema.json"
ALL_THREADS: Final = "all threads"
OFF_CPU: Final = 0  # the stack id of time off the CPU
_CHUNK: Final = 16384  # values per write: large enough for the C encoder, small enough for memory

_FrameKey = tuple[str, str, int]  # name, file or "", line or -1: sortable, unlike None


class _Timeline(NamedTuple):
    """One `sampled` profile before it is text: columns of stack ids and nanoseconds."""

    name: str
    start_ns: int
    stack_ids: Sequence[int]
    durations_ns: Sequence[int]


def write_speedscope(profile: Profile, stream: TextIO) -> None:
    """Write `profile` as one JSON object, in ASCII; the same profile gives the same bytes.

    One profile per thread, sorted by (pid, tid), behind one of all threads: their busy stacks in
    order of time. An empty stack in a thread's profile is time off the CPU. Raises what
    `stream.write` raises.
    """
    keys = sorted({_key(frame) for stack in profile.stacks for frame in stack})
    index = {key: position for position, key in enumerate(keys)}
    samples = [_json([index[_key(frame)] for frame in stack]) for stack in profile.stacks]
    threads = sorted(profile.threads, key=lambda thread: (thread.pid, thread.tid))

    stream.write(f'{{"$schema":{_json(SCHEMA)},"shared":{{"frames":[\n')
    _write_joined(stream, (_json(_frame_object(key)) for key in keys), ",\n")
    stream.write('\n]},"profiles":[\n')
    for position, timeline in enumerate(_timelines(threads)):
        if position:
            stream.write(",\n")
        _write_timeline(timeline, samples, stream)
    stream.write(f'\n],"name":{_json(profile.title)},"activeProfileIndex":0,')
    stream.write(f'"exporter":{_json(profile.exporter)}}}\n')


def _timelines(threads: Sequence[ThreadProfile]) -> Iterator[_Timeline]:
    """All threads first, then each; times count from the start of the earliest thread."""
    origin_ns = min((thread.start_ns for thread in threads), default=0)
    several_processes = len({thread.pid for thread in threads}) > 1
    yield _all_threads(threads)
    for thread in threads:
        number = f"{thread.pid}/{thread.tid}" if several_processes else f"{thread.tid}"
        yield _Timeline(
            f"{thread.name} ({number})".lstrip(),
            thread.start_ns - origin_ns,
            thread.stack_ids,
            thread.durations_ns,
        )


def _all_threads(threads: Sequence[ThreadProfile]) -> _Timeline:
    """The busy stacks of all threads in order of the moment at which they began."""
    ids: list[int] = []
    durations: list[int] = []
    starts: list[int] = []
    for thread in threads:
        starts_here = accumulate(thread.durations_ns, initial=thread.start_ns)
        for start, stack_id, duration in zip(
            starts_here, thread.stack_ids, thread.durations_ns, strict=False
        ):  # not strict: `accumulate` yields the end of the thread as well
            if stack_id != OFF_CPU:
                starts.append(start)
                ids.append(stack_id)
                durations.append(duration)
    order = sorted(range(len(starts)), key=starts.__getitem__)  # stable: ties go by (pid, tid)
    return _Timeline(ALL_THREADS, 0, [ids[i] for i in order], [durations[i] for i in order])


def _write_timeline(timeline: _Timeline, samples: Sequence[str], stream: TextIO) -> None:
    head = {
        "type": "sampled",
        "name": timeline.name,
        "unit": "nanoseconds",
        "startValue": timeline.start_ns,
        # the application shows this difference as the total, so it comes from the weights
        "endValue": timeline.start_ns + sum(timeline.durations_ns),
    }
    stream.write(_json(head)[:-1])
    stream.write(',"samples":[')
    _write_joined(stream, (samples[stack_id] for stack_id in timeline.stack_ids), ",")
    stream.write('],"weights":[')
    _write_joined(stream, map(str, timeline.durations_ns), ",")
    stream.write("]}")


def _write_joined(stream: TextIO, parts: Iterable[str], separator: str) -> None:
    """Write `parts` with `separator` between them, some thousands at a time."""
    iterator = iter(parts)
    before = ""
    while chunk := separator.join(islice(iterator, _CHUNK)):
        stream.write(before)
        stream.write(chunk)
        before = separator


def _key(frame: Frame) -> _FrameKey:
    file = frame.file
    if file is None and frame.kind is FrameKind.KERNEL:
        file = "[kernel]"  # the application colours by file, so the kernel gets a hue of its own
    return frame.name, file or "", -1 if frame.line is None else frame.line


def _frame_object(key: _FrameKey) -> dict[str, str | int]:
    """Unknown fields are left out: the schema allows no null."""
    name, file, line = key
    frame: dict[str, str | int] = {"name": name}
    if file:
        frame["file"] = file
    if line >= 0:
        frame["line"] = line
    return frame


def _json(value: object) -> str:
    return json.dumps(value, separators=(",", ":"))
