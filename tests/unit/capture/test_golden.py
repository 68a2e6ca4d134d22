"""A capture that an earlier mixstack wrote is read as it was meant."""

from __future__ import annotations

import json

from mixstack.capture.reader import read_capture
from tests.golden.write_capture import DATA, SUMMARY, summary


def test_the_golden_capture_says_what_it_said() -> None:
    assert summary(read_capture(str(DATA))) == json.loads(SUMMARY.read_text())
