"""`Namer`: the frames of joined stacks, named from what a capture holds."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping as MappingOf
from posixpath import basename
from typing import Protocol

from mixstack.jit.model import JitSymbol
from mixstack.jit.names import JitNames
from mixstack.model import (
    Code,
    CodeKey,
    Frame,
    FrameKind,
    Item,
    KernelItem,
    KernelSymbol,
    Mapping,
    MappingSnapshot,
    MarkItem,
    Module,
    NativeItem,
    Process,
    PythonFrame,
    PythonItem,
    SourceCall,
    Step,
    Symbol,
)
from mixstack.symbolize.address_space import AddressSpaces
from mixstack.symbolize.demangle import demangle, shorten
from mixstack.symbolize.inlined import with_source
from mixstack.symbolize.lines import LineTable
from mixstack.symbolize.plumbing import EVALUATOR, is_plumbing

PERF_TRAMPOLINE = "[perf trampoline]"
_UNKNOWN_NATIVE = "[unknown]"
_UNKNOWN_CODE = "[unknown code]"
_KERNEL = "[kernel]"
_JIT = "[jit]"
_EPOCH_SHIFT = 32  # a generation: the epoch of the JIT's names above that of the mappings
_GENERATION = (1 << _EPOCH_SHIFT) - 1


class NamedCapture(Protocol):
    """The part of a capture that names are made of; see `mixstack.capture.reader.Capture`."""

    @property
    def modules(self) -> MappingOf[int, Module]: ...
    @property
    def processes(self) -> MappingOf[int, Process]: ...
    @property
    def families(self) -> MappingOf[int, tuple[int, ...]]: ...
    @property
    def mappings(self) -> MappingOf[int, tuple[MappingSnapshot, ...]]: ...
    @property
    def codes(self) -> MappingOf[tuple[int, CodeKey], Code]: ...
    @property
    def symbols(self) -> MappingOf[int, tuple[Symbol, ...]]: ...
    @property
    def kernel_symbols(self) -> tuple[KernelSymbol, ...]: ...
    @property
    def jit_symbols(self) -> MappingOf[int, tuple[JitSymbol, ...]]: ...
    @property
    def source_calls(self) -> MappingOf[tuple[int, int], tuple[SourceCall, ...]]: ...


class Namer:
    """Names the items of joined stacks. Equal frames are one object; every answer is remembered.

    short_names: of C++ and Rust, without the arguments of templates and generics.
    """

    def __init__(self, capture: NamedCapture, *, short_names: bool = False) -> None:
        self._readable = _short if short_names else demangle
        self._modules = capture.modules
        self._codes = capture.codes
        self._families = capture.families
        self._symbols = capture.symbols
        self._symbol_starts = {m: [s.start for s in of] for m, of in capture.symbols.items()}
        self._calls = capture.source_calls
        self._kernel = capture.kernel_symbols
        self._kernel_starts = [s.start for s in capture.kernel_symbols]
        self._interpreters = {
            pid: process.interpreter
            for pid, process in capture.processes.items()
            if process.interpreter is not None
        }
        self._mappings = capture.mappings
        self._spaces = AddressSpaces(capture.mappings)
        self._jit = JitNames(capture.jit_symbols)
        self._frames: dict[Frame, Frame] = {}
        self._native_seen: dict[tuple[int, int, int | None, bool], Frame] = {}
        self._source_seen: dict[tuple[int, int, int], tuple[Frame, ...]] = {}
        self._python_seen: dict[tuple[int, CodeKey, int], Frame] = {}
        self._kernel_seen: dict[int, Frame] = {}
        self._mark_seen: dict[tuple[int, int, MarkItem], Frame] = {}
        self._line_tables: dict[tuple[int, CodeKey], LineTable] = {}

    def frames(self, pid: int, time_ns: int, item: Item) -> tuple[Frame, ...]:
        """What is shown of an item: its frame, and behind it the calls inlined into it.

        A native frame has its source line here, where that is known.
        """
        if not isinstance(item, NativeItem) or item.evaluator:
            return (self.frame(pid, time_ns, item),)
        address = item.frame.lookup_pc
        if address is None:
            return (self.frame(pid, time_ns, item),)
        key = (pid, self.generation(pid, time_ns), address)
        seen = self._source_seen.get(key)
        if seen is None:
            seen = self._source_seen[key] = self._name_source(self._native(*key, False), *key)
        return seen

    def frame(self, pid: int, time_ns: int, item: Item) -> Frame:
        """The frame of an item in a sample of process `pid` at `time_ns` (CLOCK_MONOTONIC).

        A native frame is that of its symbol, and its file the module, whatever its source is.
        """
        if isinstance(item, PythonItem):
            return self._python(pid, item.frame)
        if isinstance(item, NativeItem):
            evaluator = item.evaluator or item.frame.step is Step.RESYNC
            generation = self.generation(pid, time_ns)
            return self._native(pid, generation, item.frame.lookup_pc, evaluator)
        if isinstance(item, KernelItem):
            return self._kernel_frame(item.address)
        return self._mark(pid, self.generation(pid, time_ns), item)

    def has_module(self, pid: int, prefixes: tuple[str, ...]) -> bool:
        """Whether a file whose name begins with one of these was mapped in a process."""
        mapped = {m.module_id for s in self._mappings.get(pid, ()) for m in s.mappings}
        return any(
            number in mapped and basename(module.path).startswith(prefixes)
            for number, module in self._modules.items()
        )

    def generation(self, pid: int, time_ns: int) -> int:
        """Equal at two moments of a process if every item has the same name at both."""
        epoch = self._jit.epoch(pid, time_ns)
        return epoch << _EPOCH_SHIFT | self._spaces.generation(pid, time_ns)

    def _one(self, frame: Frame) -> Frame:
        return self._frames.setdefault(frame, frame)

    # --- Python -------------------------------------------------------------------------------

    def _python(self, pid: int, frame: PythonFrame) -> Frame:
        key = (pid, frame.code, frame.offset)
        seen = self._python_seen.get(key)
        if seen is None:
            seen = self._python_seen[key] = self._one(self._name_python(pid, frame))
        return seen

    def _name_python(self, pid: int, frame: PythonFrame) -> Frame:
        code = self._code(pid, frame.code)
        if code is None:
            return Frame(FrameKind.PYTHON, _UNKNOWN_CODE, resolved=False)
        line = None
        interpreter = self._interpreters.get(pid)
        version = code.version or (None if interpreter is None else interpreter.version)
        if code.linetable is not None and version is not None:
            # One table per code object, however many of its offsets are asked for.
            key = code.pid, frame.code
            table = self._line_tables.get(key)
            if table is None:
                table = self._line_tables[key] = LineTable(code.linetable, code.first_line, version)
            line = table.find(frame.offset)
        # The first instruction of a module is on line 0, as CPython counts: nothing to show.
        return Frame(FrameKind.PYTHON, code.qualname, code.filename, line or None)

    def _code(self, pid: int, key: CodeKey) -> Code | None:
        for family in self._families.get(pid, (pid,)):
            code = self._codes.get((family, key))
            if code is not None:
                return code
        return None

    # --- native -------------------------------------------------------------------------------

    def _native(self, pid: int, generation: int, pc: int | None, evaluator: bool) -> Frame:
        """pc: the address to look up."""
        key = (pid, generation, pc, evaluator)
        seen = self._native_seen.get(key)
        if seen is None:
            seen = self._native_seen[key] = self._one(self._name_native(*key))
        return seen

    def _name_native(self, pid: int, generation: int, pc: int | None, evaluator: bool) -> Frame:
        mapping = None if pc is None else self._mapping(pid, generation, pc)
        interpreter = self._interpreters.get(pid)
        module = self._module_of(mapping)
        if evaluator:
            # What holds a marker is the bytecode loop, whatever its symbol says (where the compiler
            # split the loop, the larger part has no symbol, or a wrong neighbour's).
            if module is None and interpreter is not None:
                module = self._modules.get(interpreter.module_id)
            path = None if module is None else module.path
            return Frame(FrameKind.NATIVE, EVALUATOR, path, plumbing=True)
        if pc is None:
            return Frame(FrameKind.NATIVE, _UNKNOWN_NATIVE, resolved=False)
        if mapping is None or module is None:
            label = None if mapping is None else mapping.label
            return self._name_jit(pid, generation, pc, label)
        vaddr = pc - mapping.load_bias
        symbol = self._symbol(module.id, vaddr)
        if symbol is None or symbol.name is None:
            at = vaddr if symbol is None else symbol.start
            name = f"{basename(module.path)}+0x{at:x}"
            return Frame(FrameKind.NATIVE, name, module.path, resolved=False)
        own = interpreter is not None and module.id == interpreter.module_id
        plumbing = own and is_plumbing(symbol.name)
        name = self._readable(symbol.name)
        return Frame(FrameKind.NATIVE, name, module.path, plumbing=plumbing)

    def _name_source(self, frame: Frame, pid: int, generation: int, pc: int) -> tuple[Frame, ...]:
        mapping = self._mapping(pid, generation, pc)
        module = self._module_of(mapping)
        if mapping is None or module is None:
            return (frame,)
        calls = self._calls.get((module.id, pc - mapping.load_bias))
        if calls is None:
            return (frame,)
        interpreter = self._interpreters.get(pid)
        own = interpreter is not None and module.id == interpreter.module_id
        return tuple(map(self._one, with_source(frame, calls, self._readable, own)))

    def _name_jit(self, pid: int, generation: int, pc: int, label: str | None) -> Frame:
        """A frame in memory without a module; `label`: the memory's."""
        if label == PERF_TRAMPOLINE:
            return Frame(FrameKind.NATIVE, label, plumbing=True)
        symbol = self._jit.find(pid, generation >> _EPOCH_SHIFT, pc)
        if symbol is None or symbol.name is None:
            return Frame(FrameKind.NATIVE, label or _UNKNOWN_NATIVE, resolved=False)
        at = bisect_right(symbol.lines, pc, key=lambda line: line.address) - 1
        line, file = symbol.lines[at][1:] if at >= 0 else (None, _JIT)
        return Frame(FrameKind.NATIVE, self._readable(symbol.name), file, line)

    def _mapping(self, pid: int, generation: int, address: int) -> Mapping | None:
        return self._spaces.find(pid, generation & _GENERATION, address)

    def _module_of(self, mapping: Mapping | None) -> Module | None:
        if mapping is None or mapping.module_id is None:
            return None
        return self._modules.get(mapping.module_id)

    def _symbol(self, module_id: int, vaddr: int) -> Symbol | None:
        at = bisect_right(self._symbol_starts.get(module_id, ()), vaddr) - 1
        if at < 0:
            return None
        symbol = self._symbols[module_id][at]
        return symbol if vaddr < symbol.end else None

    # --- kernel, marks ------------------------------------------------------------------------

    def _kernel_frame(self, address: int) -> Frame:
        seen = self._kernel_seen.get(address)
        if seen is None:
            seen = self._kernel_seen[address] = self._one(self._name_kernel(address))
        return seen

    def _name_kernel(self, address: int) -> Frame:
        at = bisect_right(self._kernel_starts, address) - 1
        if at >= 0 and address < self._kernel[at].end:
            symbol = self._kernel[at]
            place = _KERNEL if symbol.module is None else f"[{symbol.module}]"
            return Frame(FrameKind.KERNEL, symbol.name, place)
        return Frame(FrameKind.KERNEL, _KERNEL, _KERNEL, resolved=False)

    def _mark(self, pid: int, generation: int, item: MarkItem) -> Frame:
        key = (pid, generation, item)
        seen = self._mark_seen.get(key)
        if seen is None:
            seen = self._mark_seen[key] = self._one(self._name_mark(pid, generation, item))
        return seen

    def _name_mark(self, pid: int, generation: int, item: MarkItem) -> Frame:
        name = item.reason.value
        if item.pc is not None:
            module = self._module_of(self._mapping(pid, generation, item.pc))
            if module is not None:
                return Frame(FrameKind.MARK, f"{name} in {basename(module.path)}", module.path)
        return Frame(FrameKind.MARK, name)


def _short(name: str) -> str:
    return shorten(demangle(name))
