"""Demangling against c++filt; what a row shows is the spelling that users see."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mixstack.elf import open_elf
from mixstack.symbolize import demangle as module
from mixstack.symbolize.demangle import demangle, shorten
from tests.unit.symbolize.test_elf_symbols import nm_functions, system_library

ROWS = [
    ("C", "memcpy", "memcpy"),
    ("C, compiler's copy", "gen_send_ex.isra.0", "gen_send_ex.isra.0"),
    ("C, version", "pthread_create@@GLIBC_2.34", "pthread_create@@GLIBC_2.34"),
    ("C, begins like Rust", "_Reset_things", "_Reset_things"),
    ("C, begins like Rust v0", "_R2D2", "_R2D2"),
    ("empty", "", ""),
    ("prefix alone", "_Z", "_Z"),
    ("begins like C++", "_Zebra", "_Zebra"),
    ("C++ function", "_Z3fooi", "foo(int)"),
    ("C++ method", "_ZNKSt6vectorIiSaIiEE4sizeEv",
     "std::vector<int, std::allocator<int>>::size() const"),
    ("C++ operator", "_ZN1AplERKS_", "A::operator+(A const&)"),
    ("C++ cold part", "_Z3foov.cold", "foo() [clone .cold]"),
    ("C++ two copies", "_Z3foov.constprop.0.cold", "foo() [clone .constprop.0] [clone .cold]"),
    ("C++ isra, part", "_Z3foov.isra.0.part.1", "foo() [clone .isra.0] [clone .part.1]"),
    ("C++ link time", "_Z3foov.lto_priv.0", "foo() [clone .lto_priv.0]"),
    ("C++ cut", "_ZN3foo", "_ZN3foo"),
    ("C++ version", "_Z3fooi@@LIB_1.0", "foo(int)@@LIB_1.0"),
    ("Rust legacy", "_ZN1l4each17h2e00af8594a944a5E", "l::each"),
    ("Rust legacy, escapes",
     "_ZN47_$LT$i32$u20$as$u20$core..iter..range..Step$GT$17forward_unchecked17hb4be9dd91467116dE",
     "<i32 as core::iter::range::Step>::forward_unchecked"),
    ("Rust v0", "_RNvCs1_1a1b", "a::b"),
    ("Rust v0, copy", "_RNvCs1_1a1b.llvm.123", "a::b [clone .llvm.123]"),
    ("Swift", "$s4main3fooyyF", "main.foo() -> ()"),
    ("Swift, underscored", "_$s10Foundation4DataV", "Foundation.Data"),
    ("Swift, standard library", "$sS2SycfC", "Swift.String.init() -> Swift.String"),
    ("Swift 4.2", "$S4main3fooyyF", "main.foo() -> ()"),
    ("Swift, copy", "$s4main3fooyyF.cold", "main.foo() -> () [clone .cold]"),
    ("begins like Swift", "$string", "$string"),
    ("Swift, too long", "$s4main1fyySi" + "Sg" * 1024 + "F", "$s4main1fyySi" + "Sg" * 1024 + "F"),
    ("no UTF-8", "_Z3foo\udc80", "_Z3foo\udc80"),
    ("longer than any", "_Z1f" + "P" * 100_000 + "i", "_Z1f" + "P" * 100_000 + "i"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "expected"), [r[1:] for r in ROWS], ids=[r[0] for r in ROWS])
def test_row(name: str, expected: str) -> None:
    assert demangle(name) == expected


@given(st.text(max_size=30))
def test_never_raises(text: str) -> None:
    for name in (text, "_Z" + text, "_R" + text, "_ZN3foo" + text):
        assert demangle(name) or not name


@given(st.text("PKRN1afiIESt_0Zvl", max_size=40))
def test_grammar_like_names_never_raise(text: str) -> None:
    assert demangle("_Z" + text)
    assert demangle("_RNvC1a" + text)


def test_without_the_package_names_stay_mangled(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        patched.setitem(sys.modules, "pydemumble", None)
        forget()
        assert demangle("_Z3fooi") == "_Z3fooi"
    forget()
    assert demangle("_Z3fooi") == "foo(int)"


def forget() -> None:
    module._demangler.cache_clear()
    demangle.cache_clear()


def plain(name: str) -> str:
    """Without the spellings in which the two demanglers differ."""
    name = name.replace(" ", "").replace("decltype(nullptr)", "std::nullptr_t")
    return re.sub(r"\{(lambda|unnamedtype)[^}]*\}|'(lambda|unnamed)\w*'(\([^)]*\))?", "", name)


def test_equals_cxxfilt() -> None:
    if shutil.which("c++filt") is None:
        pytest.skip("no c++filt here")
    names = [
        n
        for n in sorted(nm_functions(system_library("libstdc++.so.6")))
        # `Si`, `So`, `Ss`, `Sd` abbreviate std::istream and the like; c++filt spells them out.
        if n.startswith("_Z") and not n.startswith("_ZGT") and not re.search("S[iosd]", n)
    ]
    assert len(names) > 2500
    done = subprocess.run(
        ["c++filt"], input="\n".join(names), capture_output=True, text=True, check=True
    )
    expected = done.stdout.splitlines()
    different = [
        (n, demangle(n), e)
        for n, e in zip(names, expected, strict=True)
        if plain(demangle(n)) != plain(e)
    ]
    assert different == []


SHORT = [
    ("plain", "memcpy", "memcpy"),
    ("method", "std::vector<int, std::allocator<int>>::size() const",
     "std::vector<...>::size() const"),
    ("arguments too", "f(std::map<int, A<B>> const&, C<D>*)",
     "f(std::map<...> const&, C<...>*)"),
    ("template of a template", "A<B<int>>::f<C>(int)", "A<...>::f<...>(int)"),
    ("operator less", "A::operator<(B<int>)", "A::operator<(B<...>)"),
    ("operator less, of a template", "bool operator< <int>(A<int>)",
     "bool operator< <...>(A<...>)"),
    ("operator shift", "std::ostream& operator<< <C<int>>(std::ostream&)",
     "std::ostream& operator<< <...>(std::ostream&)"),
    ("operator arrow", "std::unique_ptr<A>::operator->() const",
     "std::unique_ptr<...>::operator->() const"),
    ("arrow in arguments", "A<f(int)->int>::g()", "A<...>::g()"),
    ("comparison in arguments", "A<(B)1, &C::operator> >::g()", "A<...>::g()"),
    ("lambda", "f(int)::'lambda'(A<B>)::operator()(A<B>) const",
     "f(int)::'lambda'(A<...>)::operator()(A<...>) const"),
    ("Rust", "sample::each::<sample::plain_name::{closure#0}>", "sample::each::<...>"),
    ("Rust's trait", "<i32 as core::iter::range::Step>::forward_unchecked",
     "<i32 as core::iter::range::Step>::forward_unchecked"),
    ("Rust's trait of a generic", "<Vec<T> as Into<U>>::into::<V>",
     "<Vec<...> as Into<...>>::into::<...>"),
    ("clone", "f<int>() [clone .cold]", "f<...>() [clone .cold]"),
    ("no pair", "f<int", "f<int"),
    ("no pair either", "f>int", "f>int"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "expected"), [r[1:] for r in SHORT], ids=[r[0] for r in SHORT])
def test_shortened(name: str, expected: str) -> None:
    assert shorten(name) == expected


@given(st.text("ab<>:-= ()operatr", max_size=40))
def test_shortened_twice_is_shortened_once(name: str) -> None:
    once = shorten(name)
    assert len(once) <= len(name) + 3 * name.count("<")
    assert shorten(once) == once


RUST_PROGRAM = """
pub struct Wrapped<T>(pub T);
impl<T: std::fmt::Debug> std::fmt::Display for Wrapped<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result { write!(f, "{:?}", self.0) }
}
#[inline(never)] pub fn each<F: FnMut(i32)>(mut f: F) { for i in 0..3 { f(i) } }
#[no_mangle] pub extern "C" fn plain_name(x: i32) -> String {
    let mut s = x; each(|i| s += i); format!("{}", Wrapped(s))
}
"""


def test_rust_library(tmp_path: Path) -> None:
    if shutil.which("rustc") is None:
        pytest.skip("no rustc here")
    source, library = tmp_path / "sample.rs", tmp_path / "libsample.so"
    source.write_text(RUST_PROGRAM)
    subprocess.run(
        ["rustc", "-C", "symbol-mangling-version=v0", "--crate-type", "cdylib",
         "-o", str(library), str(source)],
        check=True, capture_output=True,
    )  # fmt: skip
    with open_elf(str(library)) as elf:
        assert elf.section(".symtab") is not None
    names = {demangle(name) for name in nm_functions(str(library))}
    assert "plain_name" in names
    assert "sample::each::<sample::plain_name::{closure#0}>" in names
    assert "<sample::Wrapped<i32> as core::fmt::Display>::fmt" in names
