"""A process may exec another Python: the lines of a code object go by the version that made it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mixstack.model import Code, CodeKey, Interpreter, PythonFrame, PythonItem
from mixstack.symbolize.names import Namer
from tests.unit.symbolize.captures import LIBPYTHON, PID, capture

KEY = CodeKey(0x7000, 9)
# Lines 10 and 12 from offsets 0 and 6 on, as 3.9 writes it.
LNOTAB = bytes((6, 2))
# The same as 3.10 writes it: (bytes of code, lines ahead) of each line.
LINETABLE_3_10 = bytes((6, 0, 4, 2))


@pytest.mark.parametrize(
    ("made_by", "table", "process"),
    [
        ((3, 9, 18), LNOTAB, (3, 10, 13)),
        ((3, 10, 13), LINETABLE_3_10, (3, 9, 18)),
        (None, LNOTAB, (3, 9, 18)),
        ((3, 9, 18), LNOTAB, None),
    ],
    ids=["then exec of 3.10", "then exec of 3.9", "of mixstack 0.1", "then exec of no Python"],
)
def test_the_lines_are_those_of_the_version_that_made_it(
    made_by: tuple[int, int, int] | None,
    table: bytes,
    process: tuple[int, int, int] | None,
) -> None:
    of = capture()
    interpreter = None if process is None else Interpreter(process, LIBPYTHON, None)
    processes = {PID: replace(of.processes[PID], interpreter=interpreter)}
    code = Code(PID, KEY, "f", "f", "app.py", 10, table, made_by)
    namer = Namer(replace(of, processes=processes, codes={(PID, KEY): code}))
    items = (PythonItem(PythonFrame(KEY, offset)) for offset in (0, 4, 6, 8))
    assert [namer.frame(PID, 0, item).line for item in items] == [10, 10, 12, 12]
