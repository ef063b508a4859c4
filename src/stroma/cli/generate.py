"""Click commands generated from a verb's options model, and the common end of every verb."""

from __future__ import annotations

import inspect
import json
import os
import sys
import time
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from enum import Enum
from importlib import import_module
from pathlib import Path
from typing import Any, TypeVar

import click
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from stroma.core.clock import running_clock
from stroma.core.config import apply_overrides, build
from stroma.core.files import check_place, json_default
from stroma.core.log import append_log
from stroma.core.verbs import VerbOptions, VerbResult, flag_of
from stroma.study.places import CACHE_VARIABLE

Options = TypeVar("Options", bound=VerbOptions)
_CACHE = f"Folder for what is derived from data sets that have no study.yaml  [default: {CACHE_VARIABLE}]"


def verb_command(name: str, model: type[Options], function: Callable[[Options], VerbResult]) -> click.Command:
    """Make the command of a verb.

    Fields marked `Flag(argument=True)` become positional arguments, every other field an option, and
    sub-sections are reached with `--set section.key=value`. The help text is the function's docstring.

    Args:
        name: The verb.
        model: Its options.
        function: What it does.
    """
    shown = [(n, info) for n, info in model.model_fields.items() if n != "overrides" and not _is_section(info)]
    parameters = [_parameter(field, info) for field, info in shown]
    parameters += [
        click.Option(["--set", "overrides"], multiple=True, metavar="KEY=VALUE", help="Set any option by its key"),
        click.Option(["--json", "as_json"], is_flag=True, help="Print the result as JSON"),
    ]
    if "where" in model.model_fields:  # the verb reads studies
        parameters.append(click.Option(["--cache"], type=click.Path(path_type=Path), help=_CACHE))

    def callback(overrides: tuple[str, ...], as_json: bool, cache: Path | None = None, **given: Any) -> int:
        values = {key: value for key, value in given.items() if value is not None and value != ()}
        if "overrides" in model.model_fields:  # the verb reads a configuration file, which --set is about
            options = build(model, {**values, "overrides": overrides})
        else:
            options = build(model, apply_overrides(values, overrides))
        with _cache_at(cache):
            return _run(name, function, options, as_json)

    text = (inspect.getdoc(function) or "").split("\n\nArgs:")[0]
    return click.Command(
        name,
        params=parameters,
        callback=callback,
        help=text,
        context_settings={"help_option_names": ["-h", "--help"]},
    )


