"""The values of a capture as lines of JSON, one object per value (docs/format.md lists the keys).

Text that is no Unicode (odd bytes of a path, as `surrogateescape` gives them) is kept by JSON's own
`\\udcXX` escapes, so every line is plain ASCII. Decoders raise `Malformed` and ignore unknown keys.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Iterator
from typing import TypeAlias, TypeVar

from mixstack.capture.layout import Malformed
from mixstack.model import (
    Code,
    CodeKey,
    Footer,
    Interpreter,
    KernelSymbol,
    Losses,
    Mapping,
    MappingSnapshot,
    Module,
    Process,
    Recording,
    SourceCall,
    SourceCalls,
    Symbol,
    ThreadName,
)

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"
_T = TypeVar("_T")


def encode_line(value: dict[str, Json]) -> bytes:
    """One value as one line, its newline included."""
    return json.dumps(value, separators=(",", ":")).encode("ascii") + b"\n"


def decode_lines(raw: bytes, decode: Callable[[Fields], _T]) -> Iterator[_T]:
    """The values of a block of lines. Raises Malformed for a line that is not what it should be."""
    for line in raw.splitlines():
        try:
            value = json.loads(line)
        except (ValueError, RecursionError) as e:
            raise Malformed(f"a line is not JSON: {e}") from e
        yield decode(Fields(value))


class Fields:
    """A JSON object whose fields are read by name and expected type; Malformed if they differ."""

    def __init__(self, value: object) -> None:
        if not isinstance(value, dict):
            raise Malformed("an object was expected")
        self._value: dict[str, object] = value

    def has(self, name: str) -> bool:
        """Whether the field is there and not null."""
        return self._value.get(name) is not None

    def integer(self, name: str) -> int:
        return _integer(self._value.get(name), name)

    def text(self, name: str) -> str:
        return _text(self._value.get(name), name)

    def optional_integer(self, name: str) -> int | None:
        return self.integer(name) if self.has(name) else None

    def optional_text(self, name: str) -> str | None:
        return self.text(name) if self.has(name) else None

    def texts(self, name: str) -> tuple[str, ...]:
        return tuple(_text(item, name) for item in self._list(name))

    def integers(self, name: str) -> tuple[int, ...]:
        return tuple(_integer(item, name) for item in self._list(name))

    def record(self, name: str) -> Fields:
        return Fields(self._value.get(name))

    def record_list(self, name: str) -> Iterator[Fields]:
        return map(Fields, self._list(name))

    def optional_binary(self, name: str) -> bytes | None:
        if not self.has(name):
            return None
        try:
            return base64.b64decode(self.text(name), validate=True)
        except (binascii.Error, ValueError) as e:
            raise Malformed(f"{name}: not base64") from e

    def _list(self, name: str) -> list[object]:
        value = self._value.get(name)
        if not isinstance(value, list):
            raise Malformed(f"{name}: a list was expected")
        return value


def _integer(value: object, name: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise Malformed(f"{name}: an integer was expected")
    return value


def _text(value: object, name: str) -> str:
    if not isinstance(value, str):
        raise Malformed(f"{name}: a string was expected")
    return value


def encode_recording(value: Recording) -> bytes:
    return encode_line(
        {
            "mixstack_version": value.mixstack_version,
            "command": list(value.command),
            "rate_hz": value.rate_hz,
            "event": value.event,
            "start_ns": value.start_ns,
            "start_unix_ns": value.start_unix_ns,
            "hostname": value.hostname,
            "kernel": value.kernel,
            "machine": value.machine,
            "cpus": value.cpus,
        }
    )


def decode_recording(fields: Fields) -> Recording:
    return Recording(
        mixstack_version=fields.text("mixstack_version"),
        command=fields.texts("command"),
        rate_hz=fields.integer("rate_hz"),
        event=fields.text("event"),
        start_ns=fields.integer("start_ns"),
        start_unix_ns=fields.integer("start_unix_ns"),
        hostname=fields.text("hostname"),
        kernel=fields.text("kernel"),
        machine=fields.text("machine"),
        cpus=fields.integer("cpus"),
    )


def encode_module(value: Module) -> bytes:
    return encode_line({"id": value.id, "path": value.path, "build_id": value.build_id})


def decode_module(fields: Fields) -> Module:
    return Module(
        id=fields.integer("id"),
        path=fields.text("path"),
        build_id=fields.optional_text("build_id"),
    )


def encode_process(value: Process) -> bytes:
    interpreter: Json = None
    if value.interpreter is not None:
        evaluator = value.interpreter.evaluator
        interpreter = {
            "version": list(value.interpreter.version),
            "module_id": value.interpreter.module_id,
            "evaluator": None if evaluator is None else list(evaluator),
        }
    return encode_line(
        {
            "pid": value.pid,
            "command": list(value.command),
            "interpreter": interpreter,
            "note": value.note,
            "family": value.family,
            "inner_pid": value.inner_pid,
        }
    )


def decode_process(fields: Fields) -> Process:
    return Process(
        pid=fields.integer("pid"),
        command=fields.texts("command"),
        interpreter=(
            _decode_interpreter(fields.record("interpreter")) if fields.has("interpreter") else None
        ),
        note=fields.optional_text("note"),
        family=fields.optional_integer("family"),
        inner_pid=fields.optional_integer("inner_pid"),
    )


def _decode_interpreter(fields: Fields) -> Interpreter:
    evaluator: tuple[int, int] | None = None
    try:
        if fields.has("evaluator"):
            start, end = fields.integers("evaluator")
            evaluator = start, end
    except ValueError as e:
        raise Malformed(f"an interpreter's evaluator: {e}") from e
    return Interpreter(_decode_version(fields), fields.integer("module_id"), evaluator)


def _decode_version(fields: Fields) -> tuple[int, int, int]:
    try:
        major, minor, micro = fields.integers("version")
    except ValueError as e:
        raise Malformed(f"an interpreter's version: {e}") from e
    return major, minor, micro


def encode_thread_name(value: ThreadName) -> bytes:
    return encode_line({"pid": value.pid, "tid": value.tid, "name": value.name})


def decode_thread_name(fields: Fields) -> ThreadName:
    return ThreadName(fields.integer("pid"), fields.integer("tid"), fields.optional_text("name"))


def encode_snapshot(value: MappingSnapshot) -> bytes:
    return encode_line(
        {
            "pid": value.pid,
            "time_ns": value.time_ns,
            "mappings": [
                {
                    "start": m.start,
                    "end": m.end,
                    "load_bias": m.load_bias,
                    "module_id": m.module_id,
                    "label": m.label,
                }
                for m in value.mappings
            ],
        }
    )


def decode_snapshot(fields: Fields) -> MappingSnapshot:
    return MappingSnapshot(
        pid=fields.integer("pid"),
        time_ns=fields.integer("time_ns"),
        mappings=tuple(
            Mapping(
                start=m.integer("start"),
                end=m.integer("end"),
                load_bias=m.integer("load_bias"),
                module_id=m.optional_integer("module_id"),
                label=m.optional_text("label"),
            )
            for m in fields.record_list("mappings")
        ),
    )


def encode_code(value: Code) -> bytes:
    table = value.linetable
    return encode_line(
        {
            "pid": value.pid,
            "address": value.key.address,
            "fingerprint": value.key.fingerprint,
            "name": value.name,
            "qualname": value.qualname,
            "filename": value.filename,
            "first_line": value.first_line,
            "linetable": None if table is None else base64.b64encode(table).decode("ascii"),
            "version": None if value.version is None else list(value.version),
        }
    )


def decode_code(fields: Fields) -> Code:
    return Code(
        pid=fields.integer("pid"),
        key=CodeKey(fields.integer("address"), fields.integer("fingerprint")),
        name=fields.text("name"),
        qualname=fields.text("qualname"),
        filename=fields.text("filename"),
        first_line=fields.integer("first_line"),
        linetable=fields.optional_binary("linetable"),
        version=_decode_version(fields) if fields.has("version") else None,
    )


def encode_symbol(value: Symbol) -> bytes:
    return encode_line(
        {
            "module_id": value.module_id,
            "start": value.start,
            "end": value.end,
            "name": value.name,
        }
    )


def decode_symbol(fields: Fields) -> Symbol:
    return Symbol(
        module_id=fields.integer("module_id"),
        start=fields.integer("start"),
        end=fields.integer("end"),
        name=fields.optional_text("name"),
    )


def encode_kernel_symbol(value: KernelSymbol) -> bytes:
    return encode_line(
        {"start": value.start, "end": value.end, "name": value.name, "module": value.module}
    )


def decode_kernel_symbol(fields: Fields) -> KernelSymbol:
    return KernelSymbol(
        start=fields.integer("start"),
        end=fields.integer("end"),
        name=fields.text("name"),
        module=fields.optional_text("module"),
    )


def encode_source_calls(value: SourceCalls) -> bytes:
    return encode_line(
        {
            "module_id": value.module_id,
            "vaddr": value.vaddr,
            "calls": [{"function": f, "file": p, "line": n} for f, p, n in value.calls],
        }
    )


def decode_source_calls(fields: Fields) -> SourceCalls:
    return SourceCalls(
        module_id=fields.integer("module_id"),
        vaddr=fields.integer("vaddr"),
        calls=tuple(
            SourceCall(
                call.optional_text("function"),
                call.optional_text("file"),
                call.optional_integer("line"),
            )
            for call in fields.record_list("calls")
        ),
    )


def encode_footer(value: Footer) -> bytes:
    return encode_line(
        {
            "end_ns": value.end_ns,
            "samples": value.samples,
            "losses": {
                "ring_full": value.losses.ring_full,
                "code_unreadable": value.losses.code_unreadable,
                "tables_missing": value.losses.tables_missing,
                "throttled": value.losses.throttled,
                "process_unknown": value.losses.process_unknown,
            },
            "reason": value.reason,
            "exit_status": value.exit_status,
            "table_bytes": value.table_bytes,
        }
    )


def decode_footer(fields: Fields) -> Footer:
    losses = fields.record("losses")
    return Footer(
        end_ns=fields.integer("end_ns"),
        samples=fields.integer("samples"),
        losses=Losses(
            ring_full=losses.integer("ring_full"),
            code_unreadable=losses.integer("code_unreadable"),
            tables_missing=losses.integer("tables_missing"),
            throttled=losses.optional_integer("throttled") or 0,
            process_unknown=losses.optional_integer("process_unknown") or 0,
        ),
        reason=fields.text("reason"),
        exit_status=fields.optional_integer("exit_status"),
        table_bytes=fields.integer("table_bytes") if fields.has("table_bytes") else None,
    )
