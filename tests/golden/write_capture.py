"""Writes the golden captures that are missing, and all summaries.

    python -m tests.golden.write_capture

A golden file, once there, stays as it is and must stay readable. small.data and before_3_11.data
are from before some types of blocks; everything.data has them all.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from mixstack.capture.reader import Capture, read_capture
from tests.unit.capture.captures import BEFORE_3_11, EVERYTHING, SMALL, write

FOLDER = Path(__file__).parent
GOLDEN = {"small": SMALL, "before_3_11": BEFORE_3_11, "everything": EVERYTHING}


def summary(capture: Capture) -> dict[str, Any]:
    """Everything that the capture says, as plain JSON."""
    found = {
        "recording": asdict(capture.recording),
        "modules": [asdict(m) for m in capture.modules.values()],
        "processes": [asdict(p) for p in capture.processes.values()],
        "mappings": [asdict(s) for found in capture.mappings.values() for s in found],
        "codes": [
            asdict(c) | {"linetable": None if c.linetable is None else c.linetable.hex()}
            for c in capture.codes.values()
        ],
        "symbols": [asdict(s) for found in capture.symbols.values() for s in found],
        "kernel_symbols": [asdict(s) for s in capture.kernel_symbols],
        "jit_symbols": [
            asdict(s) | {"source": s.source.name}
            for found in capture.jit_symbols.values()
            for s in found
        ],
        "source_calls": [[*place, calls] for place, calls in capture.source_calls.items()],
        "thread_names": [[*thread, name] for thread, name in capture.thread_names.items()],
        "families": [[pid, *found] for pid, found in capture.families.items()],
        "samples": list(capture.samples()),
        "footer": asdict(capture.footer) if capture.footer else None,
        "problem": capture.problem,
    }
    plain: dict[str, Any] = json.loads(json.dumps(found))
    return plain


def data_of(name: str) -> Path:
    return FOLDER / f"{name}.data"


def summary_of(name: str) -> Path:
    return FOLDER / f"{name}.json"


def main() -> None:
    for name, contents in GOLDEN.items():
        if not data_of(name).exists():
            write(data_of(name), contents)
        found = summary(read_capture(str(data_of(name))))
        summary_of(name).write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
