"""Where a capture may be written, what becomes of an earlier one, and a disk that fills up."""

from __future__ import annotations

import errno
import os
import resource
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mixstack.capture import place
from mixstack.capture.reader import read_capture
from mixstack.capture.writer import CaptureWriter
from mixstack.errors import OutputError, ReaderGone
from tests.encode import encode_sample
from tests.unit.capture.captures import FOOTER, RECORDING, SMALL, add_all_but_samples, write

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to change owners and mount")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "out.data"


def noise(number: int) -> bytes:
    """A sample record that does not compress."""
    stack = SMALL.samples[0].stack
    kernel = tuple(int.from_bytes(os.urandom(8), "little") for _ in range(100))
    return encode_sample(
        SMALL.samples[0]._replace(time_ns=number, stack=stack._replace(kernel=kernel))
    )


def test_only_the_owner_may_read_it(path: Path) -> None:
    previous = os.umask(0)
    try:
        write(path, SMALL)
    finally:
        os.umask(previous)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_file_is_a_capture_from_its_first_moment(path: Path) -> None:
    writer = CaptureWriter(str(path), RECORDING)
    assert writer.size == path.stat().st_size
    assert read_capture(str(path)).recording == RECORDING
    writer.abandon()


def test_a_flush_makes_all_that_was_added_readable(path: Path) -> None:
    writer = CaptureWriter(str(path), RECORDING)
    add_all_but_samples(writer, SMALL)
    writer.add_samples(encode_sample(SMALL.samples[0]))
    assert read_capture(str(path)).sample_count == 0
    writer.flush()
    capture = read_capture(str(path))
    assert list(capture.samples()) == [SMALL.samples[0]]
    assert capture.modules == {m.id: m for m in SMALL.modules}
    size = writer.size
    writer.flush()
    assert writer.size == size == path.stat().st_size
    writer.abandon()


def test_an_earlier_capture_is_kept_as_old(path: Path) -> None:
    old = path.with_name("out.data.old")
    old.write_bytes(b"the one before")
    path.write_bytes(b"an earlier one")
    write(path, SMALL)
    assert old.read_bytes() == b"an earlier one"
    assert read_capture(str(path)).complete


def test_abandoned_before_the_first_sample_nothing_has_changed(path: Path) -> None:
    path.write_bytes(b"an earlier one")
    writer = CaptureWriter(str(path), RECORDING)
    add_all_but_samples(writer, SMALL)
    writer.flush()
    writer.abandon()
    writer.abandon()
    assert path.read_bytes() == b"an earlier one"
    assert os.listdir(path.parent) == ["out.data"]


def test_abandoned_without_an_earlier_one_nothing_is_left(path: Path) -> None:
    CaptureWriter(str(path), RECORDING).abandon()
    assert os.listdir(path.parent) == []


def test_abandoning_does_not_remove_what_someone_put_there_since(path: Path) -> None:
    writer = CaptureWriter(str(path), RECORDING)
    path.unlink()
    path.write_bytes(b"not ours")
    writer.abandon()
    assert path.read_bytes() == b"not ours"


def test_abandoned_with_samples_they_stay(path: Path) -> None:
    writer = CaptureWriter(str(path), RECORDING)
    writer.add_samples(encode_sample(SMALL.samples[0]))
    writer.flush()
    writer.abandon()
    capture = read_capture(str(path))
    assert capture.sample_count == 1
    assert not capture.complete


def refused(path: Path | str, says: str) -> OutputError:
    with pytest.raises(OutputError, match=says) as caught:
        CaptureWriter(str(path), RECORDING)
    assert caught.value.hint
    return caught.value


def test_a_folder_is_refused(path: Path) -> None:
    path.mkdir()
    refused(path, "is a folder")


def test_a_folder_in_the_place_of_the_old_one_is_refused(path: Path) -> None:
    path.write_bytes(b"an earlier one")
    path.with_name("out.data.old").mkdir()
    refused(path, r"out\.data\.old is a folder")
    assert path.read_bytes() == b"an earlier one"


