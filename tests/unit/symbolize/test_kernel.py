"""Kernel functions from a written /proc/kallsyms."""

from __future__ import annotations

from pathlib import Path

import pytest

from mixstack.model import KernelSymbol
from mixstack.symbolize.kernel import kernel_symbols

KALLSYMS = """\
ffffffff81000000 T _text
ffffffff81000000 T startup_64
ffffffff81000100 t local_one
ffffffff81000200 W weak_one
ffffffff81000300 T __alias
ffffffff81000300 T alias
ffffffff81000300 t a_local
ffffffff81000400 D some_data
ffffffff81000500 T last_of_kernel
ffffffffc0000000 t first_of_module\t[nf_tables]
ffffffffc0000040 t last_of_module\t[nf_tables]
ffffffffc0000080 t of_another\t[xt]
"""

K = 0xFFFFFFFF81000000
M = 0xFFFFFFFFC0000000

ROWS = [
    ("first byte", K + 0x100, ("local_one", None)),
    ("last byte", K + 0x1FF, ("local_one", None)),
    ("weak", K + 0x200, ("weak_one", None)),
    ("global alias with fewer underscores", K + 0x300, ("alias", None)),
    ("alias: fewer underscores before alphabet", K + 0x10, ("startup_64", None)),
    ("ends where data begins", K + 0x3FF, ("alias", None)),
    ("data", K + 0x400, None),
    ("last of the kernel", K + 0x500, ("last_of_kernel", None)),
    ("far behind the last of the kernel", K + 0x500 + (1 << 20), None),
    ("module", M, ("first_of_module", "nf_tables")),
    ("last of a module, up to the next", M + 0x7F, ("last_of_module", "nf_tables")),
    ("last of all", M + 0x90, ("of_another", "xt")),
    ("far behind the last of all", M + (1 << 20), None),
    ("below all", 0x1000, None),
]


@pytest.fixture
def kallsyms(tmp_path: Path) -> Path:
    file = tmp_path / "kallsyms"
    file.write_text(KALLSYMS)
    return file


@pytest.mark.parametrize(("address", "expected"), [r[1:] for r in ROWS], ids=[r[0] for r in ROWS])
def test_row(kallsyms: Path, address: int, expected: tuple[str, str | None] | None) -> None:
    found = kernel_symbols([address], str(kallsyms))
    assert [(s.name, s.module) for s in found] == ([expected] if expected else [])
    assert all(s.start <= address < s.end for s in found)


def test_distinct_and_sorted(kallsyms: Path) -> None:
    found = kernel_symbols([M, K + 0x110, K + 0x100, K + 0x204], str(kallsyms))
    assert found == [
        KernelSymbol(K + 0x100, K + 0x200, "local_one", None),
        KernelSymbol(K + 0x200, K + 0x300, "weak_one", None),
        KernelSymbol(M, M + 0x40, "first_of_module", "nf_tables"),
    ]


def test_hidden_addresses(tmp_path: Path) -> None:
    file = tmp_path / "kallsyms"
    file.write_text("".join(f"{0:016x} T f{i}\n" for i in range(9)))
    assert kernel_symbols([0, 5, K], str(file)) == []


def test_unreadable(tmp_path: Path) -> None:
    assert kernel_symbols([K], str(tmp_path / "none")) == []


def test_garbage(tmp_path: Path) -> None:
    file = tmp_path / "kallsyms"
    file.write_bytes(b"\xff\xfe nonsense\nffffffffffffffffffff T too_large\n\n" + KALLSYMS.encode())
    assert [s.name for s in kernel_symbols([K + 0x100], str(file))] == ["local_one"]


def test_read_only_when_asked_and_once(tmp_path: Path) -> None:
    file = tmp_path / "kallsyms"
    assert kernel_symbols([], str(file)) == []
    file.write_text(KALLSYMS)
    assert kernel_symbols([K + 0x100], str(file))
    file.unlink()
    assert kernel_symbols([K + 0x200], str(file))
