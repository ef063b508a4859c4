"""`stroma models import`: weights of others become a folder of ours, with every key accounted for."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from stroma.core.config import dump_yaml, to_plain
from stroma.core.done import done_path, is_complete, write_done
from stroma.core.errors import ConfigError
from stroma.core.extras import require
from stroma.core.files import atomic_path, id_to_name, sha256, write_json, write_text
from stroma.core.provenance import InputRecord, Provenance
from stroma.core.verbs import Flag, Output, VerbOptions, VerbResult
from stroma.models.card import WEIGHTS_FORMAT, WeightsCard
from stroma.runs.card import ModelCard
from stroma.runs.components import parse_component, parse_preparation

if TYPE_CHECKING:
    from stroma.models.describe import Description
    from stroma.models.keys import KeyReport
    from stroma.models.locate import Member

RECORD = "import"


class ImportOptions(VerbOptions):
    """Options of `stroma models import`."""

    source: Annotated[str, Flag(argument=True, setting=False)] = Field(
        description="A file, archive, run folder or folder of files, or a published name"
    )
    output: Output
    architecture: str | None = Field(
        None,
        description="The network, where the file does not tell: unet, or {name: segmentation, encoder: resnet34}",
    )
    class_names: tuple[str, ...] = Field(
        (), description="Names of the classes in the order of the outputs (repeatable)"
    )
    prepare: str | None = Field(
        None, description="From stored values to its input, where not known: '[l1]', '[divide]', '[]'"
    )
    weights_dir: Annotated[Path | None, Flag(setting=False)] = Field(None, description="Folder of fetched weights")
    accept_licence: Annotated[bool, Flag(setting=False)] = Field(
        False, description="Accept a licence that forbids commercial use"
    )


def import_weights(options: ImportOptions) -> VerbResult:
    """Import weights of other projects: one folder `folds/<name>` per network, safetensors beside its card.

    Every key of a file is taken, translated, or left out for a reason; keys left over are an error that lists them.
    Networks that give classes become a run that `stroma predict` takes.

    Args:
        options: What to import, and where to.
    """
    require("torch", extra="learn", feature="importing weights")
    from stroma.models.locate import locate

    architecture = parse_component(options.architecture)
    members = locate(
        options.source,
        architecture=architecture,
        weights_dir=options.weights_dir,
        accept_licence=options.accept_licence,
    )
    records = tuple(InputRecord.of(member.fold, member.path) for member in members)
    provenance = Provenance(WEIGHTS_FORMAT, options.settings(), records)
    record = done_path(options.output, RECORD)
    if not options.overwrite and is_complete(record, provenance, verify=options.verify):
        return VerbResult(output=options.output, skipped=len(members))
    if options.dry_run:
        return VerbResult(lines=[f"would import {member.path.name} as {member.fold}" for member in members])
    record.unlink(missing_ok=True)
    written, lines = [], []
    for member in members:
        files, report = _import_one(member, options)
        written += files
        lines += str(report).splitlines()
    description = members[0].description
    written += _write_run(options, description, provenance)
    write_done(record, provenance, written)
    predictable = (options.output / "run.json").is_file()
    following = [f"stroma predict '{options.output}' IMAGE… -o predictions"] if predictable else []
    return VerbResult(
        output=options.output,
        lines=[*lines, *_warnings(description, options)],
        summary=_summary(description),
        next=[*following, f"python -c \"import stroma; stroma.load_model('{options.output}')\""],
        done=len(members),
    )


def _import_one(member: Member, options: ImportOptions) -> tuple[list[Path], KeyReport]:
    from safetensors.torch import save_file

    from stroma.models.load import load_member
    from stroma.models.locate import OWN_NAME

    network, description, report = load_member(member)
    folder = options.output / "folds" / id_to_name(member.fold)
    weights = folder / OWN_NAME
    with atomic_path(weights) as temporary:
        save_file({key: value.detach().contiguous() for key, value in network.state_dict().items()}, temporary)
    names = options.class_names or description.class_names
    if names and len(names) != description.classes:
        raise ConfigError(f"{len(names)} class names were given for {description.classes} classes", where=member.path)
    card = WeightsCard(
        model=description.model,
        channels=description.channels,
        classes=description.classes,
        class_names=names,
        output=description.output,
        activation=description.activation,
        wavelengths_nm=description.wavelengths_nm,
        prepare=description.prepare if options.prepare is None else parse_preparation(options.prepare),
        modality=description.modality,
        granularity=description.granularity,
        published=description.published,
        file={"name": member.path.name, "sha256": sha256(member.path)},
        keys={"taken": len(report.taken), "adapted": len(report.adapted), "skipped": len(report.skipped)},
        weights_sha256=sha256(weights),
    )
    files = [weights, write_json(folder / "weights.json", to_plain(card))]
    predictable = _card(description, options, card.weights_sha256)
    if predictable is not None:
        files.append(predictable.save(folder / "card.json"))
    return files, report


def _card(description: Description, options: ImportOptions, weights_sha256: str) -> ModelCard | None:
    """The card that `stroma predict` reads; none for networks that it cannot apply."""
    from stroma.runs.foreign import card_of, why_not_predictable

    prepare = None if options.prepare is None else parse_preparation(options.prepare)
    if why_not_predictable(description) or (prepare is None and description.prepare is None):
        return None
    return card_of(description, class_names=options.class_names, prepare=prepare, weights_sha256=weights_sha256)


def _write_run(options: ImportOptions, description: Description, provenance: Provenance) -> list[Path]:
    """What makes the folder a run: `run.json`, `labels.yaml` and the part of `config.yaml` that prediction reads."""
    card = _card(description, options, "")
    if card is None:
        return []
    config: dict[str, Any] = {
        "data": {"study": "study.yaml"},
        "input": {"prepare": to_plain(card.prepare)},
        "model": to_plain(description.model),
    }
    run = {**provenance.to_dict(), "format": "run/1", "study": "study.yaml"}
    return [
        card.written_labels.save(options.output / "labels.yaml"),
        write_text(options.output / "config.yaml", dump_yaml(config)),
        write_json(options.output / "run.json", run),
    ]


def _summary(description: Description) -> dict[str, Any]:
    return {
        "model": description.model.name,
        "channels": description.channels,
        "classes": description.classes,
        "output": description.output,
    }


def _warnings(description: Description, options: ImportOptions) -> list[str]:
    published = description.published
    if published is None:
        known = (
            ""
            if description.prepare is not None or options.prepare is not None
            else "; how its input was normalised is not known"
        )
        return [f"not from the catalogue: check its licence yourself{known}"]
    lines = [f"licence: {published.licence}"]
    if published.non_commercial:
        lines.append("results made with it may not be used commercially")
    if published.class_order == "unverified":
        lines.append("the order of its classes is inferred and not verified")
    return lines
