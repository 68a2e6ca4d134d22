"""Which functions lie in a unit, and what was inlined into one (DWARF 5, 3.3)."""

from __future__ import annotations

import struct
from collections.abc import Collection
from typing import Final, NamedTuple

from mixstack.symbolize.dwarf.codes import Attribute, Tag
from mixstack.symbolize.dwarf.encoding import LOCATION, Abbreviation, skip, uleb
from mixstack.symbolize.dwarf.intervals import Intervals
from mixstack.symbolize.dwarf.sections import BadDwarf
from mixstack.symbolize.dwarf.units import Reference, Unit, Value

_MOST_INLINED: Final = 1 << 18  # calls in one function
_DEEPEST: Final = 512
_DEEPEST_UNLOCATED: Final = 64
_FOUR: Final = struct.Struct("<I")

_OF_CALL: Final = LOCATION | {
    Attribute.ABSTRACT_ORIGIN,
    Attribute.CALL_FILE,
    Attribute.CALL_LINE,
}


_NOWHERE: Final = Intervals(())


class InlinedCall(NamedTuple):
    """A call that was inlined. `origin`: the entry of what is called. `file`: by its number in the
    unit's line program."""

    origin: Reference | None
    file: int
    line: int | None


class _Calls:
    """The calls that were inlined right into a function or a call, and what was into them.

    at: where the entries inside of it begin, as long as they were not read. Their attributes are
    read when an address in it is asked for: most of the calls in a large function never are.
    """

    __slots__ = ("_at", "_entries", "_found", "_unit", "_where")

    def __init__(self, unit: Unit, at: int | None) -> None:
        self._unit = unit
        self._at = at
        self._entries: list[tuple[Abbreviation, int, _Calls]] = []
        self._where: Intervals | None = None
        self._found: list[tuple[dict[int, Value], _Calls]] = []

    def find(self, vaddr: int) -> tuple[InlinedCall, _Calls] | None:
        """The call that covers an address, and the calls in it. Raises BadDwarf."""
        index = self._located(0).find(vaddr)
        if index is None:
            return None
        values, inner = self._found[index]
        origin = values.get(Attribute.ABSTRACT_ORIGIN)
        file, line = values.get(Attribute.CALL_FILE), values.get(Attribute.CALL_LINE)
        call = InlinedCall(
            origin if isinstance(origin, Reference) else None,
            file if isinstance(file, int) else 0,
            line if isinstance(line, int) and line > 0 else None,
        )
        return call, inner

    def _located(self, depth: int) -> Intervals:
        """The ranges of the calls, by their numbers in `_found`."""
        if self._where is not None:
            return self._where
        self._where = _NOWHERE  # what is broken is not tried again
        if depth > _DEEPEST_UNLOCATED:
            raise BadDwarf("calls that do not say where they are, too deep to be meant")
        if self._at is not None:
            self._read(self._at)
        ranges: list[tuple[int, int, int]] = []
        unit, found = self._unit, self._found
        for abbreviation, at, calls in self._entries:
            values, _ = unit.attributes(abbreviation, at, _OF_CALL)
            spans: Collection[tuple[int, int]] = unit.ranges_of(values)
            if not spans:
                # In DWARF 2 a call in several pieces cannot say so; what is in it can.
                spans = list(calls._located(depth + 1).pieces())
            ranges += [(low, high, len(found)) for low, high in spans]
            found.append((values, calls))
        self._entries = []
        self._where = Intervals(ranges)
        return self._where

    def _read(self, at: int) -> None:
        """Go through the entries from there to the end of this; where calls say their sibling,
        what is in them is left for later."""
        unit = self._unit
        info, end = unit.sections.info, unit.end
        known, find = unit.abbreviations.known, unit.abbreviations.find
        leaves = unit.abbreviations.leaves
        open_calls: list[_Calls] = [self]  # of the entries that are open, the calls they are in
        count = 0
        while open_calls and at < end:
            code = info[at]
            at += 1
            if code >= 0x80:
                code, at = uleb(info, at - 1)
            size = leaves.get(code)
            if size is not None:
                at += size
                continue
            if not code:
                open_calls.pop()
                continue
            abbreviation = known.get(code) or find(code)
            tag, children, _, steps, sibling, *_ = abbreviation
            first = at
            simple = len(steps) == 1 and steps[0] >= 0
            at = at + steps[0] if simple else skip(info, at, steps, unit.shape)
            inside = open_calls[-1]
            if tag == Tag.INLINED_SUBROUTINE:
                calls = _Calls(unit, at if children and sibling is not None else None)
                inside._entries.append((abbreviation, first, calls))
                count += 1
                if children and sibling is not None:
                    target = unit.sibling(first, sibling)
                    if at < target <= end:
                        at = target
                        continue
                    calls._at = None
                inside = calls
            if children:
                open_calls.append(inside)
            if count > _MOST_INLINED or len(open_calls) > _DEEPEST:
                raise BadDwarf("a function has more inlined calls than can be meant")


