"""Every failure that a user can act on: one class, one exit code, one hint.

MixstackError
├── UsageProblem              2   an option or argument that cannot be
├── TargetError
│   ├── NoSuchProcess         3
│   ├── NotPermitted          4   the process belongs to someone else
│   ├── CommandNotFound     127   `record -- CMD`: as a shell says it
│   └── CommandNotRunnable  126
├── MachineError
│   ├── MissingPrivilege     10   a capability or sysctl, by name
│   ├── NoKernelTypes        11   no BTF
│   ├── NoLibbpf             12
│   ├── NoProbe              13   the package was built without clang
│   ├── ProbeRejected        14   the kernel refused the probe
│   ├── NoHardwareClock      15   -e cycles on a machine without a PMU
│   └── NoBcc                16   --loader bcc
├── OutputError              20   the file could not be written
│   └── ReaderGone          141   `record -o -`: as a shell says it of SIGPIPE
└── CaptureError
    ├── NoCapture            30   no such file, or it cannot be read
    ├── EmptyCapture         31
    ├── NotACapture          32
    ├── NewerCapture         33
    └── DamagedCapture       34   nothing in it could be read

An error is raised where it is known and shown once, by `cli`: "mixstack: <message>" and
"hint: <hint>".
"""

from __future__ import annotations

from typing import ClassVar


class MixstackError(Exception):
    """The root of all failures that a user can act on.

    `message` says what happened in one sentence; `hint` says what to do next.
    """

    exit_code: ClassVar[int] = 1
    default_hint: ClassVar[str] = ""

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint if hint is not None else self.default_hint


class UsageProblem(MixstackError):
    exit_code = 2
    default_hint = "see: mixstack --help"


class TargetError(MixstackError):
    """Something about the process to record."""


class NoSuchProcess(TargetError):
    exit_code = 3
    default_hint = "list the Python processes of this machine with: pgrep -a python"


class NotPermitted(TargetError):
    exit_code = 4
    default_hint = "run as root, or as the user who owns the process with CAP_SYS_PTRACE"


class CommandNotFound(TargetError):
    exit_code = 127
    default_hint = "is it spelled right, and in $PATH? usage: mixstack record -- python app.py"


class CommandNotRunnable(TargetError):
    exit_code = 126
    default_hint = "make it executable, or name its interpreter: mixstack record -- python app.py"


class MachineError(MixstackError):
    """Something that this machine or user lacks."""


class MissingPrivilege(MachineError):
    exit_code = 10
    default_hint = "run as root: sudo mixstack record ..."


class NoKernelTypes(MachineError):
    exit_code = 11
    default_hint = (
        "use a kernel built with CONFIG_DEBUG_INFO_BTF=y, as every current distribution's is; "
        "or install bcc and its headers: apt-get install python3-bpfcc linux-headers-$(uname -r)"
    )


class NoLibbpf(MachineError):
    exit_code = 12
    default_hint = "install it: apt-get install libbpf1   (Fedora: dnf install libbpf)"


class NoProbe(MachineError):
    exit_code = 13
    default_hint = (
        "install clang, then mixstack once more: "
        "apt-get install clang && pip install --force-reinstall mixstack"
    )


class ProbeRejected(MachineError):
    exit_code = 14
    default_hint = "please report this with the output of: uname -r"


class NoHardwareClock(MachineError):
    exit_code = 15
    default_hint = "leave -e out, or sample by the kernel's timers: -e cpu-clock"


class NoBcc(MachineError):
    exit_code = 16
    default_hint = "install it: apt-get install python3-bpfcc   (Fedora: dnf install python3-bcc)"


class OutputError(MixstackError):
    """The output could not be written: a folder, a full disk, no permission."""

    exit_code = 20
    default_hint = "choose another place with: -o FILE"


class ReaderGone(OutputError):
    exit_code = 141
    default_hint = "what it read is a recording up to there; -o FILE keeps all of it"


class CaptureError(MixstackError):
    """Something about a capture file that was to be read."""


class NoCapture(CaptureError):
    exit_code = 30
    default_hint = "record one first: mixstack record -p PID"


class EmptyCapture(CaptureError):
    exit_code = 31
    default_hint = "the recording ended before its first block was written; record again"


class NotACapture(CaptureError):
    exit_code = 32
    default_hint = "merge and info read the file that mixstack record wrote (out.data by default)"


class NewerCapture(CaptureError):
    exit_code = 33
    default_hint = "upgrade mixstack on this machine: pip install --upgrade mixstack"


class DamagedCapture(CaptureError):
    exit_code = 34
    default_hint = "copy it again from where it was recorded, or record again"
