"""The version that a binary states, in files made here; test_python_file asks real ones."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from mixstack.elf import open_elf
from mixstack.elf_names import find_symbols
from mixstack.target.version import Version, version_of_code, version_of_number

PIC = "-O2 -fPIC -shared"
SOURCE = """
#include <stdio.h>
static char buffer[250];
extern const char *build;
const char *build = "main";
const char *Py_GetVersion(void) {
    snprintf(buffer, sizeof buffer, "%%.80s (%%.80s) %%.80s", "%s", build, "[GCC 3.4.6] 3.1.");
    return buffer;
}
int main(void) { return puts(Py_GetVersion()) < 0; }
"""


@pytest.mark.skipif(shutil.which("gcc") is None, reason="needs gcc")
@pytest.mark.parametrize(
    ("text", "flags", "expected"),
    [
        ("3.8.18", "-O2 -fPIC -shared", Version(3, 8, 18, True)),
        ("3.8.18", "-O2 -fno-pic -no-pie", Version(3, 8, 18, True)),
        ("3.8.18", "-O0 -fPIE -pie", Version(3, 8, 18, True)),
        ("3.8.18", "-O3 -flto -fPIE -pie", Version(3, 8, 18, True)),
        ("3.10.0rc2", PIC, Version(3, 10, 0, True)),
        ("3.10.0b4", PIC, Version(3, 10, 0, False)),
        ("3.9.0a1+", PIC, Version(3, 9, 0, False)),
        ("3.7.16+", PIC, Version(3, 7, 16, True)),
        ("2.7.18", PIC, None),
        ("3.10", PIC, None),
        ("3.8.18-custom", PIC, None),
    ],
)
def test_the_text_that_the_function_refers_to(
    text: str, flags: str, expected: Version | None, tmp_path: Path
) -> None:
    (tmp_path / "x.c").write_text(SOURCE % text)
    out = str(tmp_path / "x")
    command = ["gcc", *flags.split(), "-rdynamic", str(tmp_path / "x.c"), "-o", out]
    subprocess.run(command, check=True)
    with open_elf(out) as elf:
        symbol = find_symbols(elf, [b"Py_GetVersion"])[b"Py_GetVersion"]
        assert version_of_code(elf, symbol.address, symbol.size) == expected
        assert version_of_code(elf, symbol.address, 0) in (expected, None)
        assert version_of_code(elf, 0x7000_0000, 0) is None


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (0, None),
        (0x030812F0, Version(3, 8, 18, True)),
        (0x030F00B2, Version(3, 15, 0, False)),
        (0x030F00C1, Version(3, 15, 0, True)),
    ],
)
def test_the_number(number: int, expected: Version | None) -> None:
    assert version_of_number(number) == expected
