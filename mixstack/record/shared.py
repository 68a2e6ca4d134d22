"""What the followers of one recording have in common, and whom they tell."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from mixstack.bpf.probe import Probe
from mixstack.model import MappingSnapshot, Process, ThreadName
from mixstack.record.describe import Describer
from mixstack.record.file_queue import Reader
from mixstack.record.mapping_space import MappingSpace
from mixstack.record.modules import ModuleRegistry


@dataclass(frozen=True, slots=True)
class Listener:
    """Who is told of what was found: usually the capture's writer."""

    process: Callable[[Process], None]
    mappings: Callable[[MappingSnapshot], None]
    note: Callable[[int, str], None]  # the process that it is about
    thread_name: Callable[[ThreadName], None]
    no_room: Callable[[int], None]  # for the mappings of that process, in the probe


@dataclass(frozen=True, slots=True)
class Shared:
    """What the followers of one recording have in common.

    slots: where the probe keeps what it learns of an evaluator, by the module that holds it.
    jit_descriptors: by module, where it keeps its list of JIT code, if it does; its own address.
    reader: reads files while samples are taken out of the ring; None: they are read at once.
    """

    probe: Probe
    registry: ModuleRegistry
    describer: Describer
    mapping_space: MappingSpace
    listener: Listener
    slots: dict[int, int] = field(default_factory=dict)
    jit_descriptors: dict[int, int | None] = field(default_factory=dict)
    reader: Reader | None = None
