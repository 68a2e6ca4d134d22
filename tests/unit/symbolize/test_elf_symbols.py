"""Which function covers an address: rows, laws, and `nm` as the oracle."""

from __future__ import annotations

import random
import shutil
import subprocess
import tracemalloc
from collections import defaultdict
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mixstack.elf import BadElf, Elf, open_elf
from mixstack.symbolize.elf_symbols import SymbolTable
from tests.interpreters import SUPPORTED, Build
from tests.unit.symbolize.images import (
    FUNC,
    GLOBAL,
    IFUNC,
    LOCAL,
    NOTYPE,
    OBJECT,
    TEXT_SECTION,
    TEXT_SIZE,
    TEXT_START,
    WEAK,
    Sym,
    elf,
    symbol_table,
)


def table_of(image: bytes) -> SymbolTable:
    return SymbolTable(Elf(memoryview(image), "image"))


def name_at(image: bytes, address: int) -> str | None:
    found = table_of(image).find(address)
    return found and found[2]


F = Sym("f", 0x1100, 0x40)
HERE = Sym("here", 0x1F00, 0x10, binding=LOCAL)  # tells that local symbols were kept

ROWS = [
    ("first byte", [F], 0x1100, "f"),
    ("last byte", [F], 0x113F, "f"),
    ("byte before", [F], 0x10FF, None),
    ("byte behind", [F], 0x1140, None),
    ("gap between two", [F, Sym("g", 0x1180, 8)], 0x1150, None),
    ("ifunc", [Sym("memcpy", 0x1100, 8, IFUNC)], 0x1100, "memcpy"),
    ("sized label in code", [Sym("label", 0x1100, 8, NOTYPE)], 0x1100, "label"),
    ("label without size", [Sym("label", 0x1100, 0, NOTYPE), HERE], 0x1100, None),
    ("data", [Sym("table", 0x1100, 8, OBJECT)], 0x1100, None),
    ("undefined", [Sym("printf", 0x1100, 8, section=0)], 0x1100, None),
    ("absolute", [Sym("version", 0x1100, 8, section=0xFFF1)], 0x1100, None),
    ("outside of code", [Sym("f", 0x9000, 8)], 0x9000, None),
    ("no name", [Sym("", 0x1100, 8)], 0x1100, None),
    ("size beyond code is cut", [Sym("f", 0x1FF0, 1 << 63)], TEXT_START + TEXT_SIZE, None),
    ("global before weak", [Sym("a", 0x1100, 8, binding=WEAK), Sym("b", 0x1100, 8)], 0x1100, "b"),
    (
        "weak before local",
        [Sym("a", 0x1100, 8, binding=LOCAL), Sym("b", 0x1100, 8, binding=WEAK)],
        0x1100,
        "b",
    ),
    ("fewer underscores", [Sym("__a", 0x1100, 8), Sym("_b", 0x1100, 8)], 0x1100, "_b"),
    ("alphabetical", [Sym("b", 0x1100, 8), Sym("a", 0x1100, 8)], 0x1100, "a"),
    ("inner of two", [Sym("outer", 0x1100, 0x40), Sym("inner", 0x1110, 8)], 0x1114, "inner"),
    ("before the inner", [Sym("outer", 0x1100, 0x40), Sym("inner", 0x1110, 8)], 0x110F, "outer"),
    ("behind the inner", [Sym("outer", 0x1100, 0x40), Sym("inner", 0x1110, 8)], 0x1118, "outer"),
    ("longer alias's tail", [Sym("a", 0x1100, 8), Sym("b", 0x1100, 0x40)], 0x1110, "b"),
    ("overlap: later start", [Sym("a", 0x1100, 0x40), Sym("b", 0x1120, 0x40)], 0x1130, "b"),
    ("overlap: tail", [Sym("a", 0x1100, 0x40), Sym("b", 0x1120, 0x40)], 0x1150, "b"),
    ("unsized function to the next", [Sym("_init", 0x1100, 0), HERE], 0x1EFF, "_init"),
    ("unsized function ends there", [Sym("_init", 0x1E00, 0), HERE], 0x1F00, "here"),
    ("unsized function to the end", [HERE, Sym("_fini", 0x1F10, 0)], 0x1FFF, "_fini"),
    ("unsized, locals discarded", [Sym("_init", 0x1100, 0), F], 0x1150, None),
    ("unsized local function", [Sym("dummy", 0x1200, 0, binding=LOCAL), HERE], 0x1200, None),
    (
        "unsized inside of another",
        [Sym("f", 0x1100, 0x40), Sym("entry", 0x1110, 0), HERE],
        0x1114,
        "f",
    ),
]


