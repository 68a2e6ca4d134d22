"""The target programs, one behaviour each, and where to find them.

A program runs on every supported CPython, says "ready" when its behaviour begins, and goes on until
it is killed. The last paragraph of its docstring is the grammar of its legal stacks.
"""

from __future__ import annotations

import ast
from pathlib import Path

from ..grammar import NEWEST, Grammar

PROGRAMS = Path(__file__).parent


def program(name: str) -> Path:
    return PROGRAMS / f"{name}.py"


def legal_stacks(path: Path, version: tuple[int, int] = NEWEST) -> Grammar:
    """The grammar in a program's docstring, for this CPython (major, minor). Raises BadGrammar."""
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return Grammar(text.rpartition("\n\n")[2], str(path), version)