@pytest.mark.parametrize("target", ["somewhere", "nowhere"])
def test_a_link_is_refused_and_not_followed(path: Path, target: str) -> None:
    path.with_name("somewhere").write_bytes(b"precious")
    path.symlink_to(target)
    refused(path, "symbolic link")
    assert path.with_name("somewhere").read_bytes() == b"precious"
    assert path.is_symlink()
    assert not path.with_name("nowhere").exists()


def test_a_pipe_is_refused(path: Path) -> None:
    os.mkfifo(path)
    refused(path, "not a regular file")


@as_root
def test_the_file_of_another_user_is_refused(path: Path) -> None:
    path.write_bytes(b"theirs")
    os.chown(path, 12345, 12345)
    refused(path, "belongs to another user")
    assert path.read_bytes() == b"theirs"


def test_a_folder_that_is_not_there(path: Path) -> None:
    refused(path / "deeper" / "out.data", "No such file or directory")


@pytest.mark.parametrize(
    ("name", "says"),
    [("", "No such file"), ("nul\0byte", "null"), ("x" * 300, "too long")],
    ids=["empty", "with a zero byte", "too long"],
)
def test_an_impossible_name(tmp_path: Path, name: str, says: str) -> None:
    refused(f"{tmp_path}/{name}" if name else "", says)


REFUSED_AS_NOBODY = """
import os, sys
from mixstack.capture.writer import CaptureWriter
from mixstack.errors import OutputError, ReaderGone
from tests.unit.capture.captures import RECORDING
os.setuid(12345)
try:
    CaptureWriter(sys.argv[1], RECORDING)
except OutputError as e:
    print(e.message)
"""


