"""How long it takes to compile the unwind table of a file."""

from __future__ import annotations

import time
from pathlib import Path

from mixstack.elf import open_elf
from mixstack.unwind.cfi import compile_table

from .report import Section, spread

# Of packages, where they are installed.
_LARGE = {"openblas": "numpy.libs/lib*openblas*.so*", "libtorch_cpu": "torch/lib/libtorch_cpu.so"}


def files(python: str, with_packages: Path) -> dict[str, str]:
    """The interpreter's own file, and what else is large and mapped in it, by name."""
    maps = Path("/proc/self/maps").read_text().split()
    libc = next((word for word in maps if word.endswith("/libc.so.6")), None)
    shared = sorted((Path(python).resolve().parent.parent / "lib").glob("libpython3.*.so.1*"))
    found = {"libpython": str(shared[-1]) if shared else python}
    if libc is not None:
        found["libc"] = libc
    libraries = with_packages.parent.parent / "lib"
    for name, pattern in _LARGE.items():
        for path in libraries.glob(f"python3.*/site-packages/{pattern}"):
            found[name] = str(path)
    return found


def section(named: dict[str, str], *, repeats: int) -> Section:
    out = Section("Unwind tables", ("file", "rows", "compiled"))
    for name, path in named.items():
        times, rows = [], 0
        for _ in range(repeats):
            start = time.perf_counter()
            with open_elf(path) as elf:
                rows = len(compile_table(elf).rows) // 8
            times.append(time.perf_counter() - start)
        out.add(name, f"{rows:,}", spread(times).show(" s", 3))
    return out
