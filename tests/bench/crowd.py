"""100 busy threads at the highest rate: `python -m tests.bench.crowd [SECONDS]`, as root.

SECONDS: 60. Prints the footer of the recording: what was lost, and how often it was throttled.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from ..live.harness import MIXSTACK, environment, running
from ..live.test_losses import CROWD


def main(arguments: list[str]) -> int:
    seconds = int(arguments[0]) if arguments else 60
    # It ends by itself: what is recorded is then read back in peace.
    life = str(seconds + 40)
    with (
        tempfile.TemporaryDirectory() as name,
        running([sys.executable, "-c", CROWD, "100", life]) as target,
    ):
        output = str(Path(name, "out.data"))
        options = ("-p", str(target.pid), "-d", str(seconds), "-r", "9999", "-o", output)
        return subprocess.run([*MIXSTACK, "record", *options], env=environment()).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
