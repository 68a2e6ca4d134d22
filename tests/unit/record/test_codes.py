"""Code objects from the wire: whole records, cut ones, reused memory, real interpreters."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
from collections.abc import Mapping
from ctypes import c_uint8
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import mixstack.bpf
from mixstack.bpf.wire import CODE_STRING_MAX, CodeRecord, CodeString
from mixstack.model import Code, CodeKey
from mixstack.record.codes import decode_code, fingerprint
from mixstack.record.layout import wire_layout
from mixstack.target.interpreter import FoundInterpreter, find_interpreter
from mixstack.target.layouts import COMPILED, Layout
from mixstack.target.process import TargetProcess
from tests.interpreters import SUPPORTED, Build

HEADER_DIR = Path(next(iter(mixstack.bpf.__path__)))
LAYOUT = COMPILED[3, 12]
MADE_BY = (3, 12, 1)
# A build without the GIL: an object's head has 32 bytes, and a str's state other bits.
FREE_THREADED = replace(
    LAYOUT,
    object_type=24,
    var_size=32,
    bytes_data=48,
    string_length=32,
    string_state=48,
    string_kind_shift=8,
    string_ascii_data=56,
    string_compact_data=72,
    code_size=216,
    **{
        name: getattr(LAYOUT, name) + 16
        for name in (
            "code_flags",
            "code_first_line",
            "code_filename",
            "code_name",
            "code_qualname",
            "code_linetable",
            "code_version",
        )
    },
)
LAYOUTS = {".".join(map(str, minor)): layout for minor, layout in COMPILED.items()} | {
    "free-threaded": FREE_THREADED,
    "free-threaded, without versions": replace(FREE_THREADED, code_version=None),
}
CODE, NAME, QUALNAME, FILENAME, TABLE = 0x1000, 0x2000, 0x3000, 0x4000, 0x8000
FIRST_LINE, FLAGS, VERSION = 42, 3, 77

# --- what the probe sends ---------------------------------------------------------------------


def string(text: str) -> CodeString:
    """A str as the probe sends it: as CPython stores it, cut where it does not fit."""
    kind, raw = stored(text)
    data = raw[:CODE_STRING_MAX]
    out = CodeString(length=len(text), kind=kind, ascii=text.isascii(), bytes=len(data))
    out.data[: len(data)] = data
    return out


def stored(text: str) -> tuple[int, bytes]:
    """Bytes per character, and the characters, as PEP 393 has them."""
    widest = max(map(ord, text), default=0)
    kind = 1 if widest < 1 << 8 else 2 if widest < 1 << 16 else 4
    encoding = {1: "latin-1", 2: "utf-16-le", 4: "utf-32-le"}[kind]
    return kind, text.encode(encoding, "strict" if kind == 1 else "surrogatepass")


def record(
    name: CodeString,
    qualname: CodeString,
    filename: CodeString,
    table: bytes = b"\x80\x00",
    *,
    table_length: int | None = None,
    print_: int = 0,
) -> bytes:
    head = CodeRecord(
        record=2,
        pid=7,
        family=7,
        address=CODE,
        fingerprint=print_,
        first_line=FIRST_LINE,
        linetable_length=len(table) if table_length is None else table_length,
        linetable_bytes=len(table),
        name=name,
        qualname=qualname,
        filename=filename,
    )
    return bytes(head) + table + bytes(-len(table) % 8)


# --- what lies in the process -----------------------------------------------------------------


class Memory:
    """Bytes by address, read as process_vm_readv does: all of it or nothing."""

    def __init__(self, areas: Mapping[int, bytes]) -> None:
        self.areas = dict(areas)

    def __call__(self, address: int, size: int) -> bytes | None:
        assert size > 0
        for start, data in self.areas.items():
            if start <= address and address + size <= start + len(data):
                return data[address - start : address - start + size]
        return None


def string_object(text: str, layout: Layout, *, compact: bool = True) -> bytes:
    kind, data = stored(text)
    state = (kind | compact << 3 | text.isascii() << 4) << layout.string_kind_shift | 1
    head = bytearray(layout.string_compact_data)
    head[layout.string_length : layout.string_length + 8] = len(text).to_bytes(8, "little")
    head[layout.string_state : layout.string_state + 4] = state.to_bytes(4, "little")
    start = layout.string_ascii_data if text.isascii() else layout.string_compact_data
    return (bytes(head[:start]) + data).ljust(layout.string_compact_data, b"\0")


def bytes_object(data: bytes, layout: Layout) -> bytes:
    head = bytearray(layout.bytes_data)
    head[layout.var_size : layout.var_size + 8] = len(data).to_bytes(8, "little")
    return bytes(head) + data


def code_object(layout: Layout) -> bytes:
    image = bytearray(layout.code_size)
    for at, value, size in (
        (layout.var_size, 9, 8),
        (layout.code_qualname, QUALNAME, 8),
        (layout.code_name, NAME, 8),
        (layout.code_filename, FILENAME, 8),
        (layout.code_linetable, TABLE, 8),
        (layout.code_first_line, FIRST_LINE, 4),
        (layout.code_flags, FLAGS, 4),
        (layout.code_version, VERSION, 4),
    ):
        if at is None:
            continue
        image[at : at + size] = value.to_bytes(size, "little")
    return bytes(image)


def memory(name: str, qualname: str, filename: str, table: bytes) -> Memory:
    return Memory(
        {
            CODE: code_object(LAYOUT),
            NAME: string_object(name, LAYOUT),
            QUALNAME: string_object(qualname, LAYOUT),
            FILENAME: string_object(filename, LAYOUT),
            TABLE: bytes_object(table, LAYOUT),
        }
    )


NOTHING = Memory({})
PRINT = fingerprint(code_object(LAYOUT), LAYOUT, NOTHING)
UNREADABLE = CodeString()
LONG = "very/long/" * 60 + "app.py"

# --- whole records ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("load", id="ASCII"),
        pytest.param("", id="empty"),
        pytest.param("größe", id="Latin-1"),
        pytest.param("расчёт", id="two bytes"),
        pytest.param("𝔘nicode", id="four bytes"),
        pytest.param("a\0b", id="a zero byte"),
        pytest.param("caf\udce9Ā", id="a surrogate in two bytes"),
        pytest.param("\udce9𝔘", id="a surrogate in four bytes"),
        pytest.param("x" * CODE_STRING_MAX, id="as long as fits"),
    ],
)
def test_a_name_that_arrived_whole(name: str) -> None:
    raw = record(string(name), string("C." + name[:20]), string("app.py"), b"\x80\x01\x02")
    expected = Code(
        7, CodeKey(CODE, 0), name, "C." + name[:20], "app.py", FIRST_LINE, b"\x80\x01\x02", MADE_BY
    )
    assert decode_code(raw, LAYOUT, NOTHING, MADE_BY) == expected


texts = st.text(st.characters(exclude_categories=()), max_size=40)


@given(name=texts, qualname=texts, filename=texts, table=st.binary(max_size=40))
def test_round_trip(name: str, qualname: str, filename: str, table: bytes) -> None:
    raw = record(string(name), string(qualname), string(filename), table)
    expected = Code(7, CodeKey(CODE, 0), name, qualname, filename, FIRST_LINE, table, MADE_BY)
    assert decode_code(raw, LAYOUT, NOTHING, MADE_BY) == expected


# --- what is read from the process ------------------------------------------------------------


@pytest.mark.parametrize(
    ("sent", "table_length"),
    [
        pytest.param((UNREADABLE,) * 3, None, id="no string could be read"),
        pytest.param((string("f"), string("C.f"), UNREADABLE), None, id="only the file is missing"),
        pytest.param((string("f"), UNREADABLE, string(LONG)), 2, id="two are missing"),
        pytest.param((string("f"), string("C.f"), string(LONG)), 2, id="the file name is cut"),
        pytest.param((string("f"), string("C.f"), string(LONG)), 20_000, id="the table is cut too"),
    ],
)
def test_what_is_missing_is_read(sent: tuple[CodeString, ...], table_length: int | None) -> None:
    table = bytes(range(200)) * 100
    raw = record(*sent, b"\x00\x01", table_length=table_length, print_=PRINT)
    code = decode_code(raw, LAYOUT, memory("f", "C.f", LONG, table), MADE_BY)
    expected_table = table if table_length == 20_000 else b"\x00\x01"
    assert code == Code(
        7, CodeKey(CODE, PRINT), "f", "C.f", LONG, FIRST_LINE, expected_table, MADE_BY
    )


@pytest.mark.parametrize("text", ["f", "größe", "расчёт", "𝔘", "\udce9Ā", ""])
@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_strings_and_tables_of_every_layout_are_read(text: str, layout: Layout) -> None:
    table = bytes(range(200))
    names = (NAME,) if layout.code_qualname is None else (NAME, QUALNAME)
    process = Memory(
        {at: string_object(text, layout) for at in (*names, FILENAME)}
        | {CODE: code_object(layout), TABLE: bytes_object(table, layout)}
    )
    print_ = fingerprint(code_object(layout), layout, process)
    raw = record(*(UNREADABLE,) * 3, table_length=len(table), print_=print_)
    code = decode_code(raw, layout, process, MADE_BY)
    assert code is not None
    assert (code.name, code.qualname, code.filename) == (text, text, text)
    assert code.linetable == table


@pytest.mark.parametrize(
    ("kind", "data"), [(4, b"\xff" * 4), (2, b"A\0B")], ids=["no character", "half a character"]
)
def test_a_name_that_is_no_text_is_read_again(kind: int, data: bytes) -> None:
    broken = CodeString(length=1, kind=kind, bytes=len(data))
    broken.data[: len(data)] = data
    raw = record(broken, string("C.f"), string("app.py"), print_=PRINT)
    assert decode_code(raw, LAYOUT, NOTHING, MADE_BY) is None
    code = decode_code(raw, LAYOUT, memory("f", "?", "?", b""), MADE_BY)
    assert code is not None
    assert (code.name, code.qualname) == ("f", "C.f")


def test_a_qualname_that_cannot_be_read_is_the_name() -> None:
    raw = record(string("f"), UNREADABLE, string("app.py"))
    code = decode_code(raw, LAYOUT, NOTHING, MADE_BY)
    assert code is not None
    assert code.qualname == "f"


@pytest.mark.parametrize("version", [(3, 8, 18), (3, 15, 0), None])
def test_a_code_says_which_interpreter_made_it(version: tuple[int, int, int] | None) -> None:
    raw = record(string("f"), string("f"), string("app.py"))
    code = decode_code(raw, LAYOUT, NOTHING, version)
    assert code is not None
    assert code.version == version


def test_a_cut_table_of_a_process_that_is_gone_is_unknown() -> None:
    raw = record(string("f"), string("f"), string("app.py"), b"\x00", table_length=9999)
    code = decode_code(raw, LAYOUT, NOTHING, MADE_BY)
    assert code is not None
    assert code.linetable is None


def absurd_length() -> Memory:
    process = memory("f", "f", "f", b"")
    head = bytearray(process.areas[NAME])
    head[LAYOUT.string_length : LAYOUT.string_length + 8] = (1 << 40).to_bytes(8, "little")
    process.areas[NAME] = bytes(head)
    return process


def without(address: int) -> Memory:
    process = memory("f", "f", "f", b"")
    del process.areas[address]
    return process


def replaced(address: int, data: bytes) -> Memory:
    process = memory("f", "f", "f", b"")
    process.areas[address] = data
    return process


@pytest.mark.parametrize(
    ("process", "print_"),
    [
        pytest.param(NOTHING, PRINT, id="the process is gone"),
        pytest.param(memory("f", "f", "f", b""), PRINT ^ 1, id="another object lies there now"),
        pytest.param(without(NAME), PRINT, id="the name's page is not there"),
        pytest.param(without(FILENAME), PRINT, id="the file name's page is not there"),
        pytest.param(absurd_length(), PRINT, id="an absurd length"),
        pytest.param(
            replaced(NAME, string_object("f", LAYOUT, compact=False)), PRINT, id="not compact"
        ),
        pytest.param(
            replaced(NAME, string_object("𝔘", LAYOUT)[:-1] + b"\xff"), PRINT, id="no character"
        ),
    ],
)
def test_without_names_there_is_no_code(process: Memory, print_: int) -> None:
    raw = record(UNREADABLE, string("f"), UNREADABLE, print_=print_)
    assert decode_code(raw, LAYOUT, process, MADE_BY) is None


wire_strings = st.builds(
    lambda length, kind, raw: CodeString(
        length=length, kind=kind, bytes=len(raw), data=(c_uint8 * CODE_STRING_MAX)(*raw)
    ),
    st.integers(0, 70),
    st.integers(0, 7),
    st.binary(max_size=CODE_STRING_MAX),
)


@given(st.data())
def test_records_of_any_bytes_never_raise(data: st.DataObject) -> None:
    strings = [data.draw(wire_strings) for _ in range(3)]
    table = data.draw(st.binary(max_size=16))
    raw = record(*strings, table, table_length=data.draw(st.integers(0, 1 << 63)), print_=PRINT)
    image = data.draw(st.binary(min_size=LAYOUT.code_size, max_size=LAYOUT.code_size))
    answers = st.sampled_from([None, image, code_object(LAYOUT)])

    def read(address: int, wanted: int) -> bytes | None:
        answer = data.draw(answers)
        return None if answer is None else answer.ljust(wanted, b"\xdc")[:wanted]

    decode_code(raw, LAYOUT, read, MADE_BY)


# --- the fingerprint --------------------------------------------------------------------------


@pytest.mark.parametrize("field", ["code_name", "code_qualname", "code_filename", "code_linetable",
                                   "code_first_line", "code_flags", "code_version"])  # fmt: skip
def test_the_fingerprint_sees_each_field(field: str) -> None:
    image = bytearray(code_object(LAYOUT))
    image[getattr(LAYOUT, field)] ^= 1
    assert fingerprint(bytes(image), LAYOUT, NOTHING) != PRINT


def _string_at(text: str, layout: Layout, rest: bytes = b"") -> bytes:
    return (string_object(text, layout) + rest).ljust(128, b"\0")


@pytest.mark.parametrize(
    ("one", "other"),
    [("f1", "f2"), ("f", "ff"), ("grün", "grau"), ("\U0001d518", "\U0001d519"), ("", "x")],
    ids=["last letter", "length", "latin", "astral", "empty"],
)
def test_without_a_version_the_names_tell_reused_memory_apart(one: str, other: str) -> None:
    layout = COMPILED[3, 11]
    assert layout.code_version is None
    prints = set()
    for qualname, filename in ((one, "a.py"), (other, "a.py"), (one, other)):
        names = {
            QUALNAME: _string_at(qualname, layout),
            FILENAME: _string_at(filename, layout),
        }
        prints.add(fingerprint(code_object(layout), layout, Memory(names)))
    assert len(prints) == 3


def test_what_lies_behind_a_name_does_not_count() -> None:
    layout = COMPILED[3, 11]
    prints = set()
    for rest in (b"", b"left over from before"):
        start = layout.string_ascii_data + len("C.f")
        image = bytearray(_string_at("C.f", layout))
        image[start : start + len(rest)] = rest
        names = {QUALNAME: bytes(image), FILENAME: _string_at("a.py", layout)}
        prints.add(fingerprint(code_object(layout), layout, Memory(names)))
    assert len(prints) == 1


ASK_THE_PROBE = """
#include <stdio.h>
#include <string.h>
#include "chain.bpf.h"
static char strings[2][STRING_WORDS * 8]; /* at 0x3000 and 0x4000 */
static long read_string_bytes(void *to, ms_u32 size, ms_u64 from)
{
	memcpy(to, strings[from == 0x4000], size);
	return 0;
}
int main(void)
{
	static struct ms_state s;

	bpf_probe_read_user = read_string_bytes;
	while (fread(s.code_bytes, sizeof(s.code_bytes), 1, stdin) &&
		fread(&s.process.layout, sizeof(s.process.layout), 1, stdin) &&
		fread(strings, sizeof(strings), 1, stdin))
		printf("%u\\n", fingerprint(&s));
	return 0;
}
"""


def test_the_fingerprint_is_the_probes(tmp_path: Path) -> None:
    compiler = shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        pytest.skip("neither gcc nor clang is here to compile the probe's formula")
    source, program = tmp_path / "ask.c", tmp_path / "ask"
    source.write_text(ASK_THE_PROBE)
    subprocess.run([compiler, "-w", f"-I{HEADER_DIR}", source, "-o", program], check=True)
    chance = random.Random(3)
    cases = []
    for layout in LAYOUTS.values():
        qualname = layout.code_name if layout.code_qualname is None else layout.code_qualname
        for number in range(100):
            image = bytearray(chance.randbytes(256))
            for at, address in ((qualname, QUALNAME), (layout.code_filename, FILENAME)):
                image[at : at + 8] = address.to_bytes(8, "little")
            if layout.code_version is not None and number % 2:
                image[layout.code_version : layout.code_version + 4] = bytes(4)
            alphabet = chance.choice(["ab", "aé", "aж", "a\U0001d518"])
            texts = ["".join(chance.choices(alphabet, k=chance.randint(0, 70))) for _ in range(2)]
            memory_ = [_string_at(text, layout, chance.randbytes(64))[:128] for text in texts]
            cases.append((layout, bytes(image), memory_))
    asked = b"".join(
        image + bytes(wire_layout(layout)) + b"".join(strings) for layout, image, strings in cases
    )
    answer = subprocess.run([program], input=asked, capture_output=True, check=True).stdout
    assert [int(line) for line in answer.split()] == [
        fingerprint(image, layout, Memory({QUALNAME: one, FILENAME: other}))
        for layout, image, (one, other) in cases
    ]


# --- real interpreters ------------------------------------------------------------------------

PROGRAM = """
import json, sys
def code(name, filename, lines):
    source = "def f():\\n" + " x = 1\\n" * lines
    made = {}
    exec(compile(source, filename, "exec"), made)
    code = made["f"].__code__.replace(co_name=name)
    if hasattr(code, "co_qualname"):
        return code.replace(co_qualname="outer.<locals>." + name)
    return code