@pytest.mark.parametrize(("symbols", "address", "expected"), [r[1:] for r in ROWS],
                         ids=[r[0] for r in ROWS])  # fmt: skip
def test_row(symbols: list[Sym], address: int, expected: str | None) -> None:
    assert name_at(elf(symbols), address) == expected
    assert name_at(elf(symbols[::-1]), address) == expected, "the order in the file must not count"


def test_range_is_the_symbols() -> None:
    assert table_of(elf([F])).find(0x1120) == (0x1100, 0x1140, "f")


def test_dynamic_symbols_complete_the_table() -> None:
    image = elf([F], [Sym("g", 0x1200, 8), Sym("f", 0x1100, 0x40)])
    assert (name_at(image, 0x1100), name_at(image, 0x1204)) == ("f", "g")


def test_unsized_dynamic_symbol_is_no_name() -> None:
    image = elf(None, [Sym("f", 0x1100, 0), HERE])
    assert name_at(image, 0x1100) is None


def test_no_symbols() -> None:
    assert len(table_of(elf())) == 0


def test_name_without_end_is_no_name() -> None:
    table, _ = symbol_table([Sym("f", 0x1100, 8)])
    assert name_at(elf(raw_symtab=(table, b"\0unfinished")), 0x1100) is None
    assert name_at(elf(raw_symtab=(table, b"")), 0x1100) is None


def test_long_name() -> None:
    name = "_Z" + "x" * 5000
    assert name_at(elf([Sym(name, 0x1100, 8)]), 0x1100) == name


starts = st.integers(TEXT_START - 8, TEXT_START + 80)
symbols = st.builds(
    Sym,
    st.sampled_from(["a", "b", "_c", "__d", "e"]),
    starts,
    st.integers(0, 40),
    st.sampled_from([FUNC, NOTYPE, OBJECT, IFUNC]),
    st.sampled_from([LOCAL, GLOBAL, WEAK]),
    st.just(TEXT_SECTION),
)


@given(st.lists(symbols, max_size=12))
def test_a_name_always_covers_its_address(drawn: list[Sym]) -> None:
    """The latest start among the sized symbols that cover an address wins, by plain search."""
    table = table_of(elf(drawn))
    usable = [s for s in drawn if s.kind != OBJECT and s.size and s.start >= TEXT_START]
    unsized = {s.name for s in drawn if not s.size}
    for address in range(TEXT_START - 8, TEXT_START + 128):
        covering = [s for s in usable if s.start <= address < s.start + s.size]
        found = table.find(address)
        if covering:
            latest = max(s.start for s in covering)
            assert found is not None
            assert found[2] in {s.name for s in covering if s.start == latest}
            assert found[0] <= address < found[1]
        else:
            assert found is None or found[2] in unsized


@given(st.binary(max_size=400), st.binary(max_size=60), st.lists(st.integers(0, 2**64 - 1)))
def test_random_tables_never_raise(table: bytes, strings: bytes, addresses: list[int]) -> None:
    found = table_of(elf(raw_symtab=(table, strings)))
    for address in (*addresses, *range(TEXT_START, TEXT_START + TEXT_SIZE, 97)):
        found.find(address)


@given(st.data())
def test_damaged_files_never_raise(data: st.DataObject) -> None:
    image = bytearray(elf([F, HERE, Sym("_init", 0x1200, 0)]))
    for _ in range(data.draw(st.integers(1, 4))):
        region = data.draw(st.sampled_from([(0, 120), (TEXT_START + TEXT_SIZE, len(image))]))
        image[data.draw(st.integers(region[0], region[1] - 1))] = data.draw(st.integers(0, 255))
    try:
        table = table_of(bytes(image))
    except BadElf:
        return
    for address in range(TEXT_START, TEXT_START + TEXT_SIZE, 61):
        table.find(address)


# --- nm as the oracle -------------------------------------------------------------------------


def nm_functions(path: str) -> dict[str, list[tuple[int, int]]]:
    """Ranges by name of the sized text symbols, as nm prints them (versions cut off)."""
    out: defaultdict[str, list[tuple[int, int]]] = defaultdict(list)
    for option in ("", "-D"):
        command = ["nm", "-S", "--defined-only", *([option] if option else []), path]
        done = subprocess.run(command, capture_output=True, text=True)
        for line in done.stdout.splitlines():
            fields = line.split()
            if len(fields) == 4 and fields[2] in "tTwWi":
                start, size = int(fields[0], 16), int(fields[1], 16)
                out[fields[3].split("@")[0]].append((start, start + size))
    return out


