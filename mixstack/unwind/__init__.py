"""Unwind tables: the CFI of an ELF file, compiled into the rows that the probe searches.

`.eh_frame` → `entries` (CIE, FDE) → `instructions` (what each says, as rows) → `cfi` (one table per
file) → `cache` (the same from disk). `rows` is the format; nothing here knows a process.
"""
