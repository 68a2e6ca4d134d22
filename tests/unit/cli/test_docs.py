"""A command, option or exit code without documentation fails here."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest

from mixstack.cli import main
from mixstack.errors import MixstackError

from .conftest import Runner

EXIT_CODES = Path(__file__).parents[3] / "docs" / "exit-codes.md"
COMMANDS = sorted(main.cli.commands)


def subclasses(root: type[MixstackError]) -> list[type[MixstackError]]:
    return [c for child in root.__subclasses__() for c in [child, *subclasses(child)]]


@pytest.mark.parametrize("name", COMMANDS)
def test_command_has_help_and_a_runnable_example(name: str, run: Runner) -> None:
    command = main.cli.commands[name]
    assert command.help
    assert command.short_help
    example = re.search(rf"^  +mixstack {name} .+$", run(name, "--help").out, re.MULTILINE)
    assert example is not None, "no example"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_has_help(name: str) -> None:
    for parameter in main.cli.commands[name].params:
        if isinstance(parameter, click.Option):
            assert parameter.help, parameter.name
            assert parameter.help.endswith((".", "]")), parameter.help
        else:
            shown = parameter.make_metavar(click.Context(main.cli.commands[name]))
            assert shown.strip("[].") in (main.cli.commands[name].help or "") + "[-- CMD ARG...]"


def test_group_help_has_an_example_of_each_command_and_the_exit_codes(run: Runner) -> None:
    text = run("--help").out
    for name in COMMANDS:
        assert re.search(rf"^  +mixstack {name} ", text, re.MULTILINE)
    assert "Exit codes:" in text


def documented() -> dict[str, tuple[str, str]]:
    """{code: (name of the error or "", what to do)} from the table's rows."""
    rows = re.findall(r"^\| (\d\S*) \| `?(.*?)`? \| (.*) \|$", EXIT_CODES.read_text(), re.MULTILINE)
    return {code: (name, text) for code, name, text in rows}


@pytest.mark.parametrize("kind", subclasses(MixstackError), ids=lambda kind: kind.__name__)
def test_exit_code_of_each_error_is_documented(kind: type[MixstackError]) -> None:
    if kind.exit_code == MixstackError.exit_code:
        assert kind.__subclasses__(), "only a group of errors may have no code of its own"
        return
    assert documented()[str(kind.exit_code)][0] == kind.__name__


def test_the_other_exit_codes_are_documented_and_no_code_has_two_meanings() -> None:
    own = {
        main.EXIT_USAGE,
        main.EXIT_INTERNAL,
        main.EXIT_INTERRUPTED,
        main.EXIT_BROKEN_PIPE,
        0,
    }
    kinds = [k for k in subclasses(MixstackError) if k.exit_code != MixstackError.exit_code]
    codes = {kind.exit_code for kind in kinds}
    assert len(codes) == len(kinds)
    assert documented().keys() == {str(code) for code in own | codes} | {"128+N"}