@as_root
def test_a_folder_without_permission(tmp_path: Path) -> None:
    for folder in (tmp_path, *tmp_path.parents[:-2]):
        folder.chmod(0o755)
    root = Path(__file__).parents[3]
    done = subprocess.run(
        [sys.executable, "-c", REFUSED_AS_NOBODY, str(tmp_path / "out.data")],
        cwd=root,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "Permission denied" in done.stdout


def test_whoever_puts_a_file_there_in_between_is_refused(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def in_between(_: place.Place, name: str) -> bool:
        path.write_bytes(b"in between")
        return False

    monkeypatch.setattr(place.Place, "_is_our_file", in_between)
    refused(path, "File exists")
    assert path.read_bytes() == b"in between"


def test_an_earlier_capture_gets_its_name_back_if_the_new_one_cannot_be_made(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path.write_bytes(b"an earlier one")

    really_open = os.open

    def fails(name: str, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        if flags & os.O_CREAT:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return really_open(name, flags, mode, dir_fd=dir_fd)

    monkeypatch.setattr(os, "open", fails)
    refused(path, "Too many open files")
    assert path.read_bytes() == b"an earlier one"


def test_an_error_on_closing_is_said(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A network file system may say only then that there was no room."""
    writer = CaptureWriter(str(path), RECORDING)
    close = os.close

    def fails(fd: int) -> None:
        close(fd)
        raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))

    with monkeypatch.context() as patch:
        patch.setattr(os, "close", fails)
        with pytest.raises(OutputError, match="cannot finish"):
            writer.close(FOOTER)
    writer.abandon()


# --- the disk fills up ------------------------------------------------------------------------


def fill(writer: CaptureWriter) -> OutputError:
    """Write until it fails, with a flush after every 20 samples."""
    for number in range(10_000):
        writer.add_samples(noise(number))
        if number % 20 == 19:
            try:
                writer.flush()
            except OutputError as e:
                return e
    raise AssertionError("the disk did not fill up")


def check_kept(path: Path, writer: CaptureWriter, error: OutputError) -> None:
    assert writer.size == path.stat().st_size
    assert str(writer.size) in error.message
    with pytest.raises(OutputError) as again:
        writer.close(FOOTER)
    assert again.value is error
    writer.abandon()
    capture = read_capture(str(path))
    assert capture.file_size == writer.size
    times = [s.time_ns for s in capture.samples()]
    assert times == list(range(len(times)))
    assert len(times) > 20
    assert len(times) % 20 == 0
    assert capture.problem is not None
    assert "damaged" not in capture.problem


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", disk], capture_output=True
    )
    if mounted.returncode:
        pytest.skip("no file system can be mounted here")
    try:
        yield disk
    finally:
        subprocess.run(["umount", "--lazy", disk], check=True)


@as_root
def test_a_full_disk_keeps_what_was_written(small_disk: Path) -> None:
    path = small_disk / "out.data"
    writer = CaptureWriter(str(path), RECORDING)
    error = fill(writer)
    assert "no space left" in error.message
    assert "mixstack merge" in error.hint
    check_kept(path, writer, error)


@as_root
def test_a_disk_that_is_full_from_the_start(small_disk: Path) -> None:
    path = small_disk / "out.data"
    path.write_bytes(b"an earlier one")
    (small_disk / "big").write_bytes(bytes(252 << 10))
    error = refused(path, "nothing was recorded")
    assert "no space left" in error.message
    assert path.read_bytes() == b"an earlier one"


@pytest.fixture
def file_size_limit() -> Iterator[int]:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    limit = 100_000
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        yield limit
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_limit_on_the_size_of_files(path: Path, file_size_limit: int) -> None:
    writer = CaptureWriter(str(path), RECORDING)
    error = fill(writer)
    assert "may not grow" in error.message
    check_kept(path, writer, error)
    assert writer.size <= file_size_limit


def test_a_disk_that_fails(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = CaptureWriter(str(path), RECORDING)
    for number in range(40):
        writer.add_samples(noise(number))
    writer.flush()

    def fails(fd: int, data: bytes) -> int:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", fails)
        writer.add_samples(noise(40))
        with pytest.raises(OutputError, match="Input/output error") as caught:
            writer.flush()
    check_kept(path, writer, caught.value)


# --- a pipe -----------------------------------------------------------------------------------


def to_pipe(monkeypatch: pytest.MonkeyPatch) -> tuple[CaptureWriter, int]:
    """A writer to a pipe, and its reading end."""
    read, write = os.pipe()
    monkeypatch.setattr(place, "_STDOUT_FD", write)
    try:
        return CaptureWriter("-", RECORDING), read
    finally:
        os.close(write)


def test_what_comes_through_a_pipe_is_a_capture(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer, read = to_pipe(monkeypatch)
    add_all_but_samples(writer, SMALL)
    writer.add_samples(encode_sample(SMALL.samples[0]))
    writer.close(FOOTER)
    with open(read, "rb") as pipe:
        path.write_bytes(pipe.read())
    capture = read_capture(str(path))
    assert capture.complete
    assert list(capture.samples()) == [SMALL.samples[0]]


def test_a_reader_that_goes_away_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    writer, read = to_pipe(monkeypatch)
    os.close(read)
    writer.add_samples(encode_sample(SMALL.samples[0]))
    with pytest.raises(ReaderGone, match="went away"):
        writer.flush()
    writer.abandon()


def test_a_folder_that_is_exchanged_meanwhile_keeps_what_is_in_the_other(
    tmp_path: Path,
) -> None:
    """Only what is in the folder that was opened is taken back."""
    folder, other = tmp_path / "folder", tmp_path / "other"
    folder.mkdir()
    other.mkdir()
    (other / "out.data").write_bytes(b"precious")
    writer = CaptureWriter(str(folder / "out.data"), RECORDING)
    folder.rename(tmp_path / "moved")
    folder.symlink_to(other)
    writer.abandon()
    assert (other / "out.data").read_bytes() == b"precious"
    assert not list((tmp_path / "moved").iterdir())
