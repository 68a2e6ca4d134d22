"""How long it takes to compile the unwind table of a file, and to read it from the cache."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from mixstack.elf import open_elf
from mixstack.unwind.cache import load_table

from .report import Section, Spread, spread


def files(python: str, with_packages: Path) -> dict[str, str]:
    """The interpreter's own file, and what else is large and mapped in it, by name."""
    maps = Path("/proc/self/maps").read_text().split()
    libc = next((word for word in maps if word.endswith("/libc.so.6")), None)
    shared = sorted((Path(python).resolve().parent.parent / "lib").glob("libpython3.*.so.1*"))
    found = {"libpython": str(shared[-1]) if shared else python}
    if libc is not None:
        found["libc"] = libc
    libraries = with_packages.parent.parent / "lib"
    for path in libraries.glob("python3.*/site-packages/numpy.libs/lib*openblas*.so*"):
        found["openblas"] = str(path)
    return found


def _timed(path: str, cache: str | None, repeats: int) -> tuple[Spread, int]:
    times, rows = [], 0
    for _ in range(repeats):
        start = time.perf_counter()
        with open_elf(path) as elf:
            rows = len(load_table(elf, cache).rows) // 8
        times.append(time.perf_counter() - start)
    return spread(times), rows


def section(named: dict[str, str], *, repeats: int) -> Section:
    out = Section("Unwind tables", ("file", "rows", "compiled", "from the cache"))
    with tempfile.TemporaryDirectory() as cache:
        for name, path in named.items():
            cold, rows = _timed(path, None, repeats)
            _timed(path, cache, 1)
            cached, _ = _timed(path, cache, repeats)
            out.add(name, f"{rows:,}", cold.show(" s", 3), cached.show(" s", 3))
    return out
