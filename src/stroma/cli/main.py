"""The `stroma` command: finds the verb, runs it, turns errors into one line and an exit code."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Any

import click

from stroma import __version__
from stroma.core.errors import DiskFull, StromaError, UsageError, nearest

VERBS: dict[str, tuple[str, str]] = {
    "demo": ("stroma.cli.demo:command", "Run the whole of Stroma on data it makes, and write a report"),
    "info": ("stroma.cli.info:command", "Show versions, devices, settings and data sets"),
    "init": ("stroma.cli.init:command", "Recognise a folder of images and describe it in study.yaml"),
    "check": ("stroma.cli.check:command", "Check every image and annotation of a study"),
    "inspect": ("stroma.cli.inspect:command", "Say what a file is and how to open it"),
    "phantom": ("stroma.cli.phantom:command", "Make a synthetic study with known truth"),
    "split": ("stroma.cli.split:command", "Divide a study by subject: show, check and export folds"),
    "prepare": ("stroma.cli.prepare:command", "Prepare images for fast reading, and maps of tissue parameters"),
    "medians": ("stroma.cli.medians:command", "Median spectra and tissue parameters of every label, as a table"),
    "parameters": ("stroma.cli.parameters:command", "Compare computed tissue parameters with the camera's own"),
    "train": ("stroma.cli.train:command", "Train a network from a configuration"),
    "predict": ("stroma.cli.predict:command", "Apply a trained run to images"),
    "evaluate": ("stroma.cli.evaluate:command", "Score predictions, subject by subject"),
    "slide": ("stroma.cli.slide:command", "Look at slides, draw them small, convert them"),
    "tissue": ("stroma.cli.tissue:command", "Find tissue on slides: masks and outlines"),
    "tile": ("stroma.cli.tile:command", "Find tissue and cut slides into tiles"),
    "quality": ("stroma.cli.quality:command", "Measure tiles and find those unlike the others"),
    "stain": ("stroma.cli.stain:command", "Find the stains of slides, and give all tiles the same"),
    "embed": ("stroma.cli.embed:command", "Turn tiles into feature vectors with a pretrained encoder"),
    "cluster": ("stroma.cli.cluster:command", "Cluster feature vectors"),
    "models": ("stroma.cli.models:command", "List, fetch, import, verify and export weights"),
    "annotations": ("stroma.cli.annotations:command", "Import, export, convert and count drawn and detected objects"),
    "stats": ("stroma.cli.stats:command", "Compare groups over subjects: test, effect size, figure, one sentence"),
    "report": ("stroma.cli.report:command", "Write one offline HTML page about a run or features"),
}
"""Verb → where its click command lies, and its line in `stroma --help` (so that help imports nothing)."""


class LazyGroup(click.Group):
    """A group that imports a verb only when it is run."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Verbs in the order of a user's work."""
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the verb `cmd_name`."""
        if cmd_name not in VERBS:
            return None
        from importlib import import_module

        module, _, attribute = VERBS[cmd_name][0].partition(":")
        command: click.Command = getattr(import_module(module), attribute)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does, with the nearest verb for a mistyped one."""
        if args and args[0] not in VERBS and not args[0].startswith("-"):
            raise click.UsageError(f"there is no verb '{args[0]}'. {nearest(args[0], VERBS)}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the verbs without importing them."""
        with formatter.section("Verbs"):
            formatter.write_dl([(name, text) for name, (_, text) in VERBS.items()])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="stroma")
def stroma() -> None:
    """Tissue imaging research: hyperspectral cubes and whole slides, from files to scores.

    `stroma VERB --help` explains a verb. Exit codes: 0 done, 1 failed, 2 wrong usage or configuration,
    3 some items failed, 130 interrupted.
    """


_NO_VERB: Any = getattr(click.exceptions, "NoArgsIsHelpError", ())  # click 8.2 and newer


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and leave the process with its exit code."""
    # OpenMP threads that wait for each other should sleep: spinning, they take the core from the one they wait for.
    # On two cores shared with one other process a training step took 5.4 s spinning and 0.25 to 0.6 s sleeping.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    sys.exit(run(arguments))


def run(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code; errors of users become one line on standard error."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    debug = "--debug" in arguments
    try:
        result = stroma.main(args=[a for a in arguments if a != "--debug"], standalone_mode=False)
        return int(result or 0)
    except click.Abort:
        return _interrupted()
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except _NO_VERB as error:  # `stroma models` alone
        click.echo(error.format_message(), err=True)
        return 2
    except click.ClickException as error:
        context = getattr(error, "ctx", None)
        verb = context.command_path if context else "stroma"
        return _fail(str(UsageError(error.format_message(), next_step=f"See '{verb} --help'")), 2)
    except KeyboardInterrupt:
        return _interrupted()
    except BrokenPipeError:
        return 1
    except StromaError as error:
        if debug:
            raise
        return _fail(str(error), error.exit_code)
    except OSError as error:
        if debug:
            raise
        return _fail(str(_of_the_system(error)), 1)


def _of_the_system(error: OSError) -> StromaError:
    """What the system refused, and where: no permission, no such folder, a share that went away."""
    if error.errno in DiskFull.ERRNO:
        return DiskFull.at(error.filename)
    what = error.strerror or type(error).__name__
    step = "Mend that and run the same command again; --debug shows which step of the program it was"
    return StromaError(f"the system says: {what[:1].lower()}{what[1:]}", where=error.filename, next_step=step)


def _fail(line: str, exit_code: int) -> int:
    click.echo(f"stroma: error: {line}", err=True)
    return exit_code


def _interrupted() -> int:
    return _fail("interrupted; run the same command again to go on where it stopped", 130)
