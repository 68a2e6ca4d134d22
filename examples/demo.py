"""Record examples/mixed.py with mixstack, merge it, and print its hottest stacks.

    python demo.py [FOLDER]

The recording and the two profiles are left in FOLDER (default: demo, in the current folder).
Exit code 0 if all went well, else 1.
"""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

MIXED = Path(__file__).with_name("mixed.py")
MIXSTACK = Path(sys.executable).with_name("mixstack")
SUPPORTED = ((3, 11), (3, 12), (3, 13))
INTERPRETERS = ("python3", "/usr/bin/python3", "python3.13", "python3.12", "python3.11")
ASK = "import json, sys; print(json.dumps([sys.executable, *sys.version_info[:3]]))"
SECONDS = 4
RATE_HZ = 499
HOTTEST = 10
WIDTH = 100
KERNEL = "_[k]"  # the suffix that marks a kernel frame in collapsed stacks


class Failed(Exception):
    """A step of the demo failed; the message says which and why."""


def main() -> int:
    """Run the demo; returns the exit code."""
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "demo")
    try:
        show(folder)
    except (Failed, OSError) as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    return 0


def show(folder: Path) -> None:
    """Record, merge, print."""
    python, version = find_python()
    folder.mkdir(parents=True, exist_ok=True)
    data, speedscope, collapsed = (
        str(folder / name) for name in ("out.data", "out.speedscope.json", "out.collapsed.txt")
    )
    target = [python, str(MIXED), str(SECONDS)]
    record = ["record", "-r", str(RATE_HZ), "-o", data, "--", *target]
    print(f"Recording {SECONDS} seconds of an unmodified CPython {version}:\n")
    print(f"  $ mixstack {shlex.join(record)}")
    footer = run(record)
    print(*(f"    {line}" for line in footer), sep="\n")
    run(["merge", "-f", "speedscope", "-o", speedscope, data])
    run(["merge", "-f", "collapsed", "-o", collapsed, data])

    weights = read_collapsed(Path(collapsed).read_text().splitlines())
    if not weights:
        raise Failed("nothing was sampled: is the machine very busy?")
    print(f"\nThe {HOTTEST} hottest stacks, outermost frame first; [k] is the kernel:")
    whole = sum(weights.values())
    for (thread, *frames), weight in weights.most_common(HOTTEST):
        print(f"\n{100 * weight / whole:5.1f} %  thread {thread}")
        print(*wrap(frames), sep="\n")
    print(f"\nThe whole profile: {Path(speedscope).resolve()}")
    print("Open it: drag the file onto https://www.speedscope.app (it stays in your browser).")
    print(f"How good it is: mixstack info {shlex.quote(data)}")


def find_python() -> tuple[str, str]:
    """The first supported CPython: its executable, its version."""
    found = []
    for name in INTERPRETERS:
        path = shutil.which(name)
        if path is None:
            continue
        # asked, not guessed: the name may be a script that starts another version
        done = subprocess.run([path, "-c", ASK], capture_output=True, text=True, check=False)
        if done.returncode:
            continue
        executable, *version = json.loads(done.stdout)
        text = ".".join(map(str, version))
        if tuple(version[:2]) in SUPPORTED:
            return executable, text
        found.append(f"{path} is {text}")
    raise Failed(f"it needs CPython 3.11, 3.12 or 3.13 to record; {'; '.join(found) or 'none'}")


def run(arguments: list[str]) -> list[str]:
    """Run mixstack; what it said on standard error, by line."""
    done = subprocess.run(
        [MIXSTACK, *arguments], stderr=subprocess.PIPE, text=True, errors="replace", check=False
    )
    if done.returncode:
        raise Failed(f"mixstack {arguments[0]} failed ({done.returncode})\n{done.stderr.strip()}")
    return done.stderr.splitlines()


def read_collapsed(lines: Iterable[str]) -> Counter[tuple[str, ...]]:
    """Weight by stack; a stack is the thread's name and then its frames, outermost first."""
    weights: Counter[tuple[str, ...]] = Counter()
    for line in lines:
        stack, _, count = line.rpartition(" ")
        weights[tuple(stack.split(";"))] += int(count)
    return weights


def wrap(frames: Iterable[str]) -> Iterator[str]:
    """Frames joined by arrows, in lines that fit a terminal."""
    line = "        "
    for number, frame in enumerate(frames):
        text = f"{frame.removesuffix(KERNEL)} [k]" if frame.endswith(KERNEL) else frame
        piece = f"→ {text}" if number else text
        if len(line) + 1 + len(piece) > WIDTH and line.strip():
            yield line
            line = "          "
        line = f"{line} {piece}" if line.strip() else line + piece
    yield line


if __name__ == "__main__":
    sys.exit(main())
