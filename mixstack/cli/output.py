"""Where an export goes: a file that appears complete or not at all, a device, or stdout."""

from __future__ import annotations

import io
import os
import secrets
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final, TextIO

from mixstack.errors import OutputError
from mixstack.privileges.user import User, acting_as, invoking_user, writer_of

STDOUT: Final = "-"
_DEVICE_FOLDERS: Final = ("/dev", "/dev/fd", "/proc/self/fd")
_ENCODING: Final = "utf-8"
_ERRORS: Final = "backslashreplace"  # names of the target may hold bytes that are no UTF-8


@contextmanager
def open_output(path: str) -> Iterator[TextIO]:
    """A text stream to `path`, or to standard output for "-".

    A file is written beside its place and renamed into it when the block ends well; a symbolic
    link is refused. Raises `OutputError`, and `BrokenPipeError` from a closed pipe.
    """
    try:
        if path == STDOUT:
            with _standard_output() as stream:
                yield stream
        elif _is_device(path):
            with open(path, "w", encoding=_ENCODING, errors=_ERRORS) as stream:
                yield stream
        else:
            writer = writer_of(path, invoking_user(os.environ))
            with _replaced_file(path, writer) as stream:
                yield stream
    except BrokenPipeError:
        raise
    except OSError as error:
        where = "standard output" if path == STDOUT else path
        raise OutputError(f"cannot write {where}: {error.strerror or error}") from error


@contextmanager
def _standard_output() -> Iterator[TextIO]:
    if sys.stdout is None:
        raise OutputError("cannot write standard output: it is closed")
    sys.stdout.flush()
    stream = io.TextIOWrapper(sys.stdout.buffer, encoding=_ENCODING, errors=_ERRORS)
    try:
        yield stream
        stream.flush()
    finally:
        with suppress(OSError):  # detach flushes again; the first failure is the one to report
            stream.detach()  # or the wrapper would close stdout along with itself


def _is_device(path: str) -> bool:
    """/dev/null, /dev/stdout, a named pipe: written to, since a rename would take their place."""
    try:
        mode = os.lstat(path).st_mode
    except OSError:
        return False
    if stat.S_ISLNK(mode):
        return os.path.dirname(os.path.abspath(path)) in _DEVICE_FOLDERS
    return stat.S_ISCHR(mode) or stat.S_ISFIFO(mode)


@contextmanager
def _replaced_file(path: str, writer: User | None) -> Iterator[TextIO]:
    """Under sudo the kernel checks what is done with names as it would for the user, `writer`.

    What is written comes as root: modules that are first imported then may be root's alone.
    """
    if os.path.isdir(path) or path.endswith(os.sep):
        raise OutputError(f"cannot write {path}: it is a folder", "name a file with: -o FILE")
    if os.path.islink(path):
        raise OutputError(
            f"cannot write {path}: it is a symbolic link",
            f"name the file it leads to: -o {os.path.realpath(path)}",
        )
    folder, name = os.path.split(path)
    temporary = os.path.join(folder, f".{name[:64]}.{secrets.token_hex(6)}.tmp")
    # not `tempfile`: its mode 600 would stay, and the browser may run as someone else
    with acting_as(writer):
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        descriptor = os.open(temporary, flags, 0o666)
    try:
        with open(descriptor, "w", encoding=_ENCODING, errors=_ERRORS) as stream:
            yield stream
        with acting_as(writer):
            os.replace(temporary, path)
    except BaseException:
        with acting_as(writer), suppress(FileNotFoundError):
            os.unlink(temporary)
        raise
