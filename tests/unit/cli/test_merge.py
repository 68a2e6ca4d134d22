"""`mixstack merge`: where the profile goes, and what stderr says about it."""

from __future__ import annotations

import json
import os
import stat
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mixstack.cli import load, merge
from mixstack.errors import OutputError, UsageProblem
from mixstack.merge.profile import Wanted
from tests.unit.export.profiles import TWO_THREADS

from .conftest import Runner
from .fakes import FakeCapture


@pytest.mark.parametrize(
    ("capture_path", "format_", "expected"),
    [
        ("out.data", "speedscope", "out.speedscope.json"),
        ("out.data", "collapsed", "out.collapsed.txt"),
        ("/tmp/a.b/app.data", "speedscope", "/tmp/a.b/app.speedscope.json"),
        ("capture", "speedscope", "capture.speedscope.json"),
        ("out.data.old", "speedscope", "out.data.old.speedscope.json"),
        (".data", "speedscope", ".data.speedscope.json"),
    ],
)
def test_default_name(capture_path: str, format_: str, expected: str) -> None:
    assert merge.default_output(capture_path, format_) == expected


def test_speedscope_is_the_default(run: Runner, capture: FakeCapture, folder: Path) -> None:
    result = run("merge", "out.data")
    assert (result.code, result.out) == (0, "")
    assert json.loads((folder / "out.speedscope.json").read_text())["name"] == "python app.py"
    assert result.err.splitlines() == [
        "wrote out.speedscope.json: 1.5 kB, 1,200 samples of 2 threads",
        "fit: exact 99.2 %, native-only 0.8 %; lost 12, truncated 3, unresolved frames 8",
        "open it: drag the file onto https://www.speedscope.app",
    ]
    assert os.listdir(folder) == ["out.speedscope.json"]


def test_collapsed(run: Runner, capture: FakeCapture, folder: Path) -> None:
    result = run("merge", "-f", "collapsed", "-o", "my stacks.txt")
    assert result.code == 0
    assert "MainThread;main;" in (folder / "my stacks.txt").read_text()
    assert "flamegraph.pl 'my stacks.txt' > flame.svg" in result.err


def test_standard_output(run: Runner, capture: FakeCapture, folder: Path) -> None:
    result = run("merge", "-o", "-", "-f", "collapsed")
    assert result.out.startswith("MainThread;main;")
    assert "naïve" in result.out, "standard output is UTF-8, whatever the locale"
    assert result.err.startswith("fit: ")
    assert os.listdir(folder) == []


def test_a_capture_that_was_cut_off_is_merged_and_it_is_said(
    run: Runner, capture: FakeCapture, folder: Path
) -> None:
    capture.problem = "the last block is incomplete"
    result = run("merge")
    assert result.code == 0
    assert result.err.startswith(
        "mixstack: out.data is cut off (the last block is incomplete); what is there is merged\n"
    )
    assert (folder / "out.speedscope.json").exists()


