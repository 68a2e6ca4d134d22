"""The user on whose behalf root runs: started through sudo, files and programs are that user's."""

from __future__ import annotations

import os
import pwd
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Final, NamedTuple

from mixstack.privileges.capabilities import Capability, keep_across_user_change, keep_only

_NOBODY_SET: Final = 2**32 - 1  # (uid_t) -1: "leave it as it is" to the kernel
_OF_SUDO: Final = ("SUDO_UID", "SUDO_GID", "SUDO_USER", "SUDO_COMMAND", "SUDO_HOME")


class User(NamedTuple):
    """Someone other than root. `groups`: all of them, `gid` included. name, home, shell: passwd(5);
    None for a number that has no entry there.
    """

    uid: int
    gid: int
    groups: tuple[int, ...]
    name: str | None
    home: str | None
    shell: str | None


def invoking_user(environment: Mapping[str, str]) -> User | None:
    """Who called sudo; None if nobody did, root did, or this process is not root.

    Only root asks, so a user who sets the variables gains nothing by it.
    """
    if os.geteuid() != 0:
        return None
    uid, gid = (_number(environment.get(name)) for name in ("SUDO_UID", "SUDO_GID"))
    if not uid:  # not said, or root's own
        return None
    try:
        entry = pwd.getpwuid(uid)
    except KeyError:
        if gid is None:
            return None
        return User(uid, gid, (gid,), None, None, None)
    gid = entry.pw_gid if gid is None else gid
    groups = tuple(sorted({gid, *os.getgrouplist(entry.pw_name, gid)}))
    return User(uid, gid, groups, entry.pw_name, entry.pw_dir, entry.pw_shell)


def environment_of(user: User, environment: Mapping[str, str]) -> dict[str, str]:
    """The environment in which a program of this user runs: as `sudo -u` would set it."""
    own = {name: value for name, value in environment.items() if name not in _OF_SUDO}
    if user.name is not None:
        own |= {"USER": user.name, "LOGNAME": user.name}
    if user.home is not None:
        own["HOME"] = user.home
    if user.shell is not None:
        own["SHELL"] = user.shell
    return own


def become(user: User, keep: Collection[Capability] = ()) -> None:
    """Be this user from now on, for good, with no capabilities but these. Raises OSError.

    The process stays closed to the user's other programs: the kernel marks it as not dumpable.
    """
    os.setgroups(user.groups)
    os.setresgid(user.gid, user.gid, user.gid)
    if keep:
        keep_across_user_change()
    os.setresuid(user.uid, user.uid, user.uid)
    keep_only(keep)


@contextmanager
def acting_as(user: User | None) -> Iterator[None]:
    """Meanwhile the kernel checks what this process does as it would for the user; None: as it is.

    So no file is made, followed or replaced that the user could not. Raises OSError.
    """
    if user is None:
        yield
        return
    groups, gid, uid = os.getgroups(), os.getegid(), os.geteuid()
    os.setgroups(user.groups)
    os.setegid(user.gid)
    os.seteuid(user.uid)
    try:
        yield
    finally:
        os.seteuid(uid)
        os.setegid(gid)
        os.setgroups(groups)


def writer_of(path: str, user: User | None) -> User | None:
    """As whom to write the file `path`: as the user where the user may, else as who we are."""
    if user is None or path == "-":
        return user
    folder = os.path.dirname(path) or "."
    with acting_as(user):
        allowed = os.access(folder, os.W_OK | os.X_OK, effective_ids=True)
    return user if allowed else None


def _number(text: str | None) -> int | None:
    if text is None or not (text.isascii() and text.isdigit()):
        return None
    number = int(text)
    return number if number < _NOBODY_SET else None
