"""What a command will map when it starts, so that its unwind tables are ready by then."""

from __future__ import annotations

import os
import re
import shutil
import subprocess

from mixstack.elf import BadElf, open_elf
from mixstack.privileges.user import User

_LISTED = re.compile(rb"(?:=>\s*|^\s*)(/\S+) \(0x")  # of the dynamic loader's --list
_TIMEOUT_S = 2.0
_SHEBANG_MAX = 256


def files_of_command(command: str, user: User | None = None) -> list[str]:
    """The program that a command name stands for, and its shared libraries; [] if it is not found.

    For a script: those of its interpreter. The libraries are those that the program's own dynamic
    loader lists; no code of the program runs, and the loader, which the program names, as `user`.
    """
    path = shutil.which(command)
    for _ in range(2):  # a script's interpreter, once
        if path is None:
            return []
        program = _interpreter_of_script(path)
        if program is None:
            break
        path = shutil.which(program)
    if path is None:
        return []
    path = os.path.realpath(path)
    loader = _dynamic_loader(path)
    if loader is None:
        return [path]
    try:
        listing = subprocess.run(
            [loader, "--list", path],
            capture_output=True,
            timeout=_TIMEOUT_S,
            check=False,
            user=user.uid if user is not None else None,
            group=user.gid if user is not None else None,
            extra_groups=user.groups if user is not None else None,
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return [path]
    found = {os.path.realpath(os.fsdecode(name)) for name in (loader, *_LISTED.findall(listing))}
    return [path, *sorted(found)]


def _interpreter_of_script(path: str) -> str | None:
    try:
        with open(path, "rb") as f:
            first = f.read(_SHEBANG_MAX).split(b"\n", 1)[0]
    except OSError:
        return None
    if not first.startswith(b"#!"):
        return None
    words = os.fsdecode(first[2:]).split()
    if not words:
        return None
    if os.path.basename(words[0]) == "env" and len(words) > 1:
        return words[1]
    return words[0]


def _dynamic_loader(path: str) -> str | None:
    """The path in .interp; None for a static program, or one that is no ELF file."""
    try:
        with open_elf(path) as elf:
            section = elf.section(".interp")
            return os.fsdecode(bytes(section.data).rstrip(b"\0")) if section is not None else None
    except (OSError, BadElf):
        return None
