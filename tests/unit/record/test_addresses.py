"""The addresses of sample records: collected as the decoder sees them, each looked up once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mixstack.capture.writer import CaptureWriter
from mixstack.jit.model import JitSource, JitSymbol
from mixstack.model import (
    ChainEnd,
    KernelSymbol,
    Module,
    NativeEnd,
    NativeFrame,
    RawStack,
    Sample,
    Step,
    Symbol,
)
from mixstack.record import addresses
from mixstack.record.addresses import AddressBook
from mixstack.record.follow import Follower
from mixstack.record.modules import LoadedModule
from tests import strategies
from tests.encode import encode_sample
from tests.unit.symbolize.images import Sym, elf

BASE = 0x7F00_0000_0000
IMAGE = elf([Sym("f", 0x1100, 0x40), Sym("g", 0x1140, 0x20)])
F, G = Symbol(3, 0x1100, 0x1140, "f"), Symbol(3, 0x1140, 0x1160, "g")
JIT = JitSymbol(1, JitSource.MAP, 0, 0x1000, 0x2000, "fib", 0, 1)
KERNEL = 0xFFFF_FFFF_8100_0000


@dataclass
class Written:
    """What would stand in the capture."""

    symbols: list[Symbol] = field(default_factory=list)
    kernel: list[KernelSymbol] = field(default_factory=list)
    jit: list[JitSymbol] = field(default_factory=list)

    def add_symbols(self, symbols: Iterable[Symbol]) -> None:
        self.symbols.extend(symbols)

    def add_jit_symbols(self, symbols: Iterable[JitSymbol]) -> None:
        self.jit.extend(symbols)

    def add_kernel_symbols(self, symbols: Iterable[KernelSymbol]) -> None:
        self.kernel.extend(symbols)


@dataclass
class Mapped:
    """One module at BASE; notes what is asked."""

    asked: list[int] = field(default_factory=list)
    homeless: list[tuple[list[int], bool]] = field(default_factory=list)
    process: SimpleNamespace = field(default_factory=lambda: SimpleNamespace(pid=2))

    @property
    def jit(self) -> Mapped:
        return self

    def new_symbols(self, addresses: Iterable[int], *, last: bool) -> list[JitSymbol]:
        self.homeless.append((sorted(addresses), last))
        return [JIT]

    def module_at(self, address: int) -> tuple[LoadedModule, int] | None:
        self.asked.append(address)
        if not BASE <= address < BASE + 0x3000:
            return None
        return LoadedModule(Module(3, "[vdso]", None), (), None, None, IMAGE), address - BASE


class Case:
    def __init__(self) -> None:
        self.written, self.mapped = Written(), Mapped()
        self.book = AddressBook(cast(CaptureWriter, self.written))
        self.pids: set[int] = set()

    def collect(self, *samples: Sample) -> None:
        self.pids.update(s.pid for s in samples)
        self.book.collect(b"".join(map(encode_sample, samples)))

    def write(self) -> None:
        for pid in sorted(self.pids):
            self.mapped.process = SimpleNamespace(pid=pid)
            self.book.write_process(cast(Follower, self.mapped))
        self.book.write_kernel()
        self.book.write_found(wait=True)


@pytest.fixture
def case(monkeypatch: pytest.MonkeyPatch) -> Iterator[Case]:
    monkeypatch.setattr(addresses, "kernel_symbols", _kernel_symbols)
    made = Case()
    yield made
    made.book.close()


def _kernel_symbols(found: Iterable[int]) -> list[KernelSymbol]:
    """A function every 4 KiB."""
    starts = {address & -4096 for address in found}
    return [KernelSymbol(start, start + 4096, f"k{start:x}", None) for start in starts]


def sample(*native: tuple[int, Step], kernel: tuple[int, ...] = ()) -> Sample:
    frames = tuple(NativeFrame(pc, 0x1000, step) for pc, step in native)
    stack = RawStack(kernel, frames, NativeEnd.ROOT, (), ChainEnd.ROOT, None, False, None)
    return Sample(1, 2, 3, 0, "t", stack)


@pytest.mark.parametrize(
    ("pc", "step", "found"),
    [
        pytest.param(0x1140, Step.LEAF, [G], id="the instruction that runs"),
        pytest.param(0x1140, Step.SIGNAL, [G], id="the instruction that was interrupted"),
        pytest.param(0x1140, Step.CALLER, [F], id="a call at the very end of a function"),
        pytest.param(0x1140, Step.FRAME_POINTER, [F], id="the same by frame pointer"),
        pytest.param(0x1160, Step.LEAF, [], id="no function"),
        pytest.param(-0x1000, Step.LEAF, [], id="no module"),
    ],
)
def test_which_function_an_address_is_in(
    case: Case, pc: int, step: Step, found: list[Symbol]
) -> None:
    case.collect(sample((BASE + pc, step)))
    case.write()
    assert case.written.symbols == found


def test_each_symbol_is_written_once(case: Case) -> None:
    case.collect(sample((BASE + 0x1150, Step.CALLER), (BASE + 0x1104, Step.LEAF)))
    case.collect(sample((BASE + 0x1108, Step.LEAF)))
    case.write()
    assert case.written.symbols == [F, G]
    case.collect(sample((BASE + 0x1104, Step.LEAF)), sample((BASE + 0x110C, Step.LEAF)))
    case.write()
    case.write()
    assert case.written.symbols == [F, G]
    assert len(case.mapped.asked) == 4  # 0x1104 was known


def test_a_kernel_without_names_is_noticed(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(addresses, "kernel_symbols", lambda found: [])
    case.collect(sample((BASE + 0x1140, Step.LEAF)))
    case.write()
    assert not case.book.kernel_unnamed, "the kernel was not seen"
    case.collect(sample(kernel=(KERNEL,)))
    case.write()
    assert case.book.kernel_unnamed
    monkeypatch.setattr(addresses, "kernel_symbols", _kernel_symbols)
    case.collect(sample(kernel=(KERNEL + 0x10,)))
    case.write()
    assert not case.book.kernel_unnamed


def test_kernel_functions_are_written_once_and_sorted(case: Case) -> None:
    case.collect(sample(kernel=(KERNEL + 0x2010, KERNEL + 0x10)))
    case.collect(sample(kernel=(KERNEL + 0x20,)))
    case.write()
    assert [s.start for s in case.written.kernel] == [KERNEL, KERNEL + 0x2000]
    case.collect(sample(kernel=(KERNEL + 0x30, KERNEL + 0x1000)))
    case.write()
    assert [s.start - KERNEL for s in case.written.kernel] == [0, 0x2000, 0x1000]


def test_what_is_in_no_module_is_asked_of_the_jit_each_time(case: Case) -> None:
    case.collect(sample((0x1140, Step.LEAF), (0x1140, Step.CALLER), (BASE + 0x1104, Step.LEAF)))
    case.write()
    case.write()
    assert case.mapped.homeless == [([0x113F, 0x1140], False)] * 2
    assert case.written.jit == [JIT, JIT]


def test_of_a_process_that_was_forgotten_all_is_new(case: Case) -> None:
    case.collect(sample((BASE + 0x1104, Step.LEAF)))
    case.write()
    case.book.forget(2)
    case.collect(sample((BASE + 0x1104, Step.LEAF)))
    case.write()
    assert case.mapped.asked == [BASE + 0x1104] * 2
    assert case.written.symbols == [F]


def test_nothing_collected_writes_nothing(case: Case) -> None:
    case.collect()
    case.write()
    assert (case.written.symbols, case.written.kernel, case.mapped.asked) == ([], [], [])


@given(st.lists(strategies.samples, max_size=6))
def test_all_addresses_of_all_records_and_no_other(samples: list[Sample]) -> None:
    asked_of_kernel: list[int] = []

    def note(found: Iterable[int]) -> list[KernelSymbol]:
        asked_of_kernel.extend(found)
        return []

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(addresses, "kernel_symbols", note)
        case = Case()
        case.collect(*samples)
        case.write()
        case.book.close()
    stacks = [s.stack for s in samples]
    assert set(case.mapped.asked) == {
        0 if frame.lookup_pc is None else frame.lookup_pc for s in stacks for frame in s.native
    }
    assert sorted(asked_of_kernel) == sorted({address for s in stacks for address in s.kernel})