kept = [code(*arguments) for arguments in
        [("f", "app.py", 3), ("gr\\xf6\\xdfe", "\\u0444.py", 3), ("\\U0001d518", "x" * 600, 4000),
         ("y" * 300, "\\udce9\\u0444.py", 1)]]
def table(c):
    return c.co_linetable if hasattr(c, "co_linetable") else c.co_lnotab
print(json.dumps([[id(c), c.co_name, getattr(c, "co_qualname", c.co_name), c.co_filename,
                   c.co_firstlineno, table(c).hex()] for c in kept]), flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize("build", SUPPORTED)
def test_objects_of_a_real_interpreter_are_read(build: Build) -> None:
    with build.running(PROGRAM) as child:
        process = TargetProcess.open(child.pid)
        found = find_interpreter(process, process.maps())
        assert isinstance(found, FoundInterpreter)
        for address, name, qualname, filename, first_line, table in json.loads(child.first_line):
            image = process.read(address, found.layout.code_size)
            assert image is not None
            print_ = fingerprint(image, found.layout, process.read)
            head = CodeRecord(
                pid=child.pid,
                family=child.pid,
                address=address,
                fingerprint=print_,
                first_line=first_line,
                linetable_length=len(table) // 2,
            )
            assert decode_code(bytes(head), found.layout, process.read, found.version) == Code(
                child.pid,
                CodeKey(address, print_),
                name,
                qualname,
                filename,
                first_line,
                bytes.fromhex(table),
                found.version,
            )
