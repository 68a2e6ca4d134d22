"""Cython's names: read where there is one way to read them. The rows are of Cython 3.3's nm."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mixstack.symbolize.cython import cython_name
from mixstack.symbolize.demangle import demangle

ROWS = [
    ("cdef function", "__pyx_f_3mod_helper", "mod.helper"),
    ("cpdef method", "__pyx_f_3mod_3Ext_total", "mod.Ext.total"),
    ("module in a package", "__pyx_f_3pkg_3mod_helper", "pkg.mod.helper"),
    ("function", "__pyx_pw_3mod_1fib_sum", "mod.fib_sum"),
    ("its body", "__pyx_pf_3mod_fib_sum", "mod.fib_sum"),
    ("its body, with a number", "__pyx_pf_3mod_2fib_sum", "mod.fib_sum"),
    ("a compiler's copy", "__pyx_pw_3mod_1work.constprop.0", "mod.work [clone .constprop.0]"),
    ("a method, or a function with that name", "__pyx_pw_3mod_5Thing_1method", None),
    ("no scope", "__pyx_f_helper", None),
    ("a length that is not true", "__pyx_f_4mod_helper", None),
    ("a length beyond the end", "__pyx_f_9mod_helper", None),
    ("no function", "__pyx_f_3mod_", None),
    ("other things of Cython", "__pyx_tp_dealloc_3mod_Ext", None),
    ("Cython's own helpers", "__Pyx_PyObject_Call", None),
]


@pytest.mark.parametrize(("name", "expected"), [r[1:] for r in ROWS], ids=[r[0] for r in ROWS])
def test_row(name: str, expected: str | None) -> None:
    assert cython_name(name) == expected
    assert demangle(name) == (expected or name)


names = st.from_regex(r"[a-zA-Z_][a-zA-Z0-9_]{0,12}", fullmatch=True)


@given(st.lists(names, min_size=1, max_size=4), names)
def test_what_cython_writes_is_read_back(scopes: list[str], function: str) -> None:
    path = "".join(f"{len(scope)}{scope}_" for scope in scopes)
    assert cython_name(f"__pyx_f_{path}{function}") == ".".join((*scopes, function))
    assert cython_name(f"__pyx_pw_{path}1{function}") in (".".join((*scopes, function)), None)


@given(st.text("_1239abpyx.", max_size=30))
def test_anything(rest: str) -> None:
    cython_name("__pyx_pw_" + rest)
