"""Start the command of `record -- CMD`, held back until the recorder is ready."""

from __future__ import annotations

import errno
import os
import signal
import struct
from collections.abc import Mapping

from mixstack.errors import CommandNotFound, CommandNotRunnable
from mixstack.privileges.user import User, become


class Launched:
    """A child that has been forked but runs its program only at `go()`.

    So nothing of the program escapes the recording, and a recording that cannot be made never
    starts it.
    """

    def __init__(
        self,
        command: tuple[str, ...],
        user: User | None = None,
        environment: Mapping[str, str] | None = None,
        stdout: int | None = None,
    ) -> None:
        """user: whom it runs as; None: as we do. environment: None: ours. stdout: None: ours."""
        self._command = command
        self._user = user
        self._environment = environment
        self._stdout = stdout
        self._hold_read, self._hold_write = os.pipe()
        self._error_read, self._error_write = os.pipe()  # close-on-exec: EOF says that it runs
        self.pid = os.fork()
        if self.pid == 0:
            self._child()
        os.close(self._hold_read)
        os.close(self._error_write)
        self._status: int | None = None

    def go(self) -> None:
        """Let it run. Raises CommandNotFound, CommandNotRunnable; the child is gone then."""
        os.write(self._hold_write, b"g")
        os.close(self._hold_write)
        self._hold_write = -1
        report = os.read(self._error_read, 4)
        os.close(self._error_read)
        if report:
            (code,) = struct.unpack("<i", report)
            self.wait()
            name = self._command[0]
            if code in (errno.ENOENT, errno.ENOTDIR):
                raise CommandNotFound(f"there is no command {name!r}")
            raise CommandNotRunnable(f"{name!r} cannot be run: {os.strerror(code)}")

    @property
    def started(self) -> bool:
        """Whether the program runs, or has run."""
        return self._hold_write < 0 and self._status is None

    def cancel(self) -> None:
        """End a child that was never let go."""
        if self._hold_write >= 0:
            os.close(self._hold_write)  # it reads EOF and leaves
            os.close(self._error_read)
            self._hold_write = -1
            self.wait()

    def wait(self) -> int:
        """Wait for its end; the status as `subprocess` has it: exit code, or -N for signal N."""
        while self._status is None:
            try:
                _, status = os.waitpid(self.pid, 0)
            except InterruptedError:
                continue
            self._status = os.waitstatus_to_exitcode(status)
        return self._status

    def _child(self) -> None:
        """In the child: wait for the word, then become the program. Never returns."""
        code = errno.EIO
        try:
            os.close(self._hold_write)
            os.close(self._error_read)
            if os.read(self._hold_read, 1) != b"g":
                os._exit(0)
            for number in (signal.SIGPIPE, signal.SIGXFSZ):  # ignored by Python, not by programs
                signal.signal(number, signal.SIG_DFL)
            try:
                if self._stdout is not None:
                    os.dup2(self._stdout, 1)
                if self._user is not None:
                    become(self._user)
                if self._environment is None:
                    os.execvp(self._command[0], self._command)
                else:
                    os.execvpe(self._command[0], self._command, self._environment)
            except OSError as e:
                code = e.errno or errno.EIO
            except ValueError:  # a NUL byte in an argument
                code = errno.EINVAL
            os.write(self._error_write, struct.pack("<i", code))
        finally:
            os._exit(127)
