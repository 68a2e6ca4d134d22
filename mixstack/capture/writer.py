"""`CaptureWriter`: appends whole blocks, so that the file is readable after kill -9."""

from __future__ import annotations

import contextlib
import errno
import os
import zlib
from collections.abc import Callable, Iterable
from typing import TypeVar

import zstandard

from mixstack.capture import records
from mixstack.capture.jit_records import encode_jit_symbol
from mixstack.capture.layout import (
    BlockHead,
    BlockType,
    Malformed,
    pack_block_head,
    pack_file_head,
)
from mixstack.capture.place import Place
from mixstack.capture.samples import record_size
from mixstack.errors import OutputError, ReaderGone
from mixstack.jit.model import JitSymbol
from mixstack.model import (
    Code,
    Footer,
    KernelSymbol,
    MappingSnapshot,
    Module,
    Process,
    Recording,
    SourceCalls,
    Symbol,
    ThreadName,
)

_T = TypeVar("_T")

_CUT_AT = 1 << 20
"""A block is closed when it holds this many bytes: a reader opens a few of them at a time."""
_LEVEL = 3
_SAMPLES_LAST = sorted(BlockType, key=lambda kind: kind is BlockType.SAMPLES)


class CaptureWriter:
    """A capture that grows. Values are buffered until `flush`, samples until about 1 MB as well.

    Every method that writes may raise OutputError; the file then ends with its last whole block,
    and the writer takes nothing more: `abandon` it.
    """

    def __init__(self, path: str, recording: Recording) -> None:
        """Create `path`, or write to standard output for "-": see Place. Raises OutputError."""
        self._buffers = {kind: bytearray() for kind in BlockType}
        self._compressor = zstandard.ZstdCompressor(level=_LEVEL)
        self._sequence = 0
        self._size = 0
        self._has_samples = False
        self._failure: OutputError | None = None
        self._open = True
        self._place = Place(path)
        try:
            head = pack_file_head()
            self._append(
                head + self._block(BlockType.RECORDING, records.encode_recording(recording))
            )
        except OutputError:
            self.abandon()
            raise

    @property
    def size(self) -> int:
        """The bytes in the file so far."""
        return self._size

    def add_samples(self, data: bytes | bytearray | memoryview) -> None:
        """Whole sample records (`struct ms_sample` and its arrays), back to back, as they came."""
        buffer = self._buffers[BlockType.SAMPLES]
        view = memoryview(data).cast("B")
        if len(view) <= _CUT_AT:
            buffer += view
        else:
            self._add_large(view)
        if len(buffer) >= _CUT_AT:
            self._write_buffer(BlockType.SAMPLES)

    def _add_large(self, data: memoryview) -> None:
        start = at = 0
        while at < len(data):
            try:
                at += record_size(data, at)
            except Malformed:
                # Kept as it is: the reader says what is wrong with it.
                at = len(data)
            if at - start >= _CUT_AT or at == len(data):
                self._buffers[BlockType.SAMPLES] += data[start:at]
                self._write_buffer(BlockType.SAMPLES)
                start = at

    def add_modules(self, modules: Iterable[Module]) -> None:
        self._add(BlockType.MODULES, modules, records.encode_module)

    def add_processes(self, processes: Iterable[Process]) -> None:
        self._add(BlockType.PROCESSES, processes, records.encode_process)

    def add_thread_name(self, name: ThreadName) -> None:
        self._add(BlockType.THREAD_NAMES, (name,), records.encode_thread_name)

    def add_mappings(self, snapshot: MappingSnapshot) -> None:
        self._add(BlockType.MAPPINGS, (snapshot,), records.encode_snapshot)

    def add_codes(self, codes: Iterable[Code]) -> None:
        self._add(BlockType.CODES, codes, records.encode_code)

    def add_symbols(self, symbols: Iterable[Symbol]) -> None:
        self._add(BlockType.SYMBOLS, symbols, records.encode_symbol)

    def add_kernel_symbols(self, symbols: Iterable[KernelSymbol]) -> None:
        self._add(BlockType.KERNEL_SYMBOLS, symbols, records.encode_kernel_symbol)

    def add_jit_symbols(self, symbols: Iterable[JitSymbol]) -> None:
        self._add(BlockType.JIT_SYMBOLS, symbols, encode_jit_symbol)

    def add_source_calls(self, calls: Iterable[SourceCalls]) -> None:
        self._add(BlockType.SOURCE_CALLS, calls, records.encode_source_calls)

    def flush(self) -> None:
        """Write everything that is buffered, as whole blocks, samples last."""
        for kind in _SAMPLES_LAST:
            self._write_buffer(kind)

    def close(self, footer: Footer) -> None:
        """Flush, write the footer and close the file: the end of a complete recording."""
        self.flush()
        self._append(self._block(BlockType.FOOTER, records.encode_footer(footer)))
        self._open = False
        try:
            self._place.close()
        except OSError as e:
            raise OutputError(f"cannot finish {self._place}: {e.strerror}") from e

    def abandon(self) -> None:
        """Close the file without a footer; what was written stays. May be called at any time.

        A file without a single sample is removed, and the one that it replaced gets its name back.
        """
        if not self._open:
            return
        self._open = False
        if not self._has_samples:
            self._place.withdraw()
            return
        with contextlib.suppress(OSError):  # whoever abandons has an error to report already
            self._place.close()

    def _add(self, kind: BlockType, values: Iterable[_T], encode: Callable[[_T], bytes]) -> None:
        buffer = self._buffers[kind]
        for value in values:
            buffer += encode(value)
            if len(buffer) >= _CUT_AT:
                self._write_buffer(kind)

    def _write_buffer(self, kind: BlockType) -> None:
        buffer = self._buffers[kind]
        if buffer:
            self._append(self._block(kind, buffer))
            buffer.clear()
            self._has_samples |= kind is BlockType.SAMPLES

    def _block(self, kind: BlockType, raw: bytes | bytearray) -> bytes:
        stored = self._compressor.compress(raw)
        head = BlockHead(kind, self._sequence, len(stored), len(raw), zlib.crc32(stored))
        self._sequence += 1
        return pack_block_head(head) + stored

    def _append(self, block: bytes) -> None:
        if self._failure is not None:
            raise self._failure
        rest = memoryview(block)
        try:
            while rest:
                rest = rest[os.write(self._place.fd, rest) :]
        except OSError as e:
            # Where even this fails, a reader finds the cut block by its length.
            with contextlib.suppress(OSError):
                self._place.truncate(self._size)
            self._failure = self._explain(e)
            raise self._failure from e
        self._size += len(block)

    def _explain(self, error: OSError) -> OutputError:
        if error.errno == errno.EPIPE:
            return ReaderGone(f"the reader of the recording went away after {self._size} bytes")
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            what = f"no space left for {self._place}"
        elif error.errno == errno.EFBIG:
            what = f"{self._place} may not grow any further (a limit on the size of files)"
        else:
            what = f"cannot write {self._place}: {error.strerror}"
        if self._has_samples:
            return OutputError(
                f"{what}; the first {self._size} bytes were kept, up to the last second",
                f"what was recorded so far is there: mixstack merge {self._place}",
            )
        return OutputError(f"{what}; nothing was recorded")
