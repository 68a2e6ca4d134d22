"""Unwind tables: the CFI of an ELF file, compiled into the rows that the probe searches.

`.eh_frame` → `compiled.frames` (FDEs, and what each says, as rows) → `cfi` (one table per file).
`rows` is the format; nothing here knows a process.
"""
