"""The documents say what is true: commands parse, links lead somewhere, nothing is left out."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

import mixstack
from mixstack.cli.main import cli
from mixstack.cli.record import footer_lines
from mixstack.model import Fit, Footer, Losses, MarkReason, Quality
from mixstack.record.options import RecordOptions, RecordResult
from mixstack.target.layouts import SUPPORTED

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
USAGE = ROOT / "docs" / "usage.md"
DOCUMENTS = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md"))]
GOLDEN = ROOT / "tests" / "golden" / "small.data"
EACH = pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(text: str, language: str) -> list[str]:
    return [body for kind, body in _FENCE.findall(text) if kind == language]


def commands(text: str) -> Iterator[str]:
    """Each `mixstack COMMAND ...` of a document: typed lines, examples in help, code spans."""
    for _, body in _FENCE.findall(text):
        for line in body.splitlines():
            typed = re.match(r"(?:\$| +) ?(?:sudo )?(mixstack [a-z-]+.*)", line)
            if typed:
                yield re.split(r"\s{2,}| [|>#] ?", typed[1])[0]
    for span in re.findall(r"`([^`\n]+)`", _FENCE.sub("", text)):
        typed = re.match(r"(?:[A-Z_]+=\S+ )?(mixstack [a-z-].*)", span)
        if typed:
            yield re.split(r" [|>#] ", typed[1])[0]


ALL_COMMANDS = [(path.name, line) for path in DOCUMENTS for line in commands(path.read_text())]


@pytest.mark.parametrize(("name", "line"), ALL_COMMANDS)
def test_a_command_parses(name: str, line: str) -> None:
    words = [{"PID": "1234", "SECONDS": "5", "HZ": "99"}.get(w, w) for w in shlex.split(line)[1:]]
    if words[0].startswith("-"):
        assert words[0] in ("--help", "--version"), name
        return
    assert words[0] in cli.commands, f"{name}: there is no command {words[0]}"
    command = cli.commands[words[0]]
    group = click.Context(cli, info_name="mixstack", **cli.context_settings)
    try:
        command.make_context(words[0], [w for w in words[1:] if w != "..."], parent=group)
    except click.UsageError as error:
        pytest.fail(f"{name}: {line}: {error.format_message()}")


def test_commands_were_found() -> None:
    """The pattern above still finds them: in typed lines, help texts and running text."""
    assert len(ALL_COMMANDS) > 20
    found = {line for _, line in ALL_COMMANDS}
    assert "mixstack record -p 14621 -d 4 -r 999" in found
    assert "mixstack record -r 999 -o app.data -- python app.py --its-own option" in found
    assert "mixstack merge -f collapsed" in found


@EACH
def test_links_lead_somewhere(document: Path) -> None:
    text = _FENCE.sub("", document.read_text())
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        assert not target.startswith("http"), f"{target}: say it, do not link it"
        path, _, anchor = target.partition("#")
        found = (document.parent / path).resolve() if path else document
        assert found.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.*)$", found.read_text(), re.MULTILINE)
            slugs = {re.sub(r"[^\w -]", "", h).lower().replace(" ", "-") for h in headings}
            assert anchor in slugs, target


@EACH
def test_files_and_targets_that_are_named_exist(document: Path) -> None:
    text = document.read_text()
    folders = r"(?:mixstack|tests|docs|examples)/"
    for named in re.findall(rf"`({folders}[\w/.]+\.\w+)`", text):
        assert (ROOT / named).exists(), named
    for folder in re.findall(rf"`({folders}[\w/]+/)`", text):
        assert (ROOT / folder).is_dir(), folder
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"(?:`|^\$ )make (\w+)", text, re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), f"make {target}"


def test_each_target_of_the_makefile_is_described_at_its_head() -> None:
    text = (ROOT / "Makefile").read_text()
    described = set(re.findall(r"^#   make (\w+)", text, re.MULTILINE))
    declared = set(re.findall(r"^(\w+):", text, re.MULTILINE))
    inner = {"setup", "clang", "libbpf", "clean"}
    assert described == declared - inner


@pytest.mark.parametrize("name", sorted(cli.commands))
def test_the_usage_shows_the_help_of_each_command(name: str) -> None:
    shown = [block for block in blocks(USAGE.read_text(), "text") if f"mixstack {name} " in block]
    result = CliRunner().invoke(cli, [name, "--help"], prog_name="mixstack")
    (block,) = (b for b in shown if b.startswith(f"Usage: mixstack {name} "))
    assert squeezed(block) == squeezed(result.output)


def squeezed(text: str) -> str:
    """Without line breaks, which depend on the width and on the version of click."""
    return re.sub(r"\s+", "", text)


@pytest.mark.parametrize("name", sorted(cli.commands))
def test_the_readme_shows_each_command(name: str) -> None:
    assert any(line.startswith(f"mixstack {name}") for line in commands(README.read_text()))


def test_the_readme_shows_the_footer_that_record_prints() -> None:
    quality = Quality(samples=1, fits={Fit.EXACT: 1})
    result = RecordResult(Footer(1, 1, Losses(), "duration"), (), 1, None, 999.0, "cycles")
    real = footer_lines(RecordOptions(1, ()), result, quality)
    (block,) = (b for b in blocks(README.read_text(), "console") if "mixstack record" in b)
    assert labels(block.splitlines()[1:]) == labels(real)


def test_the_readme_shows_what_info_prints() -> None:
    real = CliRunner().invoke(cli, ["info", str(GOLDEN)]).output.splitlines()
    (block,) = (b for b in blocks(README.read_text(), "console") if "mixstack info" in b)
    shown = labels(line for line in block.splitlines()[1:] if not line.startswith((" ", "...")))
    fields = labels(line for line in real if not line.startswith(" "))
    assert shown == [field for field in fields if field in shown]


def labels(lines: Iterable[str]) -> list[str]:
    """The first word of each line."""
    return [line.split()[0] for line in lines if line.strip()]


def test_the_readme_and_the_changelog_name_the_supported_versions() -> None:
    versions = [".".join(map(str, minor)) for minor in SUPPORTED]
    assert f"| CPython | {', '.join(versions)}" in README.read_text()
    assert f"CPython {', '.join(versions[:-1])} or {versions[-1]}" in (
        (ROOT / "CHANGELOG.md").read_text()
    )


def test_the_readme_explains_each_fit_and_the_usage_each_mark() -> None:
    table = README.read_text()
    for fit in Fit:
        assert f"\n| {fit.value} |" in table, fit
    for mark in MarkReason:
        assert f"`{mark.value}`" in USAGE.read_text(), mark


def test_the_changelog_starts_with_this_version() -> None:
    newest = re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert newest is not None
    assert newest[1] == mixstack.__version__
    assert f'version = "{mixstack.__version__}"' in (ROOT / "pyproject.toml").read_text()


def test_the_architecture_has_a_row_for_each_folder() -> None:
    table = (ROOT / "ARCHITECTURE.md").read_text()
    for path in sorted((ROOT / "mixstack").iterdir()):
        if path.is_dir() and path.name != "__pycache__":
            assert f"| `{path.name}/` |" in table, path.name


def test_the_architecture_names_the_programs_of_the_probe() -> None:
    source = (ROOT / "mixstack" / "bpf" / "mixstack.bpf.c").read_text()
    programs = re.findall(r'^(?:SEC\("perf_event"\)\nint |WALK\()(\w+)[(,]', source, re.MULTILINE)
    assert len(programs) == 10
    text = (ROOT / "ARCHITECTURE.md").read_text()
    assert all(f"`{p}`" in text or f"[{p}]" in text for p in programs), programs


def test_the_picture_is_small_enough_to_load() -> None:
    image = (ROOT / "docs" / "images" / "speedscope.png").read_bytes()
    assert image.startswith(b"\x89PNG")
    assert len(image) < 250_000


@EACH
def test_no_host_is_named_but_the_viewers(document: Path) -> None:
    """Packages come through the user's own clients, from wherever these are set up to look."""
    hosts = re.findall(r"https?://([^/\s)`\"]+)", document.read_text())
    assert set(hosts) <= {"www.speedscope.app"}
