"""The interpreter's own list of threads, and the slot in which a thread keeps its thread state."""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Final, NamedTuple

from mixstack.target.layouts import Layout

ReadMemory = Callable[[int, int], "bytes | None"]

_MAX_INTERPRETERS: Final = 256
_MAX_THREADS: Final = 100_000
_MAX_CHECKED: Final = 16  # threads whose slots are looked at; all have them at one place

# `struct pthread` of glibc on x86-64, of which the thread pointer is the address: it holds the
# first 32 keys' slots itself, each {u64 seq, void *data}; `seq` is odd while the key exists.
_SLOTS: Final = 0x310
_SLOT_SIZE: Final = 16
_INLINE_KEYS: Final = 32
_SEARCHED: Final = 0x900  # bytes; sizeof(struct pthread)


class ThreadState(NamedTuple):
    """A `PyThreadState`: its address, and the pthread_self() of its thread."""

    address: int
    thread_id: int


class ThreadStates(NamedTuple):
    """What the walk of the list found.

    states: those whose interpreter and thread were verified. sound: all of them were; otherwise
    the list changed under the walk, or the layout is not this interpreter's.
    """

    states: tuple[ThreadState, ...]
    sound: bool


def walk_thread_states(
    read: ReadMemory, interpreters_head: int, layout: Layout, limit: int = _MAX_THREADS
) -> ThreadStates:
    """All thread states of all interpreters, newest first, at most `limit`.

    interpreters_head: address of the pointer to the newest interpreter state.
    """
    states: list[ThreadState] = []
    seen: set[int] = set()
    sound = True
    interp = _pointer(read, interpreters_head)
    for _ in range(_MAX_INTERPRETERS):
        if not interp:
            break
        tstate = _pointer(read, interp + layout.interp_threads_head)
        while tstate and len(states) < limit and len(seen) < _MAX_THREADS:
            if tstate in seen or _pointer(read, tstate + layout.tstate_interp) != interp:
                return ThreadStates(tuple(states), sound=False)
            seen.add(tstate)
            thread_id = _pointer(read, tstate + layout.tstate_thread_id)
            # The x86-64 ABI has a thread's FS base point at a pointer to itself.
            if thread_id and _pointer(read, thread_id) == thread_id:
                states.append(ThreadState(tstate, thread_id))
            elif thread_id != 0:  # 0 until the new thread itself has taken its thread state
                sound = False
            tstate = _pointer(read, tstate + layout.tstate_next)
        interp = _pointer(read, interp + layout.interp_next)
    return ThreadStates(tuple(states), sound)


def find_tss_slot(read: ReadMemory, states: Iterable[ThreadState], key: int | None) -> int | None:
    """Offset from a thread's FS base to the slot that holds its thread state; None if not found.

    key: `_PyRuntime.autoTSSkey`'s pthread key, if known. The slot is found by its contents: where
    glibc keeps the key's slot if one thread state lies there, else the one place where each
    thread has its own.
    """
    votes: Counter[int] = Counter()
    threads = 0
    for state in list(states)[:_MAX_CHECKED]:
        places = _places(read, state)
        if places:
            threads += 1
            votes.update(places)
    expected = None if key is None or key >= _INLINE_KEYS else _SLOTS + _SLOT_SIZE * key + 8
    if expected is not None and votes[expected]:
        return expected
    agreed = [offset for offset, count in votes.items() if count == threads]
    return agreed[0] if len(agreed) == 1 else None


def is_own_state(
    read: ReadMemory, states: Iterable[ThreadState], layout: Layout, offset: int
) -> bool:
    """Whether this many bytes from its FS base each thread has its own thread state.

    A thread that is only about to take its thread state may have none yet. In the variable for the
    attached thread state most threads have none.
    """
    own = none = 0
    for thread_id in {state.thread_id for state in list(states)[:_MAX_CHECKED]}:
        tstate = _pointer(read, thread_id + offset)
        if not tstate:
            none += 1
        elif _pointer(read, tstate + layout.tstate_thread_id) == thread_id:
            own += 1
        else:
            return False
    return own > none


def newest_interpreter(read: ReadMemory, interpreters_head: int) -> int | None:
    """The interpreter state at the front of the list, where each new one is put."""
    return _pointer(read, interpreters_head)


def has_several_interpreters(read: ReadMemory, interpreters_head: int, layout: Layout) -> bool:
    """Whether there is more than one interpreter state, so that a thread may have several."""
    newest = newest_interpreter(read, interpreters_head)
    return bool(newest and _pointer(read, newest + layout.interp_next))


def _places(read: ReadMemory, state: ThreadState) -> list[int]:
    """Offsets from the thread pointer at which a slot in use holds this thread state."""
    block = read(state.thread_id, _SEARCHED)
    if block is None:
        return []
    wanted = state.address.to_bytes(8, "little")
    places = []
    at = block.find(wanted)
    while at >= 0:
        # An odd counter before it: a slot, and not a stray copy of the pointer.
        if at % 8 == 0 and at >= 8 and 0 < _u64(block, at - 8) < 1 << 32 and block[at - 8] & 1:
            places.append(at)
        at = block.find(wanted, at + 1)
    return places


def _u64(data: bytes, at: int) -> int:
    return int(struct.unpack_from("<Q", data, at)[0])


def _pointer(read: ReadMemory, address: int) -> int | None:
    data = read(address, 8)
    return None if data is None else _u64(data, 0)
