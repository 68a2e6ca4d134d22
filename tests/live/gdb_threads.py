"""Runs inside gdb: stops the process that it is attached to at random moments, and writes down of
each thread the native frames as gdb unwinds them and the interpreter's as `frame_chain` walks them.

After each stop one thread goes on alone, instruction by instruction, in turn from where it was and
from the evaluator's first instruction: so the moments in which a chain is changed are seen as well.

Environment: MIXSTACK_ORACLE, a JSON object: `folder` of this file, `stops`, `steps` (after each),
`out` (one JSON object per line: a thread at a moment), `ready` (a file to wait for), `version`,
`offsets` (null: the interpreter is not looked at), `seed`.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable

import gdb  # type: ignore[import-not-found]

GIVEN = json.loads(os.environ["MIXSTACK_ORACLE"])
sys.path.insert(0, GIVEN["folder"])

from frame_chain import Broken, Memory, argument, names, thread_states, walk  # noqa: E402

NOT_ON_THE_STACK = (gdb.INLINE_FRAME, gdb.TAILCALL_FRAME)  # they share the real frame's stack
FRAMES_MAX = 300
SYSTEM_CALL = b"\x0f\x05"


def main() -> None:
    for setting in ("pagination off", "backtrace past-main on", "backtrace past-entry on"):
        gdb.execute(f"set {setting}")
    gdb.execute("handle SIGINT stop nopass", to_string=True)
    inferior = gdb.selected_inferior()
    memory = Memory(lambda address, size: bytes(inferior.read_memory(address, size)))
    look = Look(memory)
    chance = random.Random(GIVEN["seed"])
    resume_until(inferior, f"while ! [ -e '{GIVEN['ready']}' ]; do sleep 0.02; done")
    with open(GIVEN["out"], "w") as out:

        def write(stop: int, step: int | None) -> bool:
            moment_ns = time.monotonic_ns()
            seen = look.at_selected_thread()
            tid = gdb.selected_thread().ptid[1]
            seen.update(stop=stop, step=step, tid=tid, time_ns=moment_ns)
            out.write(json.dumps(seen) + "\n")
            return seen["runs"] is not None

        for stop in range(GIVEN["stops"]):
            resume_until(inferior, f"sleep {chance.uniform(0.01, 0.03)}")
            changing = None
            for thread in inferior.threads():
                thread.switch()
                if not write(stop, None):
                    changing = thread
            out.flush()
            if GIVEN["steps"] == 0:
                continue
            if changing is not None:
                changing.switch()  # what comes next tells what it was about
            elif stop % 2:
                run_to(address_of("_PyEval_EvalFrameDefault"))
            elif not select_running(inferior, memory, chance):
                continue
            walk_on(memory, lambda step, stop=stop: write(stop, step))
            out.flush()
    gdb.execute("kill")


def run_to(address: int) -> None:
    """Some thread's next call of the function there."""
    gdb.Breakpoint(f"*{address:#x}", internal=True, temporary=True)
    gdb.execute("continue", to_string=True)


def select_running(inferior: gdb.Inferior, memory: Memory, chance: random.Random) -> bool:
    """A thread that is in no system call: it can go on while the others stand."""
    running = []
    for thread in inferior.threads():
        thread.switch()
        if memory.bytes(gdb.newest_frame().pc() - 2, 2) != SYSTEM_CALL:
            running.append(thread)
    if running:
        chance.choice(running).switch()
    return bool(running)


def walk_on(memory: Memory, see: Callable[[int], bool]) -> None:
    """The selected thread alone, as far as it needs no other."""
    gdb.execute("set scheduler-locking on")
    for step in range(GIVEN["steps"]):
        see(step)
        if memory.bytes(gdb.newest_frame().pc(), 2) == SYSTEM_CALL:
            break
        gdb.execute("stepi", to_string=True)
    gdb.execute("set scheduler-locking off")


def resume_until(inferior: gdb.Inferior, condition: str) -> None:
    """Another process sends the signal: gdb keeps Python's lock while the target runs."""
    command = f"{condition}; kill -INT {inferior.pid}"
    with subprocess.Popen(["sh", "-c", command], stdin=subprocess.DEVNULL):
        gdb.execute("continue", to_string=True)


class Look:
    """Reads a stopped thread."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory
        self._evaluator = None
        if GIVEN["offsets"] is None:
            return
        self._runtime = address_of("_PyRuntime")
        self._code_type = address_of("PyCode_Type")
        self._evaluator = address_of("_PyEval_EvalFrameDefault")

    def at_selected_thread(self) -> dict[str, object]:
        leaf = gdb.newest_frame()
        seen: dict[str, object] = {
            "pc": leaf.pc(),
            "entered": None,
            "sp": number(leaf, "rsp"),
            "native": native_frames(leaf),
            "runs": None,
            "broken": None,
            "names": {},
        }
        if GIVEN["offsets"] is None:
            return {**seen, "runs": []}
        if leaf.pc() == self._evaluator:
            arguments = number(leaf, "rdi"), number(leaf, "rsi")
            seen["entered"] = argument(self._memory, arguments, GIVEN["offsets"], GIVEN["version"])
        try:
            seen["runs"] = runs = self._runs(number(leaf, "fs_base"))
            seen["names"] = {
                frame.code: self._name(frame.code) for run in runs for frame in run.frames
            }
        except Broken as broken:
            seen["broken"] = str(broken)
        return seen

    def _runs(self, thread_id: int) -> list:  # type: ignore[type-arg]
        at, version = GIVEN["offsets"], tuple(GIVEN["version"])
        states = thread_states(self._memory, self._runtime, at, thread_id)
        walks = [walk(self._memory, state, at, version, self._code_type) for state in states]
        # A thread that is just making another one owns that one's state as well, still empty.
        return next((runs for runs in walks if runs), [])

    def _name(self, code: int) -> tuple[str, str]:
        return names(self._memory, code, GIVEN["offsets"])


def native_frames(leaf: gdb.Frame) -> list[tuple[int, int | None, str | None]]:
    """(pc, CFA or None at the outer end, name), innermost first."""
    found = []
    frame = leaf
    while frame is not None and len(found) < FRAMES_MAX:
        outer = frame.older()
        if frame.type() not in NOT_ON_THE_STACK:
            cfa = None if outer is None else number(outer, "rsp")
            found.append((frame.pc(), cfa, frame.name()))
        frame = outer
    return found


def number(frame: gdb.Frame, register: str) -> int:
    return int(frame.read_register(register)) & 0xFFFFFFFFFFFFFFFF


def address_of(symbol: str) -> int:
    return int(gdb.parse_and_eval(f"(unsigned long)&'{symbol}'"))


main()
