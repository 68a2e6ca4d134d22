"""`DebugInfo`: source lines and inlined calls of one file, by address."""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from typing import Final, Generic, NamedTuple, TypeVar

from mixstack.elf import Elf, LoadSegment
from mixstack.model import SourceCall
from mixstack.symbolize.dwarf.aranges import address_ranges
from mixstack.symbolize.dwarf.codes import Attribute
from mixstack.symbolize.dwarf.encoding import uleb
from mixstack.symbolize.dwarf.functions import UnitFunctions
from mixstack.symbolize.dwarf.intervals import Intervals
from mixstack.symbolize.dwarf.line_program import LineProgram
from mixstack.symbolize.dwarf.sections import BadDwarf, DebugSections, debug_sections
from mixstack.symbolize.dwarf.units import (
    Reference,
    SharedText,
    Unit,
    Value,
    read_unit,
    string_at,
    unit_starts,
)

_UNITS_KEPT: Final = 12  # decoded at a time: memory is bounded by the largest ones, not by the file
_NAMES_KEPT: Final = 1 << 16
_MOST_HOPS: Final = 8  # from an inlined call to what bears its name: compilers need up to three
_OF_NAME: Final = frozenset(
    (
        Attribute.NAME,
        Attribute.LINKAGE_NAME,
        Attribute.MIPS_LINKAGE_NAME,
        Attribute.ABSTRACT_ORIGIN,
        Attribute.SPECIFICATION,
    )
)
_Key = TypeVar("_Key")
_Value = TypeVar("_Value")


class _Place(NamedTuple):
    file: str | None
    line: int | None


class DebugInfo:
    """Reads of a file only the units that are asked for, and keeps the last of them.

    code: the segments of the program, of which the executable ones count (a separate debug file
    may have none). shared: the file that `.gnu_debugaltlink` names, as dwz leaves it.
    problem: what was wrong first, if anything was. Raises BadDwarf.
    """

    def __init__(self, elf: Elf, code: Iterable[LoadSegment], shared: Elf | None = None) -> None:
        self._file = _Entries(debug_sections(elf))
        self._shared = None if shared is None else _Entries(debug_sections(shared))
        self.problem: str | None = self._file.problem
        self._code = Intervals((s.vaddr, s.vaddr + s.memory_size, 1) for s in code if s.executable)
        # Functions that the linker dropped are left behind in DWARF, at addresses that are no code.
        self._covered = Intervals(r for r in self._ranges() if self._code.find(r[0]) is not None)
        self._decoded: _Kept[int, tuple[LineProgram | None, UnitFunctions | None]] = _Kept(
            self._decode, _UNITS_KEPT
        )
        self._names: _Kept[Reference, str | None] = _Kept(self._find_name, _NAMES_KEPT)

    def calls_at(self, vaddr: int) -> tuple[SourceCall, ...]:
        """The calls at the file's own address, outermost first; empty where nothing is known.

        The first is the function that has the stack frame; the others were inlined into it.
        """
        unit = self._covered.find(vaddr)
        if unit is None:
            return ()
        program, functions = self._decoded[unit]
        try:
            place = None if program is None else program.find(vaddr)
            function = None if functions is None else functions.find(vaddr)
            calls = [] if function is None else function.inlined_at(vaddr)
        except BadDwarf as e:
            self._note(e)
            return ()
        innermost = _Place(None, None) if place is None else _Place(*place)
        if function is None:
            return () if place is None else (SourceCall(None, *innermost),)
        places = [
            _Place(None if program is None else program.file(call.file), call.line)
            for call in calls
        ]
        places.append(innermost)
        out = [SourceCall(self._names[function.entry], *places[0])]
        for call, at in zip(calls, places[1:], strict=True):
            name = None if call.origin is None else self._names[call.origin]
            out.append(SourceCall(name, *at))
        return tuple(out)

    def _note(self, error: BadDwarf) -> None:
        self.problem = self.problem or str(error)

    def _ranges(self) -> Iterator[tuple[int, int, int]]:
        """(start, end, unit) of the code that units cover.

        Where `.debug_aranges` tells it of a unit, the unit itself is not looked at: to read the
        first entry of each takes a second in a file of thousands. (In DWARF 2 a unit could not
        even say that it is in several pieces.)
        """
        starts, told = frozenset(self._file.starts), set[int]()
        try:
            for low, high, start in address_ranges(self._file.sections.aranges):
                if start in starts:
                    told.add(start)
                    yield low, high, start
        except BadDwarf as e:
            self._note(e)
        for start in self._file.starts:
            if start in told:
                continue
            try:
                # Not by way of those that are kept: this is the one time that all are read.
                unit = read_unit(self._file.sections, start)
                if unit is not None:
                    yield from ((low, high, start) for low, high in unit.ranges_of(unit.root))
            except BadDwarf as e:
                self._note(e)

    def _decode(self, start: int) -> tuple[LineProgram | None, UnitFunctions | None]:
        """A unit's lines and functions; None for what cannot be understood."""
        program: LineProgram | None = None
        functions: UnitFunctions | None = None
        try:
            unit = self._file.unit(start)
            if unit is None:
                return None, None
            at, directory = unit.root.get(Attribute.STMT_LIST), unit.root.get(Attribute.COMP_DIR)
            if isinstance(at, int) and at >= 0:
                path = self._text(directory) or ""
                program = LineProgram(unit.sections, at, path, self._code)
            functions = UnitFunctions(unit, self._code)
        except BadDwarf as e:
            self._note(e)
        return program, functions

    # --- names --------------------------------------------------------------------------------

    def _find_name(self, entry: Reference) -> str | None:
        """The linkage name of an entry, or of what it stands for; else the plain name."""
        plain: str | None = None
        for _ in range(_MOST_HOPS):
            entries = self._shared if entry.shared else self._file
            if entries is None:
                break
            try:
                values = entries.attributes(entry.offset, _OF_NAME)
            except BadDwarf as e:
                self._note(e)
                break
            for name in (Attribute.LINKAGE_NAME, Attribute.MIPS_LINKAGE_NAME):
                linkage = self._text(values.get(name))
                if linkage:
                    return linkage
            plain = plain or self._text(values.get(Attribute.NAME))
            onward = values.get(Attribute.ABSTRACT_ORIGIN) or values.get(Attribute.SPECIFICATION)
            if not isinstance(onward, Reference):
                break
            # What the shared file refers to lies in the shared file.
            entry = Reference(onward.offset, onward.shared or entry.shared)
        return plain

    def _text(self, value: Value) -> str | None:
        if isinstance(value, SharedText):
            return None if self._shared is None else self._shared.text(value.offset)
        return value if isinstance(value, str) else None


