"""Which functions lie in a unit, and what was inlined into one (DWARF 5, 3.3)."""

from __future__ import annotations

from typing import Final, NamedTuple

from mixstack.symbolize.dwarf.codes import Attribute, Tag
from mixstack.symbolize.dwarf.encoding import LOCATION, skip, uleb
from mixstack.symbolize.dwarf.intervals import Intervals
from mixstack.symbolize.dwarf.sections import BadDwarf
from mixstack.symbolize.dwarf.units import Reference, Unit

_MOST_INLINED: Final = 1 << 18  # calls in one function
_DEEPEST: Final = 512

_OF_CALL: Final = LOCATION | {
    Attribute.ABSTRACT_ORIGIN,
    Attribute.CALL_FILE,
    Attribute.CALL_LINE,
}


class InlinedCall(NamedTuple):
    """A call that was inlined. `origin`: the entry of what is called. `outer`: the index of the
    call that it was inlined into, or None. `file`: by its number in the unit's line program."""

    origin: Reference | None
    outer: int | None
    file: int
    line: int | None


class Function:
    """A function with code: where its entry lies, and the calls inlined into it, read when asked
    for the first time."""

    def __init__(self, unit: Unit, at: int) -> None:
        self.entry = Reference(at, False)
        self._unit = unit
        self._calls: list[InlinedCall] | None = None
        self._where = Intervals(())

    def inlined_at(self, vaddr: int) -> list[InlinedCall]:
        """The inlined calls that an address lies in, outermost first. Raises BadDwarf."""
        if self._calls is None:
            self._calls = []
            self._read()
        index = self._where.find(vaddr)
        out: list[InlinedCall] = []
        while index is not None:
            call = self._calls[index]
            out.append(call)
            index = call.outer
        return out[::-1]

    def _read(self) -> None:
        unit, calls = self._unit, self._calls
        assert calls is not None
        info = unit.sections.info
        ranges: list[tuple[int, int, int]] = []
        code, at = uleb(info, self.entry.offset)
        function = unit.abbreviations.find(code)
        at = skip(info, at, function.steps, unit.shape)
        if not function.children:
            return
        known, find = unit.abbreviations.known, unit.abbreviations.find
        outer: list[int | None] = [None]  # of the entries that are open
        while outer and at < unit.end:
            code = info[at]
            if not code:
                outer.pop()
                at += 1
                continue
            code, at = (code, at + 1) if code < 0x80 else uleb(info, at)
            abbreviation = known.get(code) or find(code)
            inside = outer[-1]
            if abbreviation.tag == Tag.INLINED_SUBROUTINE:
                values, at = unit.attributes(abbreviation, at, _OF_CALL)
                index = len(calls)
                ranges += [(start, end, index) for start, end in unit.ranges_of(values)]
                origin = values.get(Attribute.ABSTRACT_ORIGIN)
                file, line = values.get(Attribute.CALL_FILE), values.get(Attribute.CALL_LINE)
                calls.append(
                    InlinedCall(
                        origin if isinstance(origin, Reference) else None,
                        inside,
                        file if isinstance(file, int) else 0,
                        line if isinstance(line, int) and line > 0 else None,
                    )
                )
                inside = index
            else:
                steps = abbreviation.steps
                simple = len(steps) == 1 and steps[0] >= 0
                at = at + steps[0] if simple else skip(info, at, steps, unit.shape)
            if abbreviation.children:
                outer.append(inside)
            if len(calls) > _MOST_INLINED or len(outer) > _DEEPEST:
                raise BadDwarf("a function has more inlined calls than can be meant")
        self._where = Intervals(ranges)


class UnitFunctions:
    """The functions of a unit by their addresses; only what lies `within` the file's code counts.

    Raises BadDwarf.
    """

    def __init__(self, unit: Unit, within: Intervals) -> None:
        self._unit = unit
        self._within = within
        self._index = self._read(thorough=False)
        self._thorough = False
        self._functions: dict[int, Function] = {}

    def find(self, vaddr: int) -> Function | None:
        """The function that covers the file's own address, or None."""
        at = self._index.find(vaddr)
        if at is None and not self._thorough:
            # Not among the entries that such functions are expected at: now all are gone through.
            self._thorough = True
            self._index = self._read(thorough=True)
            at = self._index.find(vaddr)
        if at is None:
            return None
        if at not in self._functions:
            self._functions[at] = Function(self._unit, at)
        return self._functions[at]

    def _read(self, thorough: bool) -> Intervals:
        """Ranges with the offsets of the entries that they are of.

        Unless thorough, what stands in types and functions is jumped over, where that is possible.
        """
        unit = self._unit
        info, known, find = unit.sections.info, unit.abbreviations.known, unit.abbreviations.find
        found: list[tuple[int, int, int]] = []
        at, end = unit.first_child, unit.end
        depth = 1 if unit.children else 0
        while depth and at < end:
            entry, code = at, info[at]
            if not code:
                depth -= 1
                at += 1
                continue
            code, at = (code, at + 1) if code < 0x80 else uleb(info, at)
            abbreviation = known.get(code) or find(code)
            tag, children, _, steps, sibling, located = abbreviation
            if located and tag == Tag.SUBPROGRAM:
                values, _ = unit.attributes(abbreviation, at, LOCATION)
                found += [
                    (low, high, entry)
                    for low, high in unit.ranges_of(values)
                    if self._within.find(low) is not None
                ]
            if children:
                if sibling is not None and not thorough and tag != Tag.NAMESPACE:
                    where = skip(info, at, sibling, unit.shape)
                    target = unit.start + int.from_bytes(info[where : where + 4], "little")
                    if where < target <= end:
                        at = target
                        continue
                depth += 1
            # The usual case of `skip`, which would cost more to call than it does.
            simple = len(steps) == 1 and steps[0] >= 0
            at = at + steps[0] if simple else skip(info, at, steps, unit.shape)
        return Intervals(found)
