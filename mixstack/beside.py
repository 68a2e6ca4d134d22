"""A call in a thread of its own. concurrent.futures would do, and takes longer to import."""

from __future__ import annotations

from collections.abc import Callable
from threading import Thread
from types import TracebackType
from typing import Generic, TypeVar

_T = TypeVar("_T")


class Beside(Generic[_T]):
    """Begins at once; as a context manager, its end waits for the call's."""

    def __init__(self, call: Callable[[], _T]) -> None:
        self._outcome: list[_T] = []
        self._error: BaseException | None = None
        self._thread = Thread(target=self._run, args=(call,))
        self._thread.start()

    def result(self) -> _T:
        """What the call returned, once it has; raises what it raised."""
        self._thread.join()
        if self._error is not None:
            raise self._error
        return self._outcome[0]

    def __enter__(self) -> Beside[_T]:
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        self._thread.join()

    def _run(self, call: Callable[[], _T]) -> None:
        try:
            self._outcome.append(call())
        except BaseException as error:  # it is the caller's
            self._error = error
