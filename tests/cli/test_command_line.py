"""What every verb has in common: options from the model, one-line errors, exit codes."""

import json
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Annotated, Literal

import click
import pytest
from click.testing import CliRunner
from pydantic import Field

from stroma.cli.generate import VerbGroup, verb_command
from stroma.cli.main import VERBS, run
from stroma.core.config import Section
from stroma.core.errors import InvalidData
from stroma.core.items import Failed
from stroma.core.verbs import Flag, Output, VerbOptions, VerbResult, Workers


class Nested(Section):
    sigma: float = 1.0


class PaintOptions(VerbOptions):
    inputs: Annotated[tuple[Path, ...], Flag(argument=True, setting=False)] = Field(min_length=1)
    output: Output = Path("out")
    colour: Literal["red", "blue"] = Field("red", description="Of the paint")
    names: tuple[str, ...] = ()
    coats: int | None = Field(None, ge=1, description="How many")
    dry: bool = True
    wet: bool = False
    blur: Nested = Nested()
    workers: Workers = 1


SEEN: list[PaintOptions] = []


def paint(options: PaintOptions) -> VerbResult:
    """Paint pictures.

    Args:
        options: How.
    """
    SEEN.append(options)
    failures = [Failed(name, "read", "InvalidData", "is broken") for name in options.names]
    return VerbResult(summary={"colour": options.colour}, done=int(options.dry), failed=failures)


def invoke(*arguments):
    SEEN.clear()
    command = verb_command("paint", PaintOptions, paint)
    result = CliRunner().invoke(command, list(arguments), standalone_mode=False)
    return result


def test_options_come_from_the_model():
    result = invoke(
        "a.png", "b c.png", "--colour", "blue", "--names", "x", "--names", "y", "-j", "2", "--no-dry", "--wet"
    )
    assert result.exception is None
    (options,) = SEEN
    assert options.inputs == (Path("a.png"), Path("b c.png"))
    assert (options.colour, options.names, options.workers) == ("blue", ("x", "y"), 2)
    assert (options.dry, options.wet, options.coats) == (False, True, None)


def test_nested_sections_are_reached_with_set():
    invoke("a", "--set", "blur.sigma=2.5", "--set", "coats=3")
    assert (SEEN[0].blur.sigma, SEEN[0].coats) == (2.5, 3)


def test_every_verb_has_the_common_options_and_help_shows_defaults():
    text = invoke("--help").output
    for option in ("--set", "--json", "--dry-run", "--overwrite", "--verify", "--no-dry"):
        assert option in text
    assert "[default: red]" in text
    assert "Args" not in text


@pytest.mark.parametrize(("arguments", "code"), [((), 0), (("--names", "x"), 3), (("--names", "x", "--no-dry"), 1)])
def test_exit_codes_tell_all_some_or_none(arguments, code):
    assert invoke("a", *arguments).return_value == code


def test_json_is_json():
    content = json.loads(invoke("a", "--json", "--names", "x").stdout)
    assert content["colour"] == "red"
    assert content["failed"] == [{"item": "x", "stage": "read", "error": "InvalidData", "message": "is broken"}]


def test_settings_leave_out_paths_and_workers():
    options = PaintOptions(inputs=(Path("a"),), workers=4)
    assert set(options.settings()) == {"colour", "names", "coats", "dry", "wet", "blur"}


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["tyle"], 2, "Did you mean 'tile'"),
        (["train"], 2, "Missing argument"),
        (["train", "nowhere.yaml", "-o", "x"], 1, "nowhere.yaml: there is no such configuration file"),
        (["evaluate", "nowhere"], 1, "is not a run folder"),
        (["train", "--no-such-option"], 2, "No such option"),
    ],
)
def test_errors_are_one_line_with_the_documented_exit_code(arguments, code, message, capsys):
    assert run(arguments) == code
    error = capsys.readouterr().err
    assert message in error
    assert error.startswith("stroma: error: ")
    assert error.count("\n") == 1


def test_debug_shows_the_traceback():
    with pytest.raises(Exception, match="not a run folder"):
        run(["evaluate", "nowhere", "--debug"])


def test_ctrl_c_exits_with_130(monkeypatch, capsys):
    def interrupted(**options):
        raise KeyboardInterrupt

    monkeypatch.setattr("stroma.cli.main.stroma.main", interrupted)
    assert run(["tile"]) == 130
    assert "run the same command again" in capsys.readouterr().err


def test_a_bug_is_not_disguised_as_a_users_error(monkeypatch):
    def broken(**options):
        raise ZeroDivisionError

    monkeypatch.setattr("stroma.cli.main.stroma.main", broken)
    with pytest.raises(ZeroDivisionError):
        run(["tile"])


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_explains_itself(verb, capsys):
    assert run([verb, "--help"]) == 0
    assert "Usage: " in capsys.readouterr().out


def test_the_installed_command_and_the_module_give_the_version():
    code = "from stroma.cli.main import main; main(['--version'])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.startswith("stroma, version ")


def test_an_error_of_a_user_keeps_its_exit_code(monkeypatch):
    def refuse(**options):
        raise InvalidData("wrong")

    monkeypatch.setattr("stroma.cli.main.stroma.main", refuse)
    assert run(["tile"]) == 1


@pytest.mark.parametrize("group", ["phantom", "slide", "models", "annotations"])
def test_the_help_of_a_group_says_of_each_verb_what_the_verb_says_itself(group):
    command = import_module(f"stroma.cli.{group}").command
    assert isinstance(command, VerbGroup)
    for name, (_, line) in command.verbs.items():
        verb = command.get_command(click.Context(command), name)
        assert verb is not None
        assert verb.help.splitlines()[0] == f"{line}."


def test_a_verb_that_a_group_does_not_have_is_an_error(capsys):
    assert run(["slide", "thumbnails"]) == 2
    assert "No such command 'thumbnails'" in capsys.readouterr().err
