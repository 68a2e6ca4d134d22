"""Fixtures of the live tests: the C helpers that targets load, and the right to run at all."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).parent
BARE = ("-fno-asynchronous-unwind-tables", "-fno-unwind-tables", "-fno-exceptions")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Without privileges a live test is skipped, and fails where all of them are required."""
    if os.geteuid() == 0 or os.environ.get("MIXSTACK_REQUIRE_ALL"):
        return
    for item in items:
        if HERE in item.path.parents and "live" in item.keywords:
            item.add_marker(pytest.mark.skip(reason="recording needs root"))


@pytest.fixture(scope="session")
def helpers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The compiled C of tests/live/native, by name."""
    folder = tmp_path_factory.mktemp("native")
    folder.chmod(0o755)
    built = {}
    for name, flags in (("helper", ()), ("bare", BARE), ("odd_rules", ()), ("spin", ())):
        built[name] = folder / f"lib{name}.so"
        source = HERE / "native" / f"{name}.c"
        compiler = ("gcc", "-shared", "-fPIC", "-O2", "-fomit-frame-pointer", "-pthread")
        subprocess.run([*compiler, *flags, "-o", built[name], source], check=True)
    return built
