"""docs/format.md is right and enough: a reader written from it alone agrees with ours."""

from __future__ import annotations

import enum
import json
import re
import struct
import zlib
from pathlib import Path
from typing import Any

import pytest
import zstandard

from mixstack.bpf import wire
from mixstack.capture import layout
from mixstack.capture.reader import read_capture
from mixstack.model import ChainEnd, NativeEnd, Step
from tests.unit.capture.captures import BEFORE_3_11, SEVERAL, SMALL, Contents, write

PAGE = (Path(__file__).parents[3] / "docs" / "format.md").read_text()


def tables(first_column: str) -> list[list[list[str]]]:
    """The rows of each table whose first column has that title."""
    found = []
    for block in PAGE.split("\n\n"):
        rows = [[cell.strip() for cell in line[1:-1].split("|")] for line in block.splitlines()]
        if rows and block.startswith(f"| {first_column} |"):
            found.append(rows[2:])
    return found


def test_the_head_of_a_record_is_described_as_it_is() -> None:
    described = [(name, int(at), int(size)) for at, size, name, _ in tables("offset")[2]]
    actual = [
        (name, getattr(wire.SampleHead, name).offset, getattr(wire.SampleHead, name).size)
        for name, *_ in wire.SampleHead._fields_
    ]
    assert described == actual


@pytest.mark.parametrize(
    ("column", "number", "values"),
    [
        ("type", 0, layout.BlockType),
        ("tag", 0, wire.EntryKind),
        ("tag", 1, Step),
        ("native_end", 0, NativeEnd),
        ("chain_end", 0, ChainEnd),
    ],
    ids=["block types", "chain entries", "steps", "native ends", "chain ends"],
)
def test_every_number_is_described(column: str, number: int, values: type[enum.IntEnum]) -> None:
    described = [(int(value), name) for value, name, _ in tables(column)[number]]
    assert described == [(member.value, member.name) for member in values]


def test_every_flag_of_a_stack_is_described() -> None:
    row = next(row for row in tables("offset")[2] if row[2] == "flags")
    described = {name: int(value) for value, name in re.findall(r"([0-9]+): ([A-Z]+)", row[3])}
    named = ("PAIRED", "SETTLED", "COUNTED", "SEVERAL")
    assert described == {name: wire.SampleFlag[name].value for name in named}


def test_every_key_of_every_line_is_described(tmp_path: Path) -> None:
    _, lines, _ = strangers_reader(tmp_path, SMALL)
    assert {name for name, _ in lines} == {name for _, name, _ in tables("type")[0]} - {"SAMPLES"}
    for name, line in lines:
        paragraph = re.search(rf"^\*\*{name}\*\*.*$", PAGE, re.MULTILINE)
        assert paragraph is not None
        assert set(re.findall(r"`([a-z_]+)`", paragraph[0])) >= set(_keys(line))


def _keys(value: Any) -> set[str]:
    if isinstance(value, dict):
        return set(value).union(*map(_keys, value.values()))
    if isinstance(value, list):
        return set().union(*map(_keys, value))
    return set()


@pytest.mark.parametrize(
    "contents",
    [SMALL, BEFORE_3_11, SEVERAL],
    ids=["segments", "frames paired with markers", "several thread states"],
)
def test_a_reader_written_from_the_page_agrees_with_ours(
    tmp_path: Path, contents: Contents
) -> None:
    version, lines, samples = strangers_reader(tmp_path, contents)
    ours = read_capture(str(tmp_path / "out.data"))
    assert version == 1
    assert [line["id"] for name, line in lines if name == "MODULES"] == list(ours.modules)
    assert lines[0] == ("RECORDING", json.loads(json.dumps(vars_of(ours.recording))))
    assert lines[-1][0] == "FOOTER"
    samples.sort(key=lambda s: s["time_ns"])
    assert len(samples) == len(contents.samples) + len(contents.records)
    for theirs, sample in zip(samples, ours.samples(), strict=True):
        stack = sample.stack
        assert (theirs["pid"], theirs["tid"], theirs["cpu"]) == (sample.pid, sample.tid, sample.cpu)
        assert theirs["comm"] == sample.thread_name.encode("utf-8", "surrogateescape")
        assert theirs["kernel"] == list(stack.kernel)
        assert theirs["native"] == [(f.pc or 0, f.cfa, f.step) for f in stack.native]
        assert theirs["native_end"] == stack.native_end
        assert theirs["chain_end"] == stack.chain_end
        assert theirs["sp"] == stack.stack_pointer
        assert theirs["end_pc"] & (1 << 56) - 1 == (stack.end_pc or 0)
        assert theirs["end_pc"] >> 56 == (stack.end_why or 0)
        assert theirs["marker_span"] == (stack.marker_span or 0)
        assert theirs["flags"] & 1 == stack.torn
        assert (theirs["flags"] & 64 > 0) == stack.counted
        assert theirs["segments"] == [
            (
                segment.marker,
                [
                    (f.code.address, f.code.fingerprint, f.offset, f.incomplete)
                    for f in segment.frames
                ],
            )
            for segment in stack.segments
        ]


