"""Small programs with debug information, as different compilers write it."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

import pytest

C_HEADER = """
static inline int twice(int x) { return x * 2 + 1; }
__attribute__((always_inline)) static inline int deeper(int x) {
    for (int i = 0; i < x; i++) x ^= twice(x + i);
    return x;
}
"""
C_SOURCE = """
#include <stdlib.h>
#include "sub/inlined.h"
static volatile int sink;
__attribute__((noinline, cold)) void failed(int x) { sink = x; abort(); }
__attribute__((noinline)) int middle(int x) {
    if (x > 1000) { sink = 3; failed(deeper(x)); }
    int y = deeper(x);
    { int z = deeper(y); sink = z; }
    return y + sink;
}
static int table(int x) {
    switch (x) {
    case 1: return middle(1);
    case 2: return deeper(2) + sink;
    case 7: failed(7);
    default: return 0;
    }
}
int entry(int x) { return table(x) + deeper(middle(x)); }
int main(int argc, char **argv) { return entry(argc); }
"""
CXX_SOURCE = """
#include <map>
#include <string>
#include <vector>
namespace shop {
template <class T> struct Shelf {
    std::vector<T> items;
    T &put(T item) { items.push_back(item); return items.back(); }
    struct Label { std::string text; int size() const { return (int)text.size(); } };
};
namespace { int hidden(const std::string &s) { return (int)s.find('x'); } }
int total(const std::map<std::string, int> &prices) {
    int sum = 0;
    for (auto &[name, price] : prices) sum += price + hidden(name);
    return sum;
}
}
int entry(int x) {
    shop::Shelf<std::string> shelf;
    shelf.put(std::string(x, 'a'));
    shop::Shelf<int>::Label label{"label"};
    auto add = [&](int y) {
        try { return shelf.items.at(y).size() + y; } catch (...) { return 0ul; }
    };
    struct Local { static int twice(int z) { return z * 2; } };
    return shop::total({{"a", x}, {"b", label.size()}}) + (int)add(x) + Local::twice(x);
}
int main(int argc, char **argv) { return entry(argc); }
"""
RUST_SOURCE = """
use std::collections::HashMap;
pub struct Shelf<T> { items: Vec<T> }
impl<T: Clone> Shelf<T> {
    pub fn put(&mut self, item: T) -> T { self.items.push(item.clone()); item }
}
#[inline(never)]
pub fn total(prices: &HashMap<String, u64>) -> u64 {
    prices.iter().map(|(name, price)| price + name.len() as u64).sum()
}
#[no_mangle]
pub extern "C" fn entry(x: u64) -> u64 {
    let mut shelf = Shelf { items: vec![x] };
    let mut prices = HashMap::new();
    prices.insert(format!("a{}", x), shelf.put(x + 1));
    total(&prices) + shelf.items.len() as u64
}
"""


class Build(NamedTuple):
    """How a program is built: a name for people, and the command without files."""

    name: str
    command: tuple[str, ...]
    language: str = "c"


BUILDS = [
    Build("gcc, DWARF 2", ("gcc", "-O2", "-gdwarf-2", "-gstrict-dwarf")),
    Build("gcc, DWARF 3", ("gcc", "-O2", "-gdwarf-3", "-gstrict-dwarf")),
    Build("gcc, DWARF 4", ("gcc", "-O2", "-gdwarf-4")),
    Build("gcc, DWARF 5", ("gcc", "-O2", "-gdwarf-5")),
    Build("gcc, not optimised", ("gcc", "-O0", "-g")),
    Build("gcc, little is said", ("gcc", "-O2", "-g1")),
    Build("gcc, 64-bit DWARF", ("gcc", "-O2", "-gdwarf64", "-g")),
    Build("gcc, compressed", ("gcc", "-O2", "-g", "-gz=zlib")),
    Build("gcc, compressed in the old way", ("gcc", "-O2", "-g", "-gz=zlib-gnu")),
    Build("gcc, link time", ("gcc", "-O2", "-g", "-flto")),
    Build("gcc, a section per function",
          ("gcc", "-O2", "-g", "-ffunction-sections", "-Wl,--gc-sections")),
    Build("gcc, fixed address", ("gcc", "-O2", "-g", "-no-pie")),
    Build("gcc, units of types", ("gcc", "-O2", "-gdwarf-4", "-fdebug-types-section")),
    Build("clang, DWARF 4", ("clang", "-O2", "-gdwarf-4")),
    Build("clang, DWARF 5", ("clang", "-O2", "-gdwarf-5")),
    Build("clang, lines only", ("clang", "-O2", "-gline-tables-only")),
    Build("g++", ("g++", "-std=c++17", "-O2", "-g"), "c++"),
    Build("g++, not optimised", ("g++", "-std=c++17", "-O0", "-gdwarf-4"), "c++"),
    Build("clang++", ("clang++", "-std=c++17", "-O2", "-g"), "c++"),
    Build("rustc", ("rustc", "-g", "-O", "--crate-type=cdylib", "-Cpanic=abort"), "rust"),
    Build("rustc, DWARF 5", ("rustc", "-g", "-Cdwarf-version=5", "--crate-type=cdylib"), "rust"),
]  # fmt: skip

_SOURCES = {
    "c": ("main.c", C_SOURCE),
    "c++": ("main.cpp", CXX_SOURCE),
    "rust": ("main.rs", RUST_SOURCE),
}


def tool(name: str) -> str:
    """A program of this machine, of whatever version; skips the test if there is none."""
    for candidate in (name, *(f"{name}-{version}" for version in range(25, 12, -1))):
        if shutil.which(candidate) is not None:
            return candidate
    pytest.skip(f"no {name} here")


def build(how: Build, folder: Path) -> Path:
    """The program, built in a folder; skips the test without the compiler."""
    name, source = _SOURCES[how.language]
    (folder / "sub").mkdir(exist_ok=True)
    (folder / "sub" / "inlined.h").write_text(C_HEADER)
    (folder / name).write_text(source)
    compiler, *options = how.command
    program = folder / "program"
    done = subprocess.run(
        [tool(compiler), *options, "-o", str(program), name],
        cwd=folder, capture_output=True, text=True,
    )  # fmt: skip
    if done.returncode and "unknown" in done.stderr + done.stdout:
        pytest.skip(f"{compiler} cannot do this: {done.stderr}")
    assert done.returncode == 0, done.stderr
    return program


def functions_of(path: Path) -> list[tuple[int, int]]:
    """`[start, end)` of the functions that nm knows."""
    listed = subprocess.run(
        ["nm", "-S", "--defined-only", str(path)], capture_output=True, text=True, check=True
    )
    rows = [line.split() for line in listed.stdout.splitlines()]
    found = [r for r in rows if len(r) == 4 and r[2] in "tTwW"]
    return sorted((int(r[0], 16), int(r[0], 16) + int(r[1], 16)) for r in found)