class _Entries:
    """The entries of one file by their offsets. `starts`: of its units."""

    def __init__(self, sections: DebugSections) -> None:
        self.sections = sections
        self.starts: array[int] = array("Q")
        self.problem: str | None = None
        try:
            self.starts.extend(unit_starts(sections))
        except BadDwarf as e:
            self.problem = str(e)
        self._units: _Kept[int, Unit | None] = _Kept(
            lambda start: read_unit(sections, start), _UNITS_KEPT
        )

    def unit(self, start: int) -> Unit | None:
        """The unit that begins there. Raises BadDwarf."""
        return self._units[start]

    def attributes(self, offset: int, wanted: frozenset[int]) -> dict[int, Value]:
        """The attributes of an entry; empty where there is none. Raises BadDwarf."""
        at = bisect_right(self.starts, offset) - 1
        unit = self.unit(self.starts[at]) if at >= 0 else None
        if unit is None or not unit.first <= offset < unit.end:
            return {}
        code, at = uleb(self.sections.info, offset)
        return unit.attributes(unit.abbreviations.find(code), at, wanted)[0] if code else {}

    def text(self, offset: int) -> str | None:
        """A string of `.debug_str`, or None."""
        return string_at(self.sections.str, offset)


class _Kept(Generic[_Key, _Value]):
    """The last answers of a function."""

    def __init__(self, make: Callable[[_Key], _Value], most: int) -> None:
        self._make = make
        self._most = most
        self._known: OrderedDict[_Key, _Value] = OrderedDict()

    def __getitem__(self, key: _Key) -> _Value:
        if key in self._known:
            self._known.move_to_end(key)
            return self._known[key]
        value = self._known[key] = self._make(key)
        if len(self._known) > self._most:
            self._known.popitem(last=False)
        return value
