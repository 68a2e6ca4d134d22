"""Stacks as one line of words, outermost first, so that a table row can be read aloud.

native  `root@900 eval@800 leaf@700`: name@CFA; the last is the leaf, the others are callers.
        A suffix says how else the walk came there: `^fp`, `^signal`, `^resync` (then no pc).
python  `760:main,load 560:key`: marker:frames; `~name` is an incomplete frame, `?:` no marker.
        Where frames are counted, `main load key`: one frame in each segment.
joined  `root eval* main load leaf k:read`: `*` follows a frame that is shown as an evaluator,
        `k:` precedes a kernel frame, a mark is its text with dashes, and `@name` where it has a pc.
"""

from __future__ import annotations

from mixstack.model import (
    ChainEnd,
    CodeKey,
    Item,
    KernelItem,
    MarkItem,
    NativeEnd,
    NativeFrame,
    NativeItem,
    PythonFrame,
    PythonItem,
    RawStack,
    Segment,
    Step,
)

_STEPS = {"fp": Step.FRAME_POINTER, "signal": Step.SIGNAL, "resync": Step.RESYNC}


def address_of(name: str) -> int:
    """A number that stands for a name; from it, and from the one before, `name_of` gets it back.

    So a return address and the address to look up for it have one name.
    """
    return int.from_bytes(name.encode(), "big") << 1 | 1


def name_of(address: int) -> str:
    return (address >> 1).to_bytes((address.bit_length() + 6) // 8, "big").decode()


def raw_stack(
    native: str = "",
    python: str = "",
    *,
    sp: int | None = 8,
    kernel: str = "",
    native_end: NativeEnd = NativeEnd.ROOT,
    chain_end: ChainEnd = ChainEnd.ROOT,
    end_pc: str | None = None,
    torn: bool = False,
    counted: bool = False,
    marker_span: int | None = None,
) -> RawStack:
    words = native.split()
    return RawStack(
        kernel=tuple(address_of(name) for name in kernel.split()),
        native=tuple(_native(word, leaf=i == len(words) - 1) for i, word in enumerate(words)),
        native_end=native_end,
        segments=tuple(_segment("?:" + word if counted else word) for word in python.split()),
        chain_end=chain_end,
        stack_pointer=sp,
        torn=torn,
        end_pc=None if end_pc is None else address_of(end_pc),
        counted=counted,
        marker_span=marker_span,
    )


def _native(word: str, leaf: bool) -> NativeFrame:
    name, _, place = word.partition("@")
    cfa, _, how = place.partition("^")
    step = _STEPS[how] if how else Step.LEAF if leaf else Step.CALLER
    return NativeFrame(None if step is Step.RESYNC else address_of(name), int(cfa), step)


def _segment(word: str) -> Segment:
    marker, _, names = word.partition(":")
    frames = tuple(
        PythonFrame(CodeKey(address_of(name.lstrip("~")), 0), 0, incomplete=name.startswith("~"))
        for name in names.split(",")
        if name
    )
    return Segment(None if marker == "?" else int(marker), frames)


def words(items: tuple[Item, ...]) -> str:
    """The joined stack in the notation above; a re-synced frame has no name and is `?*`."""
    return " ".join(_word(item) for item in items)


def _word(item: Item) -> str:
    if isinstance(item, NativeItem):
        name = "?" if item.frame.pc is None else name_of(item.frame.pc)
        return name + "*" * item.evaluator
    if isinstance(item, PythonItem):
        return name_of(item.frame.code.address)
    if isinstance(item, KernelItem):
        return "k:" + name_of(item.address)
    assert isinstance(item, MarkItem)
    place = "" if item.pc is None else "@" + name_of(item.pc)
    return item.reason.value.replace(" ", "-") + place
