"""Whether a program has several interpreters, in memory that is a dictionary."""

from __future__ import annotations

from mixstack.record.several import InterpreterWatch
from mixstack.target.interpreter import FoundInterpreter
from mixstack.target.layouts import COMPILED
from mixstack.target.maps import MapLine

LAYOUT = COMPILED[3, 12]
HEAD, MAIN, OTHER = 0x1000, 0x10000, 0x20000


class Program:
    """Its interpreters as words by address, and which of them were read."""

    def __init__(self) -> None:
        self.words = {HEAD: MAIN, MAIN + LAYOUT.interp_next: 0}
        self.asked: list[int] = []
        self.watch = InterpreterWatch()
        self.found = self.another()

    def another(self) -> FoundInterpreter:
        """What is found of a program after an exec."""
        return FoundInterpreter(
            version=(3, 12, 1),
            module_map=MapLine(0, 0, "r-xp", 0, 0, 0, ""),
            load_bias=0,
            layout=LAYOUT,
            runtime=0,
            code_type=0,
            interp_head=HEAD,
            autotss_key=None,
            tss_slot_offset=None,
            evaluator=None,
            text=(0, 0),
            trampoline=None,
            ready=True,
        )

    def begin_another(self) -> None:
        """As `PyInterpreterState_New` does: it is put in front."""
        self.words[OTHER + LAYOUT.interp_next] = self.words[HEAD]
        self.words[HEAD] = OTHER

    def read(self, address: int, size: int) -> bytes | None:
        self.asked.append(address)
        word = self.words.get(address)
        return None if word is None else word.to_bytes(size, "little")

    def look(self) -> bool:
        self.asked.clear()
        return self.watch.look(self.read, self.found)


def test_another_interpreter_is_seen_at_the_next_look() -> None:
    program = Program()
    assert not program.look()
    assert not program.look()
    program.begin_another()
    assert program.look()
    assert program.look()


def test_where_nothing_changed_one_pointer_is_read() -> None:
    program = Program()
    program.look()
    program.look()
    assert program.asked == [HEAD]


def test_another_program_may_have_its_own_in_the_same_place() -> None:
    program = Program()
    assert not program.look()
    program.begin_another()
    program.words[HEAD] = MAIN
    program.words[MAIN + LAYOUT.interp_next] = OTHER
    program.found = program.another()
    assert program.look()


def test_memory_that_cannot_be_read_says_nothing_for_later() -> None:
    program = Program()
    program.look()
    before, program.words = program.words, {}
    assert not program.look()
    program.words = before
    program.begin_another()
    assert program.look()
