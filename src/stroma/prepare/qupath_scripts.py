"""`stroma annotations scripts`: the two scripts that carry a whole QuPath project to Stroma and back."""

from __future__ import annotations

from importlib.resources import files

from stroma.core.errors import OutputConflict
from stroma.core.files import write_text
from stroma.core.verbs import Output, VerbOptions, VerbResult

SCRIPTS = ("export_project.groovy", "import_project.groovy")


class QuPathScriptsOptions(VerbOptions):
    """Options of `stroma annotations scripts`."""

    output: Output


def write_qupath_scripts(options: QuPathScriptsOptions) -> VerbResult:
    """Write two scripts for QuPath's script editor: export all objects of a project, and import results.

    Args:
        options: See `QuPathScriptsOptions`.

    Raises:
        OutputConflict: a script exists with another content, and `overwrite` is not set.
    """
    folder = files("stroma.regions") / "qupath"
    lines = []
    for name in SCRIPTS:
        text, path = (folder / name).read_text(encoding="utf-8"), options.output / name
        if path.exists() and path.read_text(encoding="utf-8") != text and not options.overwrite:
            raise OutputConflict("exists with another content", where=path, next_step="Use --overwrite to replace it")
        if not options.dry_run:
            write_text(path, text)
        lines.append(f"{name}: {text.splitlines()[1].removeprefix(' * ')}")
    return VerbResult(options.output, lines=lines)
