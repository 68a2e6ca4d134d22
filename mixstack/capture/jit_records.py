"""What JIT compilers said of their code, as lines of a capture."""

from __future__ import annotations

from mixstack.capture.layout import Malformed
from mixstack.capture.records import Fields, encode_line
from mixstack.jit.model import JitLine, JitSource, JitSymbol


def encode_jit_symbol(value: JitSymbol) -> bytes:
    """One line; docs/format.md describes the fields."""
    return encode_line(
        {
            "pid": value.pid,
            "source": value.source.value,
            "order": value.order,
            "start": value.start,
            "end": value.end,
            "name": value.name,
            "after_ns": value.after_ns,
            "by_ns": value.by_ns,
            "lines": [{"address": at, "line": line, "file": f} for at, line, f in value.lines],
        }
    )


def decode_jit_symbol(fields: Fields) -> JitSymbol:
    """The value of a line. Raises Malformed."""
    try:
        source = JitSource(fields.text("source"))
    except ValueError as e:
        raise Malformed(f"a JIT compiler's symbol: {e}") from e
    return JitSymbol(
        pid=fields.integer("pid"),
        source=source,
        order=fields.integer("order"),
        start=fields.integer("start"),
        end=fields.integer("end"),
        name=fields.optional_text("name"),
        after_ns=fields.integer("after_ns"),
        by_ns=fields.integer("by_ns"),
        lines=tuple(
            JitLine(line.integer("address"), line.integer("line"), line.text("file"))
            for line in fields.record_list("lines")
        ),
    )
