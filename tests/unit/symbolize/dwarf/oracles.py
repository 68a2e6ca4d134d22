"""What addr2line and llvm-symbolizer say of addresses."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Sequence
from os.path import normpath
from pathlib import Path
from typing import NamedTuple

from tests.unit.symbolize.programs import tool


class Call(NamedTuple):
    """None is what the tool writes as "??", 0, or "?"."""

    function: str | None
    file: str | None
    line: int | None


def addr2line(path: Path, addresses: Sequence[int]) -> list[list[Call]]:
    """The calls at each address, outermost first."""
    done = subprocess.run(
        [tool("addr2line"), "-a", "-i", "-f", "-e", str(path)],
        input="\n".join(map(hex, addresses)), capture_output=True, text=True, check=True,
    )  # fmt: skip
    out: list[list[Call]] = []
    lines = iter(done.stdout.splitlines())
    for line in lines:
        if line.startswith("0x"):
            out.append([])
            continue
        file, number = re.sub(r" \(discriminator \d+\)$", "", next(lines)).rsplit(":", 1)
        known = number not in ("?", "0")
        out[-1].insert(
            0,
            Call(
                None if line == "??" else line,
                None if file == "??" else normpath(file),
                int(number) if known else None,
            ),
        )
    return out


def llvm_symbolizer(path: Path, addresses: Sequence[int]) -> list[list[Call]]:
    """The calls at each address, outermost first."""
    done = subprocess.run(
        [tool("llvm-symbolizer"), "--no-demangle", "--output-style=JSON", "-e", str(path)],
        input="\n".join(map(hex, addresses)), capture_output=True, text=True, check=True,
    )  # fmt: skip
    return [
        [
            Call(
                c["FunctionName"] or None,
                normpath(c["FileName"]) if c["FileName"] else None,
                c["Line"] or None,
            )
            for c in reversed(json.loads(line)["Symbol"])
        ]
        for line in done.stdout.splitlines()
    ]
