"""Write down today's counts as the ones to keep to: `python -m tests.guard.record`, as root."""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Final

from . import measure

FILE: Final = Path(__file__).parent / "counts.json"


def recorded() -> dict[str, float]:
    """What was written down, by name."""
    values: dict[str, float] = json.loads(FILE.read_text(encoding="utf-8"))
    return values


def main() -> int:
    """Renew all counts; those of other kernels stay."""
    with tempfile.TemporaryDirectory() as folder:
        now = {**measure.offline(Path(folder)), **measure.imports(), **measure.verified()}
    before = recorded() if FILE.exists() else {}
    for name, value in sorted(now.items()):
        print(f"{name}: {before.get(name, 0):.0f} -> {value:.0f}")
    kept = {**before, **{name: round(value) for name, value in now.items()}}
    FILE.write_text(json.dumps(dict(sorted(kept.items())), indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
