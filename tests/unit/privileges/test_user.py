"""Who called sudo, and what such a user's programs find around them."""

from __future__ import annotations

import os
import pwd
from pathlib import Path

import pytest

from mixstack.privileges.user import (
    User,
    acting_as,
    environment_of,
    invoking_user,
    writer_of,
)

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to act for another user")
NOBODY = pwd.getpwnam("nobody")


@pytest.mark.parametrize(
    ("environment", "uid"),
    [
        pytest.param({}, None, id="no sudo"),
        pytest.param({"SUDO_UID": "0", "SUDO_GID": "0"}, None, id="root called sudo"),
        pytest.param({"SUDO_UID": "", "SUDO_GID": "7"}, None, id="empty"),
        pytest.param({"SUDO_UID": "-1"}, None, id="negative"),
        pytest.param({"SUDO_UID": "4294967295"}, None, id="the number that means nobody"),
        pytest.param({"SUDO_UID": "12x"}, None, id="no number"),
        pytest.param({"SUDO_UID": "54321"}, None, id="unknown user without a group"),
        pytest.param({"SUDO_UID": "54321", "SUDO_GID": "5"}, 54321, id="unknown user"),
        pytest.param({"SUDO_UID": str(NOBODY.pw_uid)}, NOBODY.pw_uid, id="a user, no group told"),
    ],
)
def test_who_called_sudo(
    environment: dict[str, str], uid: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    user = invoking_user(environment)
    assert (user.uid if user is not None else None) == uid


def test_only_root_acts_for_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert invoking_user({"SUDO_UID": "65534", "SUDO_GID": "65534"}) is None


def test_a_user_has_all_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(os, "getgrouplist", lambda name, gid: [gid, 27, 4])
    user = invoking_user({"SUDO_UID": str(NOBODY.pw_uid), "SUDO_GID": "65534"})
    assert user == User(
        NOBODY.pw_uid, 65534, (4, 27, 65534), "nobody", NOBODY.pw_dir, NOBODY.pw_shell
    )


def test_the_environment_is_the_users() -> None:
    user = User(7, 7, (7,), "ann", "/somewhere/ann", "/bin/zsh")
    ours = {"HOME": "/", "USER": "root", "PATH": "/bin", "LANG": "C", "SUDO_UID": "7", "SUDO_X": ""}
    assert environment_of(user, ours) == {
        "HOME": "/somewhere/ann",
        "USER": "ann",
        "LOGNAME": "ann",
        "SHELL": "/bin/zsh",
        "PATH": "/bin",
        "LANG": "C",
        "SUDO_X": "",
    }
    assert environment_of(User(7, 7, (7,), None, None, None), {"HOME": "/"}) == {"HOME": "/"}


def nobody() -> User:
    return User(65534, 65534, (65534,), "nobody", None, None)


@as_root
def test_acting_as_a_user_is_the_kernels_view_and_ends(tmp_path: Path) -> None:
    before = (os.geteuid(), os.getegid(), os.getgroups())
    tmp_path.chmod(0o700)
    with acting_as(nobody()):
        assert (os.geteuid(), os.getegid(), os.getgroups()) == (65534, 65534, [65534])
        with pytest.raises(PermissionError):
            os.listdir(tmp_path)
    assert (os.geteuid(), os.getegid(), os.getgroups()) == before
    with acting_as(None):
        assert os.geteuid() == before[0]


@as_root
def test_as_whom_a_file_is_written(tmp_path: Path) -> None:
    assert writer_of(str(tmp_path / "x"), None) is None
    assert writer_of(str(tmp_path / "x"), nobody()) is None  # it may not write there
    assert writer_of("-", nobody()) == nobody()
    assert writer_of("/tmp/x", nobody()) == nobody()
