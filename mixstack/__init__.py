"""mixstack: an eBPF mixed-stack profiler for CPython on Linux."""

__version__ = "0.1.0"
