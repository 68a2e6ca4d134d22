"""The build hook: compile with clang what is not Python, into the wheel."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from typing import Any

try:
    from hatchling.builders.hooks.plugin.interface import BuildHookInterface
except ImportError:  # run by hand, outside of a build
    BuildHookInterface = object

PROBE = os.path.join("mixstack", "bpf", "mixstack.bpf.c")
LIBRARY = os.path.join("mixstack", "compiled")
FLAGS = ["-target", "bpf", "-mcpu=v3", "-O2", "-g", "-Wall", "-Werror", "-Wno-unused-function"]
LIBRARY_FLAGS = ["-std=c11", "-O2", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC"]
LIBRARY_FLAGS += ["-fvisibility=hidden", "-fstack-protector-strong"]
# It computes with numbers from anyone's files, which may wrap, and sorts records by their words.
LIBRARY_FLAGS += ["-fwrapv", "-fno-strict-aliasing"]
OLDEST = 14


class NativeBuildHook(BuildHookInterface):  # type: ignore[type-arg]
    """Runs for wheels and editable installs."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile, and mark the wheel as fit for x86-64 Linux and any Python 3."""
        compile_all(self.root)
        build_data["pure_python"] = False
        build_data["tag"] = "py3-none-manylinux2014_x86_64"


def compile_all(root: str) -> None:
    """Write both beside their sources. Raises SystemExit with what to install."""
    clang = find_clang()
    if clang is None:
        raise SystemExit(
            "mixstack: building it needs clang 14 or later, and there is none in $PATH.\n"
            "hint: apt-get install clang   (Fedora: dnf install clang), or install a wheel"
        )
    _compile(root, [clang, *FLAGS, "-c", PROBE], PROBE.removesuffix(".c") + ".o")
    parts = sorted(name for name in os.listdir(os.path.join(root, LIBRARY)) if name.endswith(".c"))
    sources = [os.path.join(LIBRARY, name) for name in parts]
    _compile(root, [clang, *LIBRARY_FLAGS, *sources], os.path.join(LIBRARY, "libmixstack.so"))


def _compile(root: str, command: list[str], output: str) -> None:
    # Paths of the machine that builds would end up in the object.
    mapping = f"-ffile-prefix-map={root}=."
    new = f"{output}.{os.getpid()}"  # a recorder that starts meanwhile finds the old one, whole
    command = [*command, mapping, "-o", new]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"mixstack: {command[0]} could not compile {output}:\n{done.stderr}")
    os.replace(os.path.join(root, new), os.path.join(root, output))


def find_clang() -> str | None:
    """The newest clang in $PATH that can target BPF: $CLANG, clang-NN, clang."""
    named = os.environ.get("CLANG")
    if named:
        return shutil.which(named)
    for number in range(30, OLDEST - 1, -1):
        found = shutil.which(f"clang-{number}")
        if found:
            return found
    found = shutil.which("clang")
    if found:
        said = subprocess.run([found, "--version"], capture_output=True, text=True, check=False)
        match = re.search(r"version (\d+)", said.stdout)
        if match and int(match[1]) >= OLDEST:
            return found
    return None


if __name__ == "__main__":
    if sys.argv[1:] == ["--check"]:
        sys.exit(0 if find_clang() else 1)
    compile_all(os.path.dirname(os.path.abspath(__file__)))
