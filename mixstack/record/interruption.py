"""The signals that ask for a recording's end, as a descriptor to wait for."""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress


class Interruption:
    """A descriptor that becomes readable when a signal asks for the recording's end."""

    def __init__(self, fd: int) -> None:
        self.fd = fd

    @property
    def pending(self) -> bool:
        """Whether a signal has asked for it."""
        poll = select.poll()
        poll.register(self.fd, select.POLLIN)
        return bool(poll.poll(0))

    def forget(self) -> None:
        """From now on only further signals count."""
        with suppress(BlockingIOError):
            os.read(self.fd, select.PIPE_BUF)


@contextmanager
def interruptible() -> Iterator[Interruption]:
    """While it lasts, SIGINT, SIGTERM and SIGHUP make the descriptor readable, and nothing else."""
    read, write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, lambda *_: None) for number in numbers}
    wakeup = signal.set_wakeup_fd(write, warn_on_full_buffer=False)
    try:
        yield Interruption(read)
    finally:
        signal.set_wakeup_fd(wakeup)
        for number, handler in before.items():
            signal.signal(number, handler)
        os.close(read)
        os.close(write)