def vars_of(value: Any) -> dict[str, Any]:
    return {name: getattr(value, name) for name in value.__slots__}


def strangers_reader(
    folder: Path, contents: Contents
) -> tuple[int, list[tuple[str, dict[str, Any]]], list[dict[str, Any]]]:
    """Version, lines with their block's name, samples of a file; knows nothing but the page."""
    path = folder / "out.data"
    write(path, contents)
    data = path.read_bytes()
    names = {int(kind): name for kind, name, _ in tables("type")[0]}
    magic, version, crc = struct.unpack_from("<8sII", data)
    assert magic.hex(" ") in PAGE
    assert crc == zlib.crc32(data[:12])
    at, sequence = 16, 0
    lines: list[tuple[str, dict[str, Any]]] = []
    samples: list[dict[str, Any]] = []
    while at < len(data):
        magic, kind, flags, number, stored, raw_size, payload_crc, head_crc = struct.unpack_from(
            "<4sHHIIIII", data, at
        )
        assert (magic, flags, number) == (b"MXBK", 0, sequence)
        assert head_crc == zlib.crc32(data[at : at + 24])
        payload = data[at + 28 : at + 28 + stored]
        assert payload_crc == zlib.crc32(payload)
        raw = zstandard.decompress(payload)
        assert len(raw) == raw_size
        if names[kind] == "SAMPLES":
            samples.extend(strangers_samples(raw))
        else:
            lines.extend((names[kind], json.loads(line)) for line in raw.decode().splitlines())
        at += 28 + stored
        sequence += 1
    return version, lines, samples


StrangersFrame = tuple[int, int, int, bool]
StrangersSegment = tuple[int | None, list[StrangersFrame]]


def strangers_segments(chain: list[int | StrangersFrame]) -> list[StrangersSegment]:
    segments: list[StrangersSegment] = []
    frames: list[StrangersFrame] = []
    for entry in chain:
        if isinstance(entry, int):
            segments.append((entry, frames[::-1]))
            frames = []
        else:
            frames.append(entry)
    if frames:
        segments.append((None, frames[::-1]))
    return segments[::-1]


def strangers_pairs(
    chain: list[int | StrangersFrame], flags: int, chain_end: int
) -> list[StrangersSegment]:
    states: list[tuple[list[StrangersFrame], list[int]]] = []
    for i, entry in enumerate(chain):
        if i == 0 or (not isinstance(entry, int) and isinstance(chain[i - 1], int)):
            states.append(([], []))
        if isinstance(entry, int):
            states[-1][1].append(entry)
        else:
            states[-1][0].append(entry)
    innermost_first: list[StrangersSegment] = []
    for number, (frames, markers) in enumerate(states):
        left_over = len(frames) - len(markers)
        if flags & 64:
            innermost_first += [(None, [frame]) for frame in frames]
        elif flags & 32 or number > 0:
            innermost_first += [
                ((markers[i] if i < len(markers) else 0) or None, [frame])
                for i, frame in enumerate(frames)
            ]
        elif abs(left_over) > 1 or (len(states) == 1 and chain_end != 0):
            innermost_first += [(None, [frame]) for frame in frames]
        else:
            innermost_first += [(marker, []) for marker in markers[: max(0, -left_over)]]
            markers = markers[max(0, -left_over) :]
            frames = frames[max(0, left_over) :]
            innermost_first += [
                (marker, [frame]) for marker, frame in zip(markers, frames, strict=True)
            ]
    return innermost_first[::-1]


def strangers_samples(raw: bytes) -> list[dict[str, Any]]:
    fields = [name for _, _, name, _ in tables("offset")[2]]
    samples, at = [], 0
    while at < len(raw):
        values = struct.unpack_from("<IIQIIIHHHBBIQQ16s", raw, at)
        sample: dict[str, Any] = dict(zip(fields, values, strict=True))
        sample["comm"] = sample["comm"].rstrip(b"\0")
        at += 72
        sample["kernel"] = list(struct.unpack_from(f"<{sample['n_kernel']}Q", raw, at))[::-1]
        at += 8 * sample["n_kernel"]
        chain: list[int | StrangersFrame] = []
        for _ in range(sample["n_chain"]):
            tagged, offset, fingerprint = struct.unpack_from("<QiI", raw, at)
            at += 16
            tag, address = tagged >> 56, tagged & (1 << 56) - 1
            chain.append(address if tag == 2 else (address, fingerprint, offset, tag == 1))
        sample["segments"] = (
            strangers_pairs(chain, sample["flags"], sample["chain_end"])
            if sample["flags"] & 16
            else strangers_segments(chain)
        )
        if sample["flags"] & 128:
            if all(marker is not None for marker, _ in sample["segments"]):
                sample["segments"].sort(key=lambda segment: -segment[0])
            else:
                sample["chain_end"] = sample["chain_end"] or 5
        native = []
        for _ in range(sample["n_native"]):
            tagged, cfa = struct.unpack_from("<QQ", raw, at)
            at += 16
            native.append((tagged & (1 << 56) - 1, cfa, tagged >> 56))
        sample["native"] = native[::-1]
        samples.append(sample)
    return samples
