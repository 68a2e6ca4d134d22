"""C++ (Itanium), Rust (legacy and v0), Swift and Cython names as their authors wrote them.

The demangler is the PyPI package `pydemumble`: LLVM's, in a 0.2 MB wheel without dependencies that
imports in 2-5 ms and takes 6 us a name. Compared with GNU c++filt over 20,000 C++ names of
libstdc++ and libLLVM and 20,576 Rust v0 names of rustc, it differs in spelling only (`>>` for
`> >`, `std::istream`, 'lambda', no crate hash), and leaves `_ZGT` (transaction clones) mangled.
Weighed against it: `__cxa_demangle` of the machine's libstdc++ through ctypes, or `cxxfilt`, which
wraps it (no Rust, and names would depend on where a capture is merged); `symbolic` (both, but a
19 MB wheel and 60 ms); `cpp_demangle`, `rust-demangler`, `itanium-demangler` (one language each,
and they fail on more names).
Without the package, names stay mangled. Swift's own demangler is in it as well: of `$s`, as its
names have begun since Swift 5, and of `$S` (4.2).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache

from mixstack.symbolize.cython import cython_name

# The demangler recurses with a name's nesting: this many characters fit any thread's stack.
_LONGEST = 1 << 14

_MANGLED = re.compile(r"_Z|_R[A-Z0-9]")
# Swift's begin with a module: by its length and name, or as an abbreviation of a known one. Its
# demangler takes more stack: this many characters fit 1 MB, of 200 patterns that nest.
_MANGLED_SWIFT = re.compile(r"_?\$[sS][0-9Ss]")
_LONGEST_SWIFT = 1 << 11
_SUFFIX = re.compile(r" (?:\((?=\.)|with unmangled suffix \")(\.[^()\"]*)[)\"]$")
_CLONE = re.compile(r"\.[A-Za-z_][A-Za-z0-9_]*(?:\.[0-9]+)*|\.[0-9]+")


@lru_cache(maxsize=1)
def _demangler() -> Callable[[str], str]:
    try:
        from pydemumble import demangle as of_library
    except ImportError:
        return str
    demangler: Callable[[str], str] = of_library
    return demangler


@lru_cache(maxsize=1 << 16)
def demangle(name: str) -> str:
    """The name as written in the source; what is not mangled, or wrongly so, stays as it is.

    A compiler's copy keeps its mark, as c++filt shows it: `f(int) [clone .cold]`. A symbol version
    stays behind the name: `f(int)@@LIB_1.0`.
    """
    if len(name) > _LONGEST:
        return name
    swift = len(name) <= _LONGEST_SWIFT and _MANGLED_SWIFT.match(name)
    if not swift and not _MANGLED.match(name):
        return cython_name(name) or name
    mangled, at, version = name.partition("@")
    try:
        readable = _demangler()(mangled)
    except (TypeError, UnicodeError):  # no UTF-8: then it was no compiler that mangled it
        return name
    if not readable or readable == mangled:
        return name
    suffix = _SUFFIX.search(readable)
    if suffix is not None and mangled.endswith(suffix[1]):
        clones = _CLONE.findall(suffix[1])
        readable = readable[: suffix.start()] + "".join(f" [clone {clone}]" for clone in clones)
    return readable + at + version


# A comparison or shift that is an operator's name, an arrow, or a bracket.
_BRACKET = re.compile(r"operator(?:<=>|<<=|>>=|<<|>>|<=|>=|->\*|->|<|>)|->|=>|[<>]")
_ARGUMENTS_OF = re.compile(r"[\w:\])}']$|operator\S{1,3} $")


def shorten(name: str) -> str:
    """A demangled name with the arguments of its templates left out: `std::vector<...>::size()`.

    A bracket that begins a name, as in Rust's `<T as Trait>::f`, is not a template's: it stays, and
    what is in it is shortened. What does not pair up stays as it is.
    """
    out: list[str] = []
    at = depth = 0
    kept = 0  # open brackets that stay
    for found in _BRACKET.finditer(name):
        sign = found[0]
        if sign == "<":
            if depth or _ARGUMENTS_OF.search(name, max(0, found.start() - 16), found.start()):
                if not depth:
                    out.append(name[at : found.end()])
                depth += 1
            else:
                kept += 1
        elif sign == ">":
            if depth:
                depth -= 1
                if not depth:
                    out.append("...")
                    at = found.start()
            elif kept:
                kept -= 1
            else:
                return name
    return name if depth or kept else "".join(out) + name[at:]
