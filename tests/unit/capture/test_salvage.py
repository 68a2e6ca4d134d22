"""A capture that was cut, damaged or killed: what can be read is read, and never anything wrong."""

from __future__ import annotations

import errno
import json
import os
import random
import signal
import struct
import subprocess
import sys
import time
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard

from mixstack.capture.layout import (
    BLOCK_HEAD_SIZE,
    FILE_HEAD_SIZE,
    MAGIC,
    RAW_MAX,
    VERSION,
    BlockHead,
    BlockType,
    pack_block_head,
    pack_file_head,
    unpack_block_head,
)
from mixstack.capture.reader import Capture, read_capture
from mixstack.errors import (
    CaptureError,
    DamagedCapture,
    EmptyCapture,
    NewerCapture,
    NoCapture,
    NotACapture,
)
from tests.encode import encode_sample
from tests.unit.capture.captures import SMALL, is_part_of, write

GOOD = encode_sample(SMALL.samples[0])


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "out.data"


def small_file(path: Path) -> tuple[bytes, Capture]:
    write(path, SMALL)
    return path.read_bytes(), read_capture(str(path))


def block(kind: int, sequence: int, raw: bytes, **changes: int) -> bytes:
    stored = zstandard.compress(raw)
    head = BlockHead(kind, sequence, len(stored), len(raw), zlib.crc32(stored))
    return pack_block_head(head._replace(**changes)) + stored


def block_starts(data: bytes) -> list[int]:
    at, starts = FILE_HEAD_SIZE, []
    while at < len(data):
        starts.append(at)
        at += BLOCK_HEAD_SIZE + unpack_block_head(data[at : at + BLOCK_HEAD_SIZE]).stored_size
    return starts


def test_cut_at_every_byte(path: Path) -> None:
    """What is read of a cut file is a prefix of the whole, and the cut is said."""
    data, whole = small_file(path)
    starts = block_starts(data)
    counts = []
    for size in range(len(data)):
        path.write_bytes(data[:size])
        if size == 0:
            with pytest.raises(EmptyCapture):
                read_capture(str(path))
        elif size < starts[1]:
            with pytest.raises(DamagedCapture):
                read_capture(str(path))
        else:
            capture = read_capture(str(path))
            assert is_part_of(capture, whole)
            assert capture.problem is not None
            assert "did not end properly" in capture.problem
            assert not capture.complete
            assert capture.footer is None
            counts.append(capture.sample_count)
    assert counts == sorted(counts)
    assert set(counts) == {0, 1, 2, 3}


def test_every_byte_flipped(path: Path) -> None:
    """One damaged byte costs at most its own block, and is never read as a value."""
    data, whole = small_file(path)
    starts = block_starts(data)
    rng = random.Random(1)
    for at in range(len(data)):
        damaged = bytearray(data)
        damaged[at] ^= rng.randrange(1, 256)
        path.write_bytes(damaged)
        if at < starts[1]:
            with pytest.raises((NotACapture, DamagedCapture)):
                read_capture(str(path))
            continue
        capture = read_capture(str(path))
        assert is_part_of(capture, whole)
        assert capture.problem is not None
        lost = max(start for start in starts if start <= at)
        kind = unpack_block_head(data[lost : lost + BLOCK_HEAD_SIZE]).type
        missing = whole.sample_count - capture.sample_count
        assert missing == (kind == BlockType.SAMPLES)
        assert (capture.footer is None) == (kind == BlockType.FOOTER)
        assert len(whole.codes) - len(capture.codes) == (2 if kind == BlockType.CODES else 0)


def test_a_hole_in_the_middle_is_searched_through(path: Path) -> None:
    data, whole = small_file(path)
    starts = block_starts(data)
    path.write_bytes(data[: starts[3]] + bytes(3 << 20) + data[starts[5] :])
    capture = read_capture(str(path))
    assert is_part_of(capture, whole)
    assert list(capture.samples()) == list(whole.samples())
    assert capture.problem == "2 damaged blocks were left out"


