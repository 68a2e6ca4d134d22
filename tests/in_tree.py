"""Runs a command with a tree as its root: `in_tree.py TREE SHARED... -- COMMAND...`, by root.

As a container does it: a mount namespace of its own and pivot_root, so that even the kernel tells
its paths as the command sees them. The process becomes COMMAND, and its mounts end with it. Each
SHARED folder is there at the same path as outside.
"""

from __future__ import annotations

import ctypes
import os
import sys

CLONE_NEWNS = 0x20000  # linux/sched.h; the others are in linux/mount.h
MS_BIND = 0x1000
MS_REC = 0x4000
MS_PRIVATE = 0x40000
MNT_DETACH = 2


def main(words: list[str]) -> None:
    divide = words.index("--")
    tree, shared, command = words[0], words[1:divide], words[divide + 1 :]
    folder = os.getcwd()
    _call("unshare", CLONE_NEWNS)
    _mount("none", "/", MS_REC | MS_PRIVATE)
    _mount(tree, tree, MS_BIND)  # what becomes the root must be a mount
    for path in shared:
        os.makedirs(tree + path, exist_ok=True)
        _mount(path, tree + path, MS_BIND | MS_REC)
    os.chdir(tree)
    _call("pivot_root", b".", b".")
    _call("umount2", b".", MNT_DETACH)  # the old root, which lies on the new one now
    os.chdir(folder if os.path.isdir(folder) else "/")
    os.execv(command[0], command)


def _mount(source: str, target: str, flags: int) -> None:
    _call("mount", os.fsencode(source), os.fsencode(target), None, ctypes.c_ulong(flags), None)


def _call(name: str, *arguments: object) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc[name](*arguments) != 0:
        error = ctypes.get_errno()
        raise OSError(error, f"{name}: {os.strerror(error)}")


if __name__ == "__main__":
    main(sys.argv[1:])
