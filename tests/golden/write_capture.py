"""Writes tests/golden/small.data and its summary anew: `python -m tests.golden.write_capture`.

Only for a new version of the format; an old golden file stays and must stay readable.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from mixstack.capture.reader import Capture, read_capture
from tests.unit.capture.captures import SMALL, write

FOLDER = Path(__file__).parent
DATA = FOLDER / "small.data"
SUMMARY = FOLDER / "small.json"


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
        "samples": list(capture.samples()),
        "footer": asdict(capture.footer) if capture.footer else None,
        "problem": capture.problem,
    }
    plain: dict[str, Any] = json.loads(json.dumps(found))
    return plain


def main() -> None:
    DATA.unlink(missing_ok=True)
    write(DATA, SMALL)
    SUMMARY.write_text(json.dumps(summary(read_capture(str(DATA))), indent=1) + "\n")


if __name__ == "__main__":
    main()