class VerbGroup(click.Group):
    """A verb with verbs of its own, each of which is imported only when it is run.

    Args:
        name: The verb.
        help: Its help text.
        verbs: Verb below it → `"module:Options:function"`, and the first line of the function's help.
    """

    def __init__(self, name: str, help: str, verbs: Mapping[str, tuple[str, str]]) -> None:
        super().__init__(name, help=help, context_settings={"help_option_names": ["-h", "--help"]})
        self.verbs = verbs

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Verbs in the order given."""
        return list(self.verbs)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the verb `cmd_name`."""
        if cmd_name not in self.verbs:
            return None
        module, options, function = self.verbs[cmd_name][0].split(":")
        found = import_module(module)
        return verb_command(cmd_name, getattr(found, options), getattr(found, function))

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the verbs without importing them."""
        with formatter.section("Verbs"):
            formatter.write_dl([(name, line) for name, (_, line) in self.verbs.items()])


@contextmanager
def _cache_at(folder: Path | None) -> Iterator[None]:
    """Keep what is derived from data sets in `folder`, also in worker processes, which inherit the variable."""
    before = os.environ.get(CACHE_VARIABLE)
    if folder is not None:
        os.environ[CACHE_VARIABLE] = str(folder.absolute())
    try:
        yield
    finally:
        if folder is not None and before is None:
            del os.environ[CACHE_VARIABLE]
        elif before is not None:
            os.environ[CACHE_VARIABLE] = before


def _run(name: str, function: Callable[[Options], VerbResult], options: Options, as_json: bool) -> int:
    start = time.perf_counter()
    _check_output(options)
    with running_clock() as clock:
        result = function(options)
    clock.add(result.clock.to_dict())
    result = replace(result, clock=clock)
    seconds = time.perf_counter() - start
    if result.output is not None and not options.dry_run:
        folder = result.output if result.output.is_dir() else result.output.parent
        entry = {
            "options": options.model_dump(mode="json"),
            "seconds": seconds,
            "stages": result.clock.to_dict(),
            "done": result.done,
            "skipped": result.skipped,
            "failed": len(result.failed),
        }
        append_log(folder, name, entry)
    if as_json:
        _print_json(result, seconds)
    else:
        _print_text(result, seconds)
    return result.exit_code


def _check_output(options: VerbOptions) -> None:
    """Look at the place of the results before anything is computed for it."""
    target = getattr(options, "output", None)
    if isinstance(target, Path) and not options.dry_run:
        description = type(options).model_fields["output"].description or ""
        check_place(target, folder=description.startswith("Folder"))


def _print_json(result: VerbResult, seconds: float) -> None:
    failed = [{"item": str(f.item), "stage": f.stage, "error": f.error, "message": f.message} for f in result.failed]
    content = {
        "output": result.output,
        **result.details,
        **result.summary,
        "done": result.done,
        "skipped": result.skipped,
        "failed": failed,
        "seconds": round(seconds, 3),
        "stages": result.clock.to_dict(),
    }
    click.echo(json.dumps(content, default=json_default, ensure_ascii=False, indent=2))


def _print_text(result: VerbResult, seconds: float) -> None:
    for line in result.lines:
        click.echo(line)
    for failure in result.failed:
        stage = f" while it was in stage {failure.stage}" if failure.stage else ""
        named = "" if failure.message.startswith(str(failure.item)) else f"{failure.item}: "
        click.echo(f"failed{stage}: {named}{failure.message}", err=True)
    for key, value in result.summary.items():
        click.echo(f"{key.replace('_', ' ')}: {value}")
    if result.done or result.skipped or result.failed:
        skipped = f", {result.skipped} already complete" if result.skipped else ""
        listed = " (see failures.parquet)" if result.output is not None else ""
        failed = f", {len(result.failed)} failed{listed}" if result.failed else ""
        stages = f" ({result.clock})" if result.clock.seconds else ""
        click.echo(f"{result.done} done{skipped}{failed} in {seconds:.1f} s{stages}")
    if result.output is not None:
        click.echo(f"output: {result.output}")
    if result.next and result.exit_code != 1:
        click.echo("next:")
        for command in result.next:
            click.echo(f"  {command}")
    sys.stdout.flush()


def _parameter(name: str, info: FieldInfo) -> click.Parameter:
    flag = flag_of(info.metadata)
    kind, many = _click_type(info.annotation)
    required = info.is_required()
    if flag.argument:
        return click.Argument([name], type=kind, nargs=-1 if many else 1, required=required)
    option = f"--{name.replace('_', '-')}"
    help_text = info.description or ""
    default = None if info.default is PydanticUndefined or info.default in (None, ()) else info.default
    if kind is click.BOOL:
        off = f"--no-{name.replace('_', '-')}" if default else ""
        return click.Option([f"{option}/{off}" if off else option, name], is_flag=True, default=None, help=help_text)
    if default is not None:
        shown = default.value if isinstance(default, Enum) else default
        help_text = f"{help_text}  [default: {shown}]"
    declarations = [option, name] if not flag.short else [flag.short, option, name]
    return click.Option(
        declarations, type=kind, multiple=many, required=required, default=None, help=help_text or None
    )


def _click_type(annotation: Any) -> tuple[click.ParamType[Any, Any], bool]:
    """The click type of a field, and whether it takes many values."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (typing.Union, types.UnionType):
        return _click_type(next(a for a in arguments if a is not type(None)))
    if origin is typing.Literal:
        return click.Choice([str(a) for a in arguments]), False
    if origin is typing.Annotated:
        return _click_type(arguments[0])
    if origin in (tuple, list):
        return _click_type(arguments[0])[0], True
    if isinstance(annotation, type) and issubclass(annotation, bool):
        return click.BOOL, False
    if isinstance(annotation, type) and issubclass(annotation, Path):
        return click.Path(path_type=Path), False
    if annotation is int:
        return click.INT, False
    return (click.FLOAT if annotation is float else click.STRING), False


def _is_section(info: FieldInfo) -> bool:
    return isinstance(info.annotation, type) and issubclass(info.annotation, BaseModel)