class Function:
    """A function with code: where its entry lies, and the calls inlined into it, read when asked
    for the first time."""

    def __init__(self, unit: Unit, at: int) -> None:
        self.entry = Reference(at, False)
        self._unit = unit
        self._calls: _Calls | None = None

    def inlined_at(self, vaddr: int) -> list[InlinedCall]:
        """The inlined calls that an address lies in, outermost first. Raises BadDwarf."""
        if self._calls is None:
            self._calls = _Calls(self._unit, None)
            self._calls = self._of_entry()
        out: list[InlinedCall] = []
        found = self._calls.find(vaddr)
        while found is not None:
            call, inner = found
            out.append(call)
            if len(out) > _DEEPEST:
                raise BadDwarf("calls are inlined deeper than can be meant")
            found = inner.find(vaddr)
        return out

    def _of_entry(self) -> _Calls:
        unit = self._unit
        info = unit.sections.info
        code, at = uleb(info, self.entry.offset)
        function = unit.abbreviations.find(code)
        at = skip(info, at, function.steps, unit.shape)
        return _Calls(unit, at if function.children else None)


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

        Unless thorough, what stands in types, functions and namespaces is jumped over, where that
        is possible: compilers that say where the next entry is put functions with code outside.
        """
        unit = self._unit
        info, known, find = unit.sections.info, unit.abbreviations.known, unit.abbreviations.find
        leaves = unit.abbreviations.leaves
        jumps = unit.abbreviations.codeless if thorough else unit.abbreviations.jumps
        start, four = unit.start, _FOUR.unpack_from
        found: list[tuple[int, int, int]] = []
        at, end = unit.first_child, unit.end
        depth = 1 if unit.children else 0
        while depth and at < end:
            entry, code = at, info[at]
            at += 1
            if code >= 0x80:
                code, at = uleb(info, entry)
            size = leaves.get(code)
            if size is not None:
                at += size
                continue
            if not code:
                depth -= 1
                continue
            jump = jumps.get(code)
            if jump is not None and at + jump + 4 <= end:
                target = start + four(info, at + jump)[0]
                if at < target <= end:
                    at = target
                    continue
            abbreviation = known.get(code) or find(code)
            tag, children, _, steps, sibling, located, *_ = abbreviation
            if located and tag == Tag.SUBPROGRAM:
                values, _ = unit.attributes(abbreviation, at, LOCATION)
                found += [
                    (low, high, entry)
                    for low, high in unit.ranges_of(values)
                    if self._within.find(low) is not None
                ]
            if children:
                if sibling is not None and not thorough:
                    target = unit.sibling(at, sibling)
                    if at < target <= end:
                        at = target
                        continue
                depth += 1
            # The usual case of `skip`, which would cost more to call than it does.
            simple = len(steps) == 1 and steps[0] >= 0
            at = at + steps[0] if simple else skip(info, at, steps, unit.shape)
        return Intervals(found)