def test_what_only_looks_like_a_block_is_not_taken_for_one(path: Path) -> None:
    data, whole = small_file(path)
    starts = block_starts(data)
    seen = data[starts[1] : starts[2]]
    beyond_the_end = block(BlockType.SAMPLES, 99, GOOD, stored_size=1 << 20)
    fakes = b"--MXBK--MXBMXBK" + seen + beyond_the_end
    path.write_bytes(data[: starts[3]] + fakes + data[starts[3] :])
    capture = read_capture(str(path))
    assert list(capture.samples()) == list(whole.samples())
    assert capture.problem == f"{len(fakes)} damaged bytes were left out"
    path.write_bytes(data[: starts[3]] + fakes)
    assert read_capture(str(path)).sample_count == 0


@pytest.mark.parametrize("shift", range(-5, 2))
def test_the_search_finds_a_head_across_the_edge_of_its_window(path: Path, shift: int) -> None:
    data, whole = small_file(path)
    starts = block_starts(data)
    path.write_bytes(data[: starts[3]] + bytes((1 << 20) + shift) + data[starts[3] :])
    capture = read_capture(str(path))
    assert list(capture.samples()) == list(whole.samples())
    assert capture.problem == f"{(1 << 20) + shift} damaged bytes were left out"


def test_a_block_that_is_there_twice_counts_once(path: Path) -> None:
    data, whole = small_file(path)
    starts = block_starts(data)
    samples = next(
        i
        for i, at in enumerate(starts)
        if unpack_block_head(data[at:][:28]).type == BlockType.SAMPLES
    )
    again = data[starts[samples] : starts[samples + 1]]
    path.write_bytes(data[: starts[samples + 1]] + again + data[starts[samples + 1] :])
    capture = read_capture(str(path))
    assert list(capture.samples()) == list(whole.samples())
    assert capture.problem == f"{len(again)} damaged bytes were left out"


def test_rubbish_behind_the_footer_is_said(path: Path) -> None:
    data, whole = small_file(path)
    path.write_bytes(data + b"rubbish")
    capture = read_capture(str(path))
    assert list(capture.samples()) == list(whole.samples())
    assert capture.footer == whole.footer
    assert capture.problem == "7 damaged bytes were left out"


def patched(at: int, form: str, value: int) -> bytes:
    record = bytearray(GOOD)
    struct.pack_into(form, record, at, value)
    return bytes(record)


# GOOD has no kernel frames, three chain entries and three native frames.
BAD_RECORDS = {
    "a head that is cut off": GOOD[:71],
    "frames that are cut off": GOOD[:-8],
    "a record that is no sample": patched(0, "<I", 2),
    "more kernel frames than there are bytes": patched(28, "<H", 65535),
    "more chain entries than there are bytes": patched(30, "<H", 65535),
    "more native frames than there are bytes": patched(32, "<H", 65535),
    "an unknown end of the native walk": patched(34, "<B", 200),
    "an unknown end of the chain": patched(35, "<B", 200),
    "an unknown kind of chain entry": patched(72 + 7, "<B", 3),
    "an unknown step to a native frame": patched(72 + 3 * 16 + 7, "<B", 5),
    "not a multiple of a record": GOOD + b"\0",
}


@pytest.mark.parametrize("bad", BAD_RECORDS.values(), ids=BAD_RECORDS)
def test_a_sound_block_with_a_bad_record_keeps_those_before_it(path: Path, bad: bytes) -> None:
    data, _ = small_file(path)
    last = block_starts(data)[-1]
    sequence = unpack_block_head(data[last : last + BLOCK_HEAD_SIZE]).sequence
    added = block(BlockType.SAMPLES, sequence, GOOD + GOOD + bad)
    path.write_bytes(data[:last] + added)
    capture = read_capture(str(path))
    rest = 3 if bad.startswith(GOOD) else 2
    assert capture.sample_count == 3 + rest
    assert len(list(capture.samples())) == 3 + rest
    assert capture.problem is not None
    assert "1 damaged block was left out" in capture.problem


BAD_LINES = {
    "no JSON": b"{",
    "no UTF-8": b'{"id": "\xff"}\n',
    "no object": b"[1]\n",
    "a missing key": b'{"id": 1}\n',
    "a wrong type": b'{"id": "1", "path": "x"}\n',
    "a boolean for a number": b'{"id": true, "path": "x"}\n',
    "deeper than any parser goes": b"[" * 100_000,
    "a number too long to convert": b'{"id": ' + b"1" * 10_000 + b', "path": "x"}\n',
}


