"""What the tests of the exporters share."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.browser.application import SCHEMA, NotInstallable, install


@pytest.fixture(scope="session")
def speedscope_schema() -> Any:
    """The JSON schema of the speedscope file format, from the npm package."""
    try:
        install()
    except NotInstallable as reason:
        pytest.skip(str(reason))
    return json.loads(SCHEMA.read_text())
