"""What can be counted of mixstack's own cost, without a clock: the same on a busy machine."""

from __future__ import annotations

import cProfile
import json
import os
import platform
import subprocess
import sys
import tracemalloc
from pathlib import Path
from typing import Final

from mixstack.bpf.loader import open_probe
from mixstack.bpf.probe import BY_LOOP, PROGRAMS, WALKS
from mixstack.capture.reader import read_capture
from mixstack.cli.load import load_profile
from mixstack.export.speedscope import write_speedscope

from ..bench.synthetic import write_capture
from ..interpreters import ROOT

SAMPLES: Final = 2000
DISTINCT: Final = 200
FURTHER: Final = 20_000  # samples of the same stacks: more than are worked on at once


def offline(folder: Path) -> dict[str, float]:
    """Of a merge of a capture that is always the same: its calls, its memory, its file.

    In a process of its own, that nothing that ran in this one before is counted.
    """
    program = f"from {__name__} import offline_here as count; import json, pathlib, sys"
    program += "; print(json.dumps(count(pathlib.Path(sys.argv[1]))))"
    command = [sys.executable, "-c", program, str(folder)]
    found = subprocess.run(command, capture_output=True, check=True, cwd=ROOT)
    counts: dict[str, float] = json.loads(found.stdout)
    return counts


def offline_here(folder: Path) -> dict[str, float]:
    """The same, in this process."""
    path = _capture(folder, SAMPLES)
    merge(path)  # what is imported and kept once is no part of it
    profiler = cProfile.Profile()
    profiler.runcall(merge, path)
    calls = sum(entry.callcount for entry in profiler.getstats())
    many, more = (_peak(_capture(folder, number * FURTHER)) for number in (1, 2))
    return {
        "capture: bytes per sample": path.stat().st_size / SAMPLES,
        "merge: calls per distinct stack": calls / DISTINCT,
        "merge: peak bytes per distinct stack": _peak(path) / DISTINCT,
        "merge: peak bytes per further sample": (more - many) / FURTHER,
    }


def _capture(folder: Path, samples: int) -> Path:
    path = folder / f"guard-{samples}.data"
    path.unlink(missing_ok=True)
    write_capture(path, samples, DISTINCT)
    return path


def _peak(path: Path) -> int:
    tracemalloc.start()
    merge(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return peak


def merge(path: Path) -> None:
    with open(os.devnull, "w", encoding="utf-8") as stream:
        write_speedscope(load_profile(read_capture(str(path))), stream)


def imports() -> dict[str, float]:
    """How many modules that are not Python's own each command needs."""
    commands = {
        "--help": "import mixstack.cli.main",
        "merge": (
            "import mixstack.cli.main, mixstack.cli.output, mixstack.cli.quality,"
            " mixstack.capture.reader, mixstack.merge.profile, mixstack.symbolize.names,"
            " mixstack.export.speedscope"
        ),
        "record": "import mixstack.cli.main, mixstack.record.session, mixstack.record.sampling",
    }
    return {f"{name}: modules": float(len(_modules(text))) for name, text in commands.items()}


def _modules(imports: str) -> list[str]:
    program = f"import sys; before = set(sys.modules); {imports}; print(*set(sys.modules) - before)"
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    names = found.stdout.decode().split()
    return [name for name in names if name.partition(".")[0] not in sys.stdlib_module_names]


def kernel() -> str:
    """The kernel's version as far as its verifier depends on it: "6.18"."""
    return ".".join(platform.release().split(".")[:2])


def verified() -> dict[str, float]:
    """Instructions that this kernel's verifier goes through, by program. Needs root."""
    part, _ = open_probe("libbpf")
    try:
        for name, entries in (("mappings", 64), ("pages", 4096), ("rows", 4096), ("ring", 4096)):
            part.set_entries(f"ms_{name}", entries)
        names = (*PROGRAMS, *(walk + BY_LOOP for walk in WALKS))
        part.load(names)
        return {
            f"probe: {name}, verified on {kernel()}": float(_verified(part.program_fd(name)))
            for name in names
        }
    finally:
        part.close()


def _verified(fd: int) -> int:
    for line in Path(f"/proc/self/fdinfo/{fd}").read_text().splitlines():
        name, _, value = line.partition(":")
        if name == "verified_insns":
            return int(value)
    raise LookupError("this kernel does not tell how many instructions it verified")