@pytest.mark.parametrize("line", BAD_LINES.values(), ids=BAD_LINES)
def test_a_sound_block_with_a_bad_line_is_left_out(path: Path, line: bytes) -> None:
    good = b'{"id": 7, "path": "seven", "a later version": [1]}\n'
    data, whole = small_file(path)
    last = block_starts(data)[-1]
    sequence = unpack_block_head(data[last : last + BLOCK_HEAD_SIZE]).sequence
    path.write_bytes(data[:last] + block(BlockType.MODULES, sequence, good + line))
    capture = read_capture(str(path))
    assert capture.modules == whole.modules
    path.write_bytes(data[:last] + block(BlockType.MODULES, sequence, good))
    assert set(read_capture(str(path)).modules) == {1, 2, 7}


BAD_CODES = {
    "a line table that is no base64": {"linetable": "%"},
    "a line table that is no ASCII": {"linetable": "é"},
    "a version of two numbers": {"version": [3, 12]},
    "a version that is no list": {"version": "3.12"},
}


@pytest.mark.parametrize("changes", BAD_CODES.values(), ids=BAD_CODES)
def test_an_impossible_code_is_left_out(path: Path, changes: dict[str, object]) -> None:
    texts = dict.fromkeys(("name", "qualname", "filename"), "x")
    numbers = dict.fromkeys(("pid", "address", "fingerprint", "first_line"), 1)
    data, whole = small_file(path)
    last = block_starts(data)[-1]
    sequence = unpack_block_head(data[last : last + BLOCK_HEAD_SIZE]).sequence
    for added, count in (({"linetable": "AA=="}, 3), (changes, 2)):
        line = json.dumps(texts | numbers | added).encode()
        path.write_bytes(data[:last] + block(BlockType.CODES, sequence, line))
        assert len(read_capture(str(path)).codes) == count
    assert len(whole.codes) == 2


BAD_PROCESSES = {
    "a version of two numbers": {"version": [3, 12], "module_id": 1, "evaluator": None},
    "an evaluator of one address": {"version": [3, 12, 1], "module_id": 1, "evaluator": [1]},
    "an interpreter that is a number": 3,
    "a version that is no list": {"version": "3.12", "module_id": 1, "evaluator": None},
}


@pytest.mark.parametrize("interpreter", BAD_PROCESSES.values(), ids=BAD_PROCESSES)
def test_an_impossible_interpreter_is_left_out(path: Path, interpreter: object) -> None:
    line = json.dumps({"pid": 9, "command": [], "interpreter": interpreter}).encode()
    data, whole = small_file(path)
    last = block_starts(data)[-1]
    sequence = unpack_block_head(data[last : last + BLOCK_HEAD_SIZE]).sequence
    path.write_bytes(data[:last] + block(BlockType.PROCESSES, sequence, line))
    capture = read_capture(str(path))
    assert capture.processes == whole.processes
    assert "damaged" in (capture.problem or "")


def test_a_block_of_an_unknown_type_is_passed_over(path: Path) -> None:
    data, whole = small_file(path)
    last = block_starts(data)[-1]
    head = unpack_block_head(data[last : last + BLOCK_HEAD_SIZE])
    footer = (
        pack_block_head(head._replace(sequence=head.sequence + 1)) + data[last + BLOCK_HEAD_SIZE :]
    )
    path.write_bytes(data[:last] + block(200, head.sequence, b"from a later day") + footer)
    capture = read_capture(str(path))
    assert capture.problem is None
    assert list(capture.samples()) == list(whole.samples())


BOMBS = {
    "the head claims too much": lambda: block(BlockType.SAMPLES, 1, b"", raw_size=RAW_MAX + 1),
    "the frame holds more than the head says": lambda: block(
        BlockType.SAMPLES, 1, bytes(1000), raw_size=72
    ),
    "the frame holds less than the head says": lambda: block(
        BlockType.SAMPLES, 1, bytes(1000), raw_size=2000
    ),
    "the frame says no size": lambda: _stored(
        zstandard.ZstdCompressor(write_content_size=False).compress(bytes(72)), 72
    ),
    "two frames in one block": lambda: _stored(zstandard.compress(bytes(72)) * 2, 72),
    "a frame that lies about its size": lambda: _stored(_lying_frame(), 72),
    "no frame at all": lambda: _stored(b"not zstd", 72),
    "nothing at all": lambda: _stored(b"", 0),
}


