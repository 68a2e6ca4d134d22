"""What the ELF file that holds a CPython says of itself, without a process."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from mixstack.elf import Elf, LoadSegment
from mixstack.elf_names import ElfSymbol, find_symbols
from mixstack.target.debug_offsets import MAX_SIZE, DebugOffsets, parse_debug_offsets
from mixstack.target.maps import MapLine, load_bias
from mixstack.target.tls_variable import CODE_MAX, TlsVariable, tls_variable
from mixstack.target.version import Version, version_of_code, version_of_number

RUNTIME_SYMBOL: Final = b"_PyRuntime"
_STUB_START: Final = b"_Py_trampoline_func_start"
_STUB_END: Final = b"_Py_trampoline_func_end"
_STUB_MAX: Final = 256
_OWN_STATE: Final = b"PyGILState_GetThisThreadState"
_ATTACHED_STATE: Final = b"PyThreadState_GetUnchecked"
_WANTED: Final = (
    RUNTIME_SYMBOL,
    b"Py_Version",
    b"Py_GetVersion",
    b"PyCode_Type",
    b"_PyEval_EvalFrameDefault",
    _STUB_START,
    _STUB_END,
    _OWN_STATE,
    _ATTACHED_STATE,
)


@dataclass(frozen=True, slots=True)
class PythonFile:
    """An ELF file with a CPython in it; every address is the file's own.

    runtime: `_PyRuntime`; code_type: `PyCode_Type`; evaluator: the range that the symbol
    `_PyEval_EvalFrameDefault` covers; text: from the first executable segment to the last's end.
    trampoline: the machine code of which perf trampolines are copies (3.12+; asm_trampoline.S).
    version: None if it is not stated. own_state: the thread-local pointer to the thread state of
    each thread, attached or not (3.15+).
    """

    runtime: int
    code_type: int | None
    version: Version | None
    evaluator: tuple[int, int] | None
    debug_offsets: DebugOffsets | None
    text: tuple[int, int]
    segments: tuple[LoadSegment, ...]
    trampoline: bytes | None
    own_state: TlsVariable | None

    def bias(self, line: MapLine) -> int | None:
        """Load bias of the mapping that shows this file."""
        return load_bias(
            (
                (s.vaddr, s.offset, s.file_size)
                for s in self.segments
                if s.executable == line.executable
            ),
            line,
        )


def read_python_file(elf: Elf) -> PythonFile | None:
    """The CPython in an ELF file, or None if it holds none (or only uses another file's)."""
    symbols = find_symbols(elf, _WANTED)
    section = elf.section(".PyRuntime")
    if RUNTIME_SYMBOL in symbols:
        runtime = symbols[RUNTIME_SYMBOL].address
    elif section is not None:
        runtime = section.vaddr
    else:
        return None
    offsets = parse_debug_offsets(elf.read(runtime, MAX_SIZE))
    code_type = symbols.get(b"PyCode_Type")
    loop = symbols.get(b"_PyEval_EvalFrameDefault")
    text = [s for s in elf.segments if s.executable]
    return PythonFile(
        runtime=runtime,
        code_type=code_type.address if code_type else None,
        version=_version(elf, symbols, offsets),
        evaluator=(loop.address, loop.address + loop.size) if loop and loop.size else None,
        debug_offsets=offsets,
        text=(
            min((s.vaddr for s in text), default=0),
            max((s.vaddr + s.memory_size for s in text), default=0),
        ),
        segments=elf.segments,
        trampoline=_trampoline(elf, symbols.get(_STUB_START), symbols.get(_STUB_END)),
        own_state=_own_state(elf, symbols),
    )


def _own_state(elf: Elf, symbols: Mapping[bytes, ElfSymbol]) -> TlsVariable | None:
    """None unless it is seen not to be the variable for the attached state, which may be null."""
    own, attached = (
        tls_variable(elf.read(symbols[name].address, CODE_MAX), symbols[name].address)
        if name in symbols
        else None
        for name in (_OWN_STATE, _ATTACHED_STATE)
    )
    return own if own is not None and attached is not None and own != attached else None


def _trampoline(elf: Elf, start: ElfSymbol | None, end: ElfSymbol | None) -> bytes | None:
    if start is None or end is None or not 0 < end.address - start.address <= _STUB_MAX:
        return None
    return elf.read(start.address, end.address - start.address)


def _version(
    elf: Elf, symbols: Mapping[bytes, ElfSymbol], offsets: DebugOffsets | None
) -> Version | None:
    """From the constant `Py_Version` (3.11+), the table of offsets (3.13+), or the text."""
    constant = symbols.get(b"Py_Version")
    number = int.from_bytes(elf.read(constant.address, 4), "little") if constant else 0
    number = number or (offsets.version_hex if offsets else 0)
    code = symbols.get(b"Py_GetVersion")
    if number or code is None:
        return version_of_number(number)
    return version_of_code(elf, code.address, code.size)