def check_against_nm(path: str, count: int = 2000) -> None:
    oracle = nm_functions(path)
    ranges = sorted({r for of in oracle.values() for r in of})
    assert ranges, f"nm knows no function of {path}"
    with open_elf(path) as file:
        table = SymbolTable(file)
        low, high = ranges[0][0], max(end for _, end in ranges)
        random.seed(path)
        addresses = [random.randrange(low, high) for _ in range(count)]
        edges = random.sample(ranges, min(len(ranges), count // 4))
        addresses += [a for start, end in edges for a in (start, end - 1, end)]
        wrong, missed = [], []
        for address in addresses:
            found = table.find(address)
            if found is None:
                missed += [r for r in ranges if r[0] <= address < r[1]]
                continue
            of_name = oracle.get(found[2].split("@")[0], [])
            if not any(start <= address < end for start, end in of_name):
                wrong.append(found[2])
    unsized = unsized_in_nm(path)  # their ends are our rule, not nm's
    assert [name for name in wrong if name not in unsized] == []
    assert missed == [], "nm has names for addresses that got none"


def unsized_in_nm(path: str) -> set[str]:
    done = subprocess.run(["nm", "-S", "--defined-only", path], capture_output=True, text=True)
    return {f[2] for f in map(str.split, done.stdout.splitlines()) if len(f) == 3}


@pytest.mark.parametrize("build", SUPPORTED)
def test_interpreter_agrees_with_nm(build: Build) -> None:
    check_against_nm(interpreter_file(build))


def interpreter_file(build: Build) -> str:
    """The file that holds the evaluator."""
    if build.static:
        return build.host_executable
    library = Path(build.executable).parent.parent / "lib"
    return str(next(library.glob(f"libpython{build.minor[0]}.{build.minor[1]}.so.1*")))


@pytest.mark.parametrize("library", ["libc.so.6", "libstdc++.so.6", "libcrypto.so.3"])
def test_system_library_agrees_with_nm(library: str) -> None:
    check_against_nm(system_library(library))


def system_library(library: str) -> str:
    """The path of a shared library of this machine; skips the test if it has none."""
    cached = subprocess.run(["ldconfig", "-p"], capture_output=True, text=True).stdout
    found = [
        line.split("=> ")[1]
        for line in cached.splitlines()
        if line.strip().startswith(library) and "x86-64" in line
    ]
    if not found:
        pytest.skip(f"no {library} here")
    return found[0]


C_PROGRAM = r"""
__attribute__((noinline)) static int inner(int x) { return x * 3; }
__attribute__((weak)) int weak_one(int x) { return inner(x) + 1; }
int outer(int x) { return weak_one(x) - inner(x + 1); }
extern int alias_of_outer(int) __attribute__((alias("outer")));
int main(int argc, char **argv) { return outer(argc); }
"""


def test_compiled_program_agrees_with_addr2line(tmp_path: Path) -> None:
    if shutil.which("gcc") is None:
        pytest.skip("no gcc here")
    source, program = tmp_path / "p.c", tmp_path / "p"
    source.write_text(C_PROGRAM)
    subprocess.run(["gcc", "-O1", "-g", "-o", str(program), str(source)], check=True)
    check_against_nm(str(program), 500)
    ranges = [(s, e) for of in nm_functions(str(program)).values() for s, e in of]
    addresses = [a for s, e in ranges for a in range(s, e)]
    done = subprocess.run(
        ["addr2line", "-f", "-e", str(program), *map(hex, addresses)],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    with open_elf(str(program)) as file:
        table = SymbolTable(file)
        ours = [(table.find(a) or ("", "", "??"))[2] for a in addresses]
    theirs = done.stdout.splitlines()[::2]
    same = {"alias_of_outer": "outer"}
    assert [same.get(n, n) for n in ours] == [same.get(n, n) for n in theirs]


def test_a_large_table_takes_little_memory() -> None:
    """Some libraries have half a million functions; as objects, each took 470 bytes."""
    count = TEXT_SIZE // 2
    syms = [Sym(f"function_{i}", TEXT_START + 2 * i, 2) for i in range(count)]
    image = Elf(memoryview(elf(syms)), "image")
    tracemalloc.start()
    try:
        table = SymbolTable(image)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(table) == count
    assert peak < 150 * count, peak / count