def _stored(stored: bytes, raw_size: int) -> bytes:
    head = BlockHead(BlockType.SAMPLES, 1, len(stored), raw_size, zlib.crc32(stored))
    return pack_block_head(head) + stored


def _lying_frame() -> bytes:
    """Single-segment frame whose one-byte content size is changed: byte 5 (RFC 8878, 3.1.1)."""
    frame = bytearray(zstandard.compress(bytes(200)))
    assert frame[4] & 0x20
    assert frame[5] == 200
    frame[5] = 72
    return bytes(frame)


@pytest.mark.parametrize("made", BOMBS.values(), ids=BOMBS)
def test_a_block_that_unpacks_to_something_else_is_left_out(
    path: Path, made: Callable[[], bytes]
) -> None:
    data, _ = small_file(path)
    path.write_bytes(data[: block_starts(data)[1]] + made())
    capture = read_capture(str(path))
    assert capture.sample_count == 0
    assert not capture.complete


@pytest.mark.parametrize("data", [b"PERFILE2" + bytes(100), b"{}", b"\x93mixstuff" * 4, b"\0"])
def test_something_else_is_not_a_capture(path: Path, data: bytes) -> None:
    path.write_bytes(data)
    with pytest.raises(NotACapture):
        read_capture(str(path))


def test_a_newer_version_is_said(path: Path) -> None:
    data, _ = small_file(path)
    path.write_bytes(pack_file_head(VERSION + 1) + data[FILE_HEAD_SIZE:])
    with pytest.raises(NewerCapture, match=f"format {VERSION + 1}"):
        read_capture(str(path))


def test_version_zero_never_was(path: Path) -> None:
    data, _ = small_file(path)
    path.write_bytes(pack_file_head(0) + data[FILE_HEAD_SIZE:])
    with pytest.raises(DamagedCapture):
        read_capture(str(path))


def test_no_file(path: Path) -> None:
    with pytest.raises(NoCapture, match="no file"):
        read_capture(str(path))


def test_a_folder(tmp_path: Path) -> None:
    with pytest.raises(NoCapture, match="folder"):
        read_capture(str(tmp_path))


def test_a_pipe_is_refused_and_not_waited_for(path: Path) -> None:
    os.mkfifo(path)
    with pytest.raises(NoCapture, match="not a regular file"):
        read_capture(str(path))


def test_a_disk_that_fails(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small_file(path)

    def fails(fd: int, size: int, offset: int) -> bytes:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "pread", fails)
    with pytest.raises(NoCapture, match="Input/output error"):
        read_capture(str(path))


def test_an_impossible_name() -> None:
    with pytest.raises(NoCapture):
        read_capture("nul\0byte")


def test_every_error_has_a_hint(path: Path) -> None:
    path.write_bytes(MAGIC)
    with pytest.raises(CaptureError) as caught:
        read_capture(str(path))
    assert caught.value.hint


WRITE_FOR_EVER = """
import sys, time
from tests.unit.capture.captures import *
from mixstack.capture.writer import CaptureWriter
writer = CaptureWriter(sys.argv[1], RECORDING)
add_all_but_samples(writer, SMALL)
print("ready", flush=True)
number = 0
while True:
    for _ in range(50):
        writer.add_samples(encode_sample(SMALL.samples[0]._replace(time_ns=number)))
        number += 1
    writer.flush()
"""


def test_kill_9_at_any_moment_leaves_a_readable_file(tmp_path: Path) -> None:
    rng = random.Random(9)
    root = Path(__file__).parents[3]
    for attempt in range(8):
        path = tmp_path / f"{attempt}.data"
        child = subprocess.Popen(
            [sys.executable, "-c", WRITE_FOR_EVER, str(path)], cwd=root, stdout=subprocess.PIPE
        )
        assert child.stdout is not None
        assert child.stdout.readline() == b"ready\n"
        time.sleep(rng.random() / 10)
        child.send_signal(signal.SIGKILL)
        child.wait()
        child.stdout.close()
        capture = read_capture(str(path))
        times = [s.time_ns for s in capture.samples()]
        assert times == list(range(len(times)))
        assert len(times) % 50 == 0
        assert capture.problem is not None
        assert "did not end properly" in capture.problem
        if times:
            assert set(capture.modules) == {1, 2}
