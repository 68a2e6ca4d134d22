"""What a recording says of its native addresses, against nm, addr2line and llvm-symbolizer."""

from __future__ import annotations

import lzma
import subprocess
import tempfile
from bisect import bisect_right
from collections.abc import Iterator
from os.path import normpath
from pathlib import Path
from typing import NamedTuple

from mixstack.capture.reader import Capture
from mixstack.model import SourceCall
from mixstack.symbolize.debug_files import path_by_build_id
from mixstack.symbolize.demangle import demangle
from mixstack.symbolize.offline import sampled_addresses

from ..unit.symbolize.dwarf.oracles import Call, addr2line, llvm_symbolizer


class Opinion(NamedTuple):
    """The addresses of a file that occurred. lines: of how many a source line is known; less: of
    how many the tool knows one and the recording does not. The others: sentences on differences.
    """

    path: str
    addresses: int
    lines: int
    less: int
    names: list[str]
    lines_differ: list[str]
    addr2line_differs: list[str]


def opinions(capture: Capture) -> Iterator[Opinion]:
    """One for each file of the recording that is still there."""
    for module_id, vaddrs in sorted(sampled_addresses(capture).items()):
        path = capture.modules[module_id].path
        if not Path(path).is_file():
            continue
        addresses = sorted(vaddrs)
        ours = [capture.source_calls.get((module_id, vaddr), ()) for vaddr in addresses]
        theirs = llvm_symbolizer(Path(path), addresses)
        others = addr2line(Path(path), addresses)
        yield Opinion(
            path,
            len(addresses),
            sum(map(_has_line, ours)),
            sum(not a and _knows(b) for a, b in zip(ours, theirs, strict=True)),
            list(_wrong_names(capture, module_id, path, addresses)),
            list(_differences(addresses, ours, theirs)),
            list(_differences(addresses, ours, others)),
        )


def _has_line(calls: tuple[SourceCall, ...]) -> bool:
    return any(call.line is not None for call in calls)


def _knows(calls: list[Call]) -> bool:
    return any(call.line is not None for call in calls)


def _differences(
    addresses: list[int], ours: list[tuple[SourceCall, ...]], theirs: list[list[Call]]
) -> Iterator[str]:
    """Where both know a line and do not say the same; the outermost name is the symbol's."""
    for vaddr, found, expected in zip(addresses, ours, theirs, strict=True):
        said = [Call(c.function, c.file and normpath(c.file), c.line) for c in found]
        if said and _knows(expected):
            said[0], expected[0] = (calls[0]._replace(function=None) for calls in (said, expected))
            if said != expected:
                yield f"0x{vaddr:x}: {said}, and not {expected}"


def _wrong_names(
    capture: Capture, module_id: int, path: str, addresses: list[int]
) -> Iterator[str]:
    """Addresses whose symbol is none of those that nm has there."""
    symbols = capture.symbols.get(module_id, ())
    starts = [symbol.start for symbol in symbols]
    build_id = capture.modules[module_id].build_id
    debug = Path(path_by_build_id(build_id)) if build_id else None
    known = _nm(path) + (_nm(str(debug)) if debug is not None and debug.is_file() else [])
    known += _nm_of_mini_debug_info(path)
    for vaddr in addresses:
        at = bisect_right(starts, vaddr) - 1
        if at < 0 or vaddr >= symbols[at].end or symbols[at].name is None:
            continue
        name = symbols[at].name
        if known and name not in {n for start, end, n in known if start <= vaddr < end}:
            yield f"0x{vaddr:x}: {demangle(name or '')}"


def _nm_of_mini_debug_info(path: str) -> list[tuple[int, int, str]]:
    """The same of the file that is packed into a section, as some distributions ship it."""
    with tempfile.TemporaryDirectory() as folder:
        packed, unpacked = Path(folder) / "packed", Path(folder) / "unpacked"
        dump = [
            "objcopy",
            "--dump-section",
            f".gnu_debugdata={packed}",
            path,
            str(Path(folder) / "rest"),
        ]
        subprocess.run(dump, capture_output=True, check=False)
        if not packed.is_file():
            return []
        unpacked.write_bytes(lzma.decompress(packed.read_bytes()))
        return _nm(str(unpacked))


def _nm(path: str) -> list[tuple[int, int, str]]:
    """(start, end, name) of the functions of a file; of one without a size the end is the next."""
    rows: list[tuple[int, int, str]] = []
    for option in ([], ["-D"]):
        listed = subprocess.run(
            ["nm", "-S", "--defined-only", *option, path], capture_output=True, text=True
        ).stdout
        fields = [line.split() for line in listed.splitlines()]
        functions = [f for f in fields if f[-2] in "tTwWiu"]
        borders = sorted(int(f[0], 16) for f in functions)
        for field in functions:
            start = int(field[0], 16)
            size = int(field[1], 16) if len(field) == 4 else 0
            following = bisect_right(borders, start)
            end = borders[following] if following < len(borders) else 1 << 64
            rows.append((start, start + size if size else end, field[-1].partition("@")[0]))
    return rows