@pytest.mark.parametrize("asked", [True, False])
def test_show_interpreter_reaches_the_join(
    asked: bool,
    run: Runner,
    capture: FakeCapture,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told: list[bool] = []
    inner: Any = load.load_profile

    def spy(loaded: Any, *, show_interpreter: bool, **options: Any) -> Any:
        told.append(show_interpreter)
        return inner(loaded, **options)

    monkeypatch.setattr(load, "load_profile", spy)
    assert run("merge", *(["--show-interpreter"] if asked else [])).code == 0
    assert told == [asked]


@pytest.mark.parametrize("format_", ["speedscope", "collapsed"])
def test_a_long_recording_loses_its_order_where_a_browser_must_open_it(
    format_: str,
    run: Runner,
    capture: FakeCapture,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    inner: Any = load.load_profile

    def thinned(*arguments: Any, **options: Any) -> Any:
        return replace(inner(*arguments, **options), thinned_ns=2_560_000_000)

    monkeypatch.setattr(load, "load_profile", thinned)
    said = "equal stacks within 2.56 s became one" in run("merge", "-f", format_).err
    assert said == (format_ == "speedscope")


@pytest.mark.parametrize(
    ("arguments", "resymbolize", "short_names"),
    [
        pytest.param([], False, False, id="as recorded"),
        pytest.param(["--resymbolize"], True, False, id="names from this machine"),
        pytest.param(["--short-names"], False, True, id="short names"),
    ],
)
def test_how_names_are_asked_for(
    arguments: list[str],
    resymbolize: bool,
    short_names: bool,
    run: Runner,
    capture: FakeCapture,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told: list[tuple[str, bool]] = []
    load_capture: Any = load.load_capture
    load_profile: Any = load.load_profile

    def reading(path: str, *, resymbolize: bool, warn: Any, **more: Any) -> Any:
        told.append(("resymbolize", resymbolize))
        warn("/lib/\x1bx.so: damaged")
        return load_capture(path, **more)

    def naming(loaded: Any, *, short_names: bool, **more: Any) -> Any:
        told.append(("short names", short_names))
        return load_profile(loaded, **more)

    monkeypatch.setattr(load, "load_capture", reading)
    monkeypatch.setattr(load, "load_profile", naming)
    result = run("merge", *arguments)
    assert result.code == 0
    assert told == [("resymbolize", resymbolize), ("short names", short_names)]
    assert result.err.startswith("mixstack: /lib/\\x1bx.so: damaged\n")


def test_what_is_wanted_reaches_the_join(
    run: Runner, capture: FakeCapture, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[Wanted] = []

    def spy(_loaded: Any, *, wanted: Wanted, **_options: Any) -> Any:
        told.append(wanted)
        return replace(TWO_THREADS, threads=())

    monkeypatch.setattr(load, "load_profile", spy)
    result = run(
        "merge", "--pid", "7", "--pid", "8", "--thread", "9", "--thread", "feeder", "--comm", "pool"
    )
    assert told == [Wanted(frozenset({7, 8}), frozenset({9, "feeder"}), frozenset({"pool"}))]
    assert result.code == UsageProblem.exit_code
    assert "no sample of out.data" in result.err
    assert "mixstack info out.data" in result.err
    assert os.listdir(folder) == []
    assert run("merge").code == 0  # an empty recording is no mistake of the user's


def test_an_old_profile_is_replaced_with_the_rights_of_a_new_file(
    run: Runner, capture: FakeCapture, folder: Path
) -> None:
    target = folder / "p.json"
    target.write_text("old")
    before = os.umask(0o027)
    try:
        assert run("merge", "-o", "p.json").code == 0
    finally:
        os.umask(before)
    assert target.read_text().startswith("{")
    assert stat.S_IMODE(target.stat().st_mode) == 0o640


def test_a_symbolic_link_is_refused(run: Runner, capture: FakeCapture, folder: Path) -> None:
    victim = folder / "victim"
    victim.write_text("precious")
    (folder / "out.speedscope.json").symlink_to(victim)
    result = run("merge")
    assert result.code == OutputError.exit_code
    assert "symbolic link" in result.err
    assert f"-o {victim}" in result.err
    assert victim.read_text() == "precious"
    assert (folder / "out.speedscope.json").is_symlink()


@pytest.mark.parametrize(
    ("output", "said"),
    [
        pytest.param(".", "it is a folder", id="a folder"),
        pytest.param("sub/", "it is a folder", id="a folder by its name"),
        pytest.param("missing/p.json", "No such file or directory", id="no such folder"),
        pytest.param("file/p.json", "Not a directory", id="a file as folder"),
        pytest.param("x" * 300, "File name too long", id="a name too long"),
        pytest.param("/proc/p.json", "cannot write /proc/p.json", id="an unwritable folder"),
    ],
)
def test_outputs_that_cannot_be(
    output: str, said: str, run: Runner, capture: FakeCapture, folder: Path
) -> None:
    (folder / "file").write_text("")
    result = run("merge", "-o", output)
    assert result.code == OutputError.exit_code
    assert said in result.err
    assert "hint: " in result.err
    assert os.listdir(folder) == ["file"]


def test_a_device_is_written_to_and_stays(run: Runner, capture: FakeCapture, folder: Path) -> None:
    assert run("merge", "-o", "/dev/null").code == 0
    assert stat.S_ISCHR(os.lstat("/dev/null").st_mode)


@pytest.mark.parametrize(
    ("failure", "code"),
    [
        pytest.param(OSError(28, "No space left on device"), 20, id="full disk"),
        pytest.param(KeyboardInterrupt(), 130, id="interrupt"),
        pytest.param(RuntimeError("bug"), 70, id="bug"),
    ],
)
def test_a_failure_on_the_way_leaves_the_old_profile_and_no_scraps(
    failure: BaseException,
    code: int,
    run: Runner,
    capture: FakeCapture,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def failing(_: object, stream: Any) -> None:
        stream.write("half of it")
        assert len(os.listdir(folder)) == 2, "the half is not beside the old one"
        raise failure

    (folder / "out.speedscope.json").write_text("old")
    monkeypatch.setattr("mixstack.export.speedscope.write_speedscope", failing)
    assert run("merge").code == code
    assert os.listdir(folder) == ["out.speedscope.json"]
    assert (folder / "out.speedscope.json").read_text() == "old"


def test_the_recording_itself_is_never_overwritten(
    run: Runner, capture: FakeCapture, folder: Path
) -> None:
    (folder / "out.data").write_text("samples")
    os.link(folder / "out.data", folder / "twin")
    for output in ("out.data", "./out.data", "twin"):
        result = run("merge", "out.data", "-o", output)
        assert result.code == UsageProblem.exit_code
        assert "is the recording itself" in result.err
    assert (folder / "out.data").read_text() == "samples"
