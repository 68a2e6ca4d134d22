"""Inputs that the tests make: ELF images from bytes, and shared objects from assembly."""

from __future__ import annotations

import shutil
import struct
import subprocess
from pathlib import Path

import pytest

CODE_AT = 0x1000
_NAMES = b"\0.eh_frame\0.note.gnu.build-id\0.shstrtab\0"


def elf_image(
    eh_frame: bytes | None,
    *,
    eh_frame_at: int = 0x8000,
    code_size: int = 0x1000,
    machine: int = 62,
    executable: bool = True,
    build_id: bytes | None = None,
) -> bytes:
    """A 64-bit ELF image: one segment of `code_size` bytes at CODE_AT, and that `.eh_frame`."""
    sections: list[tuple[int, int, int, bytes]] = []  # name, type, address, bytes
    if eh_frame is not None:
        sections.append((_NAMES.index(b".eh"), 1, eh_frame_at, eh_frame))
    if build_id is not None:
        note = struct.pack("<III", 4, len(build_id), 3) + b"GNU\0" + build_id
        sections.append((_NAMES.index(b".note"), 7, 0, note))
    sections.append((_NAMES.index(b".shstrtab"), 3, 0, _NAMES))
    at = 64 + 56
    body = b""
    headers = bytes(64)
    for name, kind, address, data in sections:
        headers += struct.pack(
            "<IIQQQQIIQQ", name, kind, 2, address, at + len(body), len(data), 0, 0, 1, 0
        )
        body += data
    segment = struct.pack(
        "<IIQQQQQQ", 1, 5 if executable else 4, 0, CODE_AT, CODE_AT, 64, code_size, 0x1000
    )
    count = len(sections) + 1
    head = b"\x7fELF\x02\x01\x01" + bytes(9)
    head += struct.pack(
        "<HHIQQQIHHHHHH", 3, machine, 1, 0, 64, at + len(body), 0, 64, 56, 1, 64, count, count - 1
    )
    return head + segment + body + headers


def cie(instructions: bytes = b"\x0c\x07\x08\x90\x01", augmentation: bytes = b"zR") -> bytes:
    """A CIE as compilers write it: CFA = rsp + 8, the return address at CFA - 8."""
    body = b"\x01" + augmentation + b"\0" + b"\x01\x78\x10"
    if augmentation.startswith(b"z"):
        body += b"\x01\x1b"
    return entry(struct.pack("<I", 0) + body + instructions)


def entry(body: bytes) -> bytes:
    body += bytes(-len(body) % 4)
    return struct.pack("<I", len(body)) + body


def fde(at: int, start: int, size: int, instructions: bytes, section_at: int = 0x8000) -> bytes:
    """An FDE at offset `at` of a section whose CIE is at offset 0."""
    relative = start - (section_at + at + 8)
    return entry(struct.pack("<IiI", at + 4, relative, size) + b"\0" + instructions)


def shared_object(folder: Path, assembly: str, *options: str) -> Path:
    """A shared object of the assembly; the test is skipped where there is no gcc."""
    if shutil.which("gcc") is None:
        pytest.skip("gcc is not installed")
    source, target = folder / "case.s", folder / "case.so"
    source.write_text(assembly)
    command = ["gcc", "-shared", "-nostdlib", "-Wl,--build-id", *options, "-o", str(target)]
    subprocess.run([*command, str(source)], check=True, capture_output=True, timeout=30)
    return target
