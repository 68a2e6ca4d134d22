"""How much of the probe the kernel's verifier has to go through: most of the time to attach."""

from __future__ import annotations

import pytest

from ..guard import measure
from ..guard.record import recorded
from ..guard.test_counts import dearer

# On a kernel whose counts nobody wrote down; the kernel itself refuses a million.
VERIFIED_MAX = 400_000


@pytest.mark.live
def test_no_program_got_much_longer() -> None:
    try:
        now = measure.verified()
    except LookupError as e:
        pytest.skip(str(e))
    before = recorded()
    assert dearer(now, {name: before.get(name, VERIFIED_MAX) for name in now}) == []
