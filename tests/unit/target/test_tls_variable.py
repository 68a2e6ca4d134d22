"""Thread-local variables by the code that compilers and linkers make, against where they lie."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mixstack.elf import open_elf
from mixstack.elf_names import find_symbols
from mixstack.target.maps import load_bias
from mixstack.target.process import TargetProcess
from mixstack.target.tls_variable import (
    CODE_MAX,
    TlsVariable,
    offset_from_thread_pointer,
    tls_variable,
)

LIBRARY = """
static __thread long first = 1;
static __thread void *other, *wanted;
void *get_other(void) { return other; }
void *get_wanted(void) { return wanted; }
void *where(void) { wanted = &first; other = &first; return &wanted; }
"""
# Says how far the variable lies from the thread pointer, in this thread and in a second one.
PROGRAM = """
#include <pthread.h>
#include <stdio.h>
#include <unistd.h>
void *get_wanted(void), *where(void);
long from_thread_pointer(void) {
    char *self;
    __asm__("mov %%fs:0,%0" : "=r"(self));
    return (char *)where() - self;
}
void *say(void *unused) {
    printf("%lu %ld\\n", (unsigned long)pthread_self(), from_thread_pointer());
    fflush(stdout);
    if (unused) pause();
    return 0;
}
int main(void) {
    pthread_t thread;
    get_wanted();
    pthread_create(&thread, 0, say, "");
    usleep(1000);
    say(0);
    return pause();
}
"""


@pytest.mark.skipif(shutil.which("gcc") is None, reason="needs gcc")
@pytest.mark.parametrize(
    ("library_flags", "program_flags", "shared"),
    [
        pytest.param("-fPIC", "", True, id="library"),
        pytest.param("-fPIC -fcf-protection=full", "", True, id="library, endbr64"),
        pytest.param("-fPIC -fno-plt", "", True, id="library, called through its GOT"),
        pytest.param("-fPIC -fno-omit-frame-pointer", "", True, id="library, frame pointers"),
        pytest.param("-fPIC -ftls-model=global-dynamic", "", True, id="library, padded call"),
        pytest.param("-fPIC -ftls-model=initial-exec", "", True, id="library, static TLS"),
        pytest.param("-fPIC -DDYNAMIC", "", True, id="library, exported variable"),
        pytest.param("-fno-pic", "-no-pie", False, id="executable"),
        pytest.param("-fPIE -fno-omit-frame-pointer", "-pie", False, id="PIE, frame pointers"),
        pytest.param("-fPIC", "-no-pie", False, id="library code in an executable"),
        pytest.param("-fPIC -fno-omit-frame-pointer", "-pie", False, id="the same, in a PIE"),
        pytest.param("-fPIC -DDYNAMIC", "-pie", False, id="exported variable in a PIE"),
        pytest.param("-fPIC -ftls-model=initial-exec", "-pie", False, id="initial-exec in a PIE"),
    ],
)
def test_the_variable_lies_where_the_program_says(
    library_flags: str, program_flags: str, shared: bool, tmp_path: Path
) -> None:
    source = LIBRARY.replace("static", "") if "-DDYNAMIC" in library_flags else LIBRARY
    (tmp_path / "library.c").write_text(source)
    (tmp_path / "program.c").write_text(PROGRAM)
    library = tmp_path / ("library.so" if shared else "library.o")
    program = tmp_path / "program"
    gcc(library, "-O2", "-shared" if shared else "-c", *library_flags.split(), "library.c")
    link = [f"-Wl,-rpath,{tmp_path}"] if shared else []
    gcc(program, "-O2", *program_flags.split(), *link, "-rdynamic", "program.c", library.name)

    file = library if shared else program
    with open_elf(str(file)) as elf:
        symbols = find_symbols(elf, [b"get_wanted", b"get_other"])
        wanted, other = (
            tls_variable(elf.read(symbols[name].address, CODE_MAX), symbols[name].address)
            for name in (b"get_wanted", b"get_other")
        )
        segments = [(s.vaddr, s.offset, s.file_size) for s in elf.segments if s.executable]
    assert wanted is not None
    assert other is not None
    assert wanted != other
    with subprocess.Popen([str(program)], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        told = [tuple(map(int, child.stdout.readline().split())) for _ in range(2)]
        process = TargetProcess.open(child.pid)
        line = next(m for m in process.executable_maps() if m.path == str(file))
        bias = load_bias(segments, line)
        assert bias is not None
        ours = [
            (thread, offset_from_thread_pointer(wanted, process.read, bias, thread))
            for thread, _ in told
        ]
        child.kill()
    assert ours == told


def gcc(output: Path, *arguments: str) -> None:
    subprocess.run(["gcc", *arguments, "-o", str(output)], cwd=output.parent, check=True)


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        pytest.param("64488b0425e8ffffff c3", TlsVariable(-24), id="plain"),
        pytest.param("f30f1efa 64488b0425e8ffffff c3", TlsVariable(-24), id="endbr64"),
        pytest.param("64488b0425e8ffffff 90", None, id="goes on"),
        pytest.param("64488b0425e8ffffff", None, id="cut off"),
        pytest.param("90 64488b0425e8ffffff c3", None, id="something before it"),
        pytest.param("64488b0c25e8ffffff c3", None, id="another register"),
        pytest.param(
            "64488b042500000000 488b40f8 c3", TlsVariable(-8), id="through the thread pointer"
        ),
        pytest.param(
            "488b0510000000 64488b00 c3", TlsVariable(0, word=0x1017), id="offset in the GOT"
        ),
        pytest.param(
            "4883ec08 488d3d10000000 e800000000 488b8008000000 4883c408 c3",
            TlsVariable(8, pair=0x101B),
            id="called",
        ),
        pytest.param("833d0000000000 740a", None, id="the pthread key is looked at (3.14)"),
        pytest.param("", None, id="nothing"),
    ],
)
def test_the_shapes(code: str, expected: TlsVariable | None) -> None:
    assert tls_variable(bytes.fromhex(code), 0x1000) == expected


@given(st.binary(max_size=80), st.integers(0, 2**40))
def test_any_code_is_read_without_an_error(code: bytes, address: int) -> None:
    tls_variable(code, address)


@settings(max_examples=50)
@given(st.data())
def test_any_memory_is_read_without_an_error(data: st.DataObject) -> None:
    variable = data.draw(
        st.builds(TlsVariable, st.integers(-99, 99), st.none() | st.just(8), st.none())
        | st.builds(TlsVariable, st.integers(-99, 99), st.none(), st.just(8))
    )

    def read(address: int, size: int) -> bytes | None:
        assert 0 <= address < 1 << 64
        return data.draw(st.none() | st.binary(min_size=size, max_size=size))

    found = offset_from_thread_pointer(variable, read, 0x1000, 0x7000_0000_0000)
    if variable.pair is not None:
        assert found is None or -(1 << 16) < found < 0
