"""The speedscope file format; its JSON schema ships in the npm package speedscope."""

from __future__ import annotations

import json
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate, chain, compress, islice
from typing import Final, NamedTuple, TextIO

from mixstack.model import Frame, FrameKind, Profile, ThreadProfile

SCHEMA: Final = "https://www.speedscope.app/file-format-schema.json"
ALL_THREADS: Final = "all threads"
_CHUNK: Final = 16384  # values per write: large enough for the C encoder, small enough for memory

_FrameKey = tuple[str, str, int]  # name, file or "", line or -1: sortable, unlike None


class _Timeline(NamedTuple):
    """One `sampled` profile before it is text: columns of stack ids and nanoseconds."""

    name: str
    start_ns: int
    stack_ids: array[int]
    durations_ns: array[int]


def write_speedscope(profile: Profile, stream: TextIO) -> None:
    """Write `profile` as one JSON object, in ASCII; the same profile gives the same bytes.

    One profile per thread, sorted by (pid, tid), behind one of all threads: their busy stacks in
    order of time. An empty stack in a thread's profile is time off the CPU. The name says if time
    lines were thinned. Raises what `stream.write` raises.
    """
    shown = set(chain.from_iterable(profile.stacks))
    key_of = {number: _key(profile.frames[number]) for number in shown}
    keys = sorted(set(key_of.values()))
    position = {key: str(number) for number, key in enumerate(keys)}
    position_of = {number: position[key] for number, key in key_of.items()}
    samples = [f"[{','.join(map(position_of.__getitem__, stack))}]" for stack in profile.stacks]
    threads = sorted(profile.threads, key=lambda thread: (thread.pid, thread.tid))

    stream.write(f'{{"$schema":{_json(SCHEMA)},"shared":{{"frames":[\n')
    _write_joined(stream, (_json(_frame_object(key)) for key in keys), ",\n")
    stream.write('\n]},"profiles":[\n')
    for number, timeline in enumerate(_timelines(threads)):
        if number:
            stream.write(",\n")
        _write_timeline(timeline, samples, stream)
    stream.write(f'\n],"name":{_json(_title(profile))},"activeProfileIndex":0,')
    stream.write(f'"exporter":{_json(profile.exporter)}}}\n')


def _title(profile: Profile) -> str:
    if profile.thinned_ns == 0:
        return profile.title
    window = f"{profile.thinned_ns / 1e9:.3g} s"
    return f"{profile.title} [too long to show in full: no order within {window}]"


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
    ids, durations = array("I"), array("Q")
    begins = [array("Q", accumulate(t.durations_ns, initial=t.start_ns)) for t in threads]
    at = [0] * len(threads)
    for until_ns in _windows(threads):
        moments: list[int] = []
        found_ids: list[int] = []
        found_ns: list[int] = []
        for number, thread in enumerate(threads):
            end = bisect_left(begins[number], until_ns, at[number], len(thread.stack_ids))
            part = slice(at[number], end)
            busy = thread.stack_ids[part].tolist()  # as selectors: time off the CPU is stack 0
            moments += compress(begins[number][part].tolist(), busy)
            found_ids += compress(busy, busy)
            found_ns += compress(thread.durations_ns[part].tolist(), busy)
            at[number] = end
        # Of turns that began at one moment, those of the thread that sorts first stay first.
        order = sorted(range(len(moments)), key=moments.__getitem__)
        ids.fromlist([*map(found_ids.__getitem__, order)])
        durations.fromlist([*map(found_ns.__getitem__, order)])
    return _Timeline(ALL_THREADS, 0, ids, durations)


def _windows(threads: Sequence[ThreadProfile]) -> Iterator[int]:
    """Moments (ns) up to which turns are sorted at once: some thousand each, for memory's sake."""
    turns = sum(len(thread.stack_ids) for thread in threads)
    start_ns = min((thread.start_ns for thread in threads), default=0)
    end_ns = max((thread.end_ns for thread in threads), default=0)
    count = 1 + turns // _CHUNK
    for number in range(1, count):
        yield start_ns + (end_ns - start_ns) * number // count
    yield end_ns + 1


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
    _write_joined(stream, map(samples.__getitem__, timeline.stack_ids), ",")
    stream.write('],"weights":[')
    _write_numbers(stream, timeline.durations_ns)
    stream.write("]}")


def _write_numbers(stream: TextIO, numbers: array[int]) -> None:
    """Write numbers with commas between them; formatted in bulk, which is quicker by half."""
    for begin in range(0, len(numbers), _CHUNK):
        some = tuple(numbers[begin : begin + _CHUNK])
        stream.write("," if begin else "")
        stream.write(",".join(["%d"] * len(some)) % some)


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
    name = f"{frame.name} (inlined)" if frame.inlined else frame.name
    return name, file or "", -1 if frame.line is None else frame.line


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
