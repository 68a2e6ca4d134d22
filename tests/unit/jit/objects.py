"""ELF objects as JIT compilers register them, and the list that they register them in."""

from __future__ import annotations

import struct
from collections.abc import Sequence

DESCRIPTOR = 0x500
LIST = 0x10_000
STT_OBJECT, STT_FUNC = 1, 2


def relocatable(
    functions: Sequence[tuple[bytes, int, int]],
    text: int,
    eh_frame: bytes = b"",
    eh_frame_at: int = 0,
    *,
    relocated: bool = False,
    kind: int = STT_FUNC,
) -> bytes:
    """An ET_REL object whose .text is at `text`; functions: (name, offset, size)."""
    names = b"\0" + b"".join(name + b"\0" for name, _, _ in functions)
    symbols = bytes(24)
    at = 1
    for name, offset, size in functions:
        symbols += struct.pack("<IBBHQQ", at, kind, 0, 1, offset, size)
        at += len(name) + 1
    titles = [b"", b".text", b".symtab", b".strtab", b".shstrtab", b".eh_frame", b".rela.eh_frame"]
    if relocated:
        titles.pop()
    title_text = b"\0".join(titles) + b"\0"
    contents = [b"", b"", symbols, names, title_text, eh_frame, b""]
    body, headers = b"", b""
    for index, title in enumerate(titles):
        address = {1: text, 5: eh_frame_at}.get(index, 0)
        headers += struct.pack(
            "<IIQQQQIIQQ",
            title_text.find(b"\0" + title + b"\0") + 1 if title else 0,
            2 if index == 2 else 1,
            0,
            address,
            64 + len(body),
            len(contents[index]),
            3 if index == 2 else 0,
            0,
            1,
            24 if index == 2 else 0,
        )
        body += contents[index]
    head = b"\x7fELF\x02\x01\x01" + bytes(9)
    head += struct.pack(
        "<HHIQQQIHHHHHH", 1, 62, 1, 0, 0, 64 + len(body), 0, 64, 0, 0, 64, len(titles), 4
    )
    return head + body + headers


class Memory:
    """A process' memory: pieces at addresses, and the list of objects."""

    def __init__(self) -> None:
        self.pieces: dict[int, bytes] = {}
        self._changes = 0
        self.register({})

    def register(self, objects: dict[int, bytes]) -> None:
        """Exactly these objects, by address, are registered now; the first was the last."""
        self._changes += 1
        entries = [LIST + 32 * (at % 997) for at in objects]
        links = [0, *entries, 0]
        for index, (at, image) in enumerate(objects.items()):
            after, before = links[index + 2], links[index]
            self.pieces[entries[index]] = struct.pack("<QQQQ", after, before, at, len(image))
            self.pieces[at] = image
        self.pieces[DESCRIPTOR] = struct.pack("<IIQQ", 1, self._changes % 3, 0, links[1])

    def read(self, address: int, size: int) -> bytes | None:
        for start, data in self.pieces.items():
            if start <= address and address + size <= start + len(data):
                return data[address - start : address - start + size]
        return None
