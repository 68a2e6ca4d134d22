"""Source lines and inlined calls of what was sampled, looked up once sampling has stopped."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from mixstack.capture.writer import CaptureWriter
from mixstack.model import Module, SourceCalls
from mixstack.record.modules import LoadedModule

MOST_S: Final = 30.0  # whoever waits for a recording to end waits no longer than this for lines


class SourceBook:
    """Collects the native addresses of a recording, by module. `modules`: how many have any."""

    def __init__(self) -> None:
        self._vaddrs: dict[int, set[int]] = {}
        self._files: dict[int, tuple[Module, str, tuple[str, ...]]] = {}  # its path now, its roots

    def note(self, loaded: LoadedModule, vaddrs: set[int], roots: tuple[str, ...]) -> None:
        """Addresses of a module (the file's own), and the roots in which its debug file may lie."""
        module = loaded.module
        if loaded.path is None:  # the vDSO has no debug information
            return
        self._vaddrs.setdefault(module.id, set()).update(vaddrs)
        self._files.setdefault(module.id, (module, loaded.path, roots))

    def write(
        self,
        writer: CaptureWriter,
        go_on: Callable[[int, int], bool],
        note: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Look all of them up and write what is known.

        go_on: hears how many of how many are done, and says whether to look up more. After
        `MOST_S` it ends by itself. note: hears, in a sentence, of what could not be read.
        """
        # Reads DWARF: much code, of which sampling has no need.
        from mixstack.symbolize.native import NativeFile, SourceLines

        lines = SourceLines(note)
        total = sum(map(len, self._vaddrs.values()))
        end = clock() + MOST_S
        done = 0
        # Small modules first: where time is short, few of them then lack their lines.
        for module_id in sorted(self._vaddrs, key=lambda of: (len(self._vaddrs[of]), of)):
            module, open_path, roots = self._files[module_id]
            file = NativeFile(module.path, open_path, module.build_id, roots)
            for vaddr in sorted(self._vaddrs[module_id]):
                if not go_on(done, total):
                    return
                if clock() > end:
                    note(
                        f"after {MOST_S:g} s of reading debug information, {total - done} of "
                        f"{total} native addresses are left without source lines; "
                        "mixstack merge --resymbolize looks them up"
                    )
                    return
                calls = lines.calls_at(file, vaddr)
                done += 1
                if calls:
                    writer.add_source_calls([SourceCalls(module_id, vaddr, calls)])
