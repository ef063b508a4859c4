"""`stroma models list | show | fetch | verify`: what is published, what it is, and where it lies here."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from stroma.core.config import to_plain
from stroma.core.errors import MissingFile, StromaError, UsageError, nearest
from stroma.core.extras import require
from stroma.core.items import Done, map_items
from stroma.core.verbs import Flag, VerbOptions, VerbResult
from stroma.models import fetch
from stroma.models.card import PublishedModel
from stroma.models.catalogue import catalogue, find, is_published
from stroma.models.weights_folder import weights_folder

_NUMBERS = re.compile(r"(nested|seed)-\d+-(\d+)")
Folder = Annotated[Path | None, Flag(setting=False)]


class ListOptions(VerbOptions):
    """Options of `stroma models list`."""

    pattern: Annotated[str | None, Flag(argument=True)] = Field(
        None, description="Only names that contain this text, or fit it with its wildcards: 'image@*nested-*-2'"
    )
    all: bool = Field(False, description="One line for each of the nested runs and seeds, too")


def list_models(options: ListOptions) -> VerbResult:
    """List the published models that Stroma knows.

    Args:
        options: Which.
    """
    cards = _fitting((options.pattern or "").lower())
    if not cards:
        hint = nearest(str(options.pattern), catalogue())
        raise UsageError(
            f"no published model is called like '{options.pattern}'",
            next_step=hint if hint.startswith("Did") else "See all: stroma models list",
        )
    whole = Counter(group_name(card.name) for card in catalogue().values())
    groups: dict[str, list[PublishedModel]] = {}
    for card in cards:
        groups.setdefault(card.name if options.all else group_name(card.name), []).append(card)
    lines = []
    for name, group in groups.items():
        parts = [(name, group)] if len(group) == whole[name] else [(card.name, [card]) for card in group]
        lines += [_line(*part) for part in parts]
    details = {"models": [to_plain(card) for card in cards]}
    first = f"'{cards[0].name}'" if len(cards) == 1 else "NAME"
    return VerbResult(
        lines=lines, details=details, summary={"published models": len(cards)}, next=[f"stroma models show {first}"]
    )


def _fitting(pattern: str) -> list[PublishedModel]:
    cards = list(catalogue().values())
    if "*" in pattern:
        return find(pattern) if is_published(pattern) else []
    return [card for card in cards if pattern in card.name.lower() or pattern in card.system]


def group_name(name: str) -> str:
    """The pattern that stands for all nested runs and seeds of a name: `nested-1-4` becomes `nested-*-4`."""
    return _NUMBERS.sub(r"\1-*-\2", name)


def _line(name: str, group: Sequence[PublishedModel]) -> str:
    card = group[0]
    count = f" ({len(group)} runs)" if len(group) > 1 else ""
    marks = [
        word
        for word, holds in (("non-commercial", card.non_commercial), (card.access, card.access != "open"))
        if holds
    ]
    answer = f"{card.classes} classes" if card.classes else f"{card.features} features"
    marked = f" [{', '.join(marks)}]" if marks else ""
    return f"{name}{count}: {card.modality}, {card.channels} channels, {answer}{marked}"


class ShowOptions(VerbOptions):
    """Options of `stroma models show`."""

    name: Annotated[str, Flag(argument=True)] = Field(description="A published name")
    weights_dir: Folder = Field(None, description="Folder of fetched weights")


def show_model(options: ShowOptions) -> VerbResult:
    """Show the card of a published model.

    Args:
        options: Which.
    """
    cards = find(options.name)
    card = cards[0]
    folder = weights_folder(options.weights_dir)
    local = local_path(card, folder)
    lines = [f"{key}: {value}" for key, value in card_rows(card).items()]
    if len(cards) > 1:
        lines.append(f"and {len(cards) - 1} more of this pattern")
    lines.append(f"on this computer: {local}" if local else f"not on this computer ({card.file.size_text} to fetch)")
    details = {"models": [to_plain(one) for one in cards]}
    following = f"stroma models {'verify' if local else 'fetch'} '{options.name}'"
    return VerbResult(lines=lines, details=details, next=[following + _elsewhere(folder)])


def card_rows(card: PublishedModel) -> dict[str, str]:
    """What a card says, as words."""
    names = ", ".join(card.class_names) or "not published"
    order = {"documented": "", "unverified": " (order inferred, not verified)", "unknown": ""}[card.class_order]
    steps = [f"{step.name} {step.parameters or ''}".strip() for step in card.prepare.steps]
    size = f"{card.input_px[0]} × {card.input_px[1]} px" if card.input_px else "single spectra"
    rows = {
        "name": card.name,
        "what": card.title,
        "network": " ".join([card.model.name, *(f"{k}={v}" for k, v in card.model.parameters.items())]),
        "input": f"{card.channels} channels: {card.channel_order}",
        "trained on": f"{size}, samples: {card.granularity.name}"
        + (f", {card.mpp:g} µm per pixel" if card.mpp else ""),
        "normalisation": ", ".join(steps) or "none",
        "output": f"{card.features} features" if card.output == "features" else f"{card.output}, {card.activation}",
        "classes": f"{card.classes}: {names}{order}" if card.classes else "none",
        "networks": str(card.folds) if card.folds > 1 else "",
        "licence": card.licence + (" (non-commercial: has to be accepted once)" if card.non_commercial else ""),
        "access": "" if card.access == "open" else f"{card.access}: {card.access_note}",
        "file": f"{card.file.name}, {card.file.size_text}",
        "address": card.file.url or "by hand only",
        "SHA-256": card.file.sha256 or "not published; noted at the first download",
        "hash of the run folder": card.file.folder_hash or "",
        "source": card.source,
        "cite": card.cite,
        "note": "; ".join(card.notes),
    }
    return {key: value for key, value in rows.items() if value}


def local_path(card: PublishedModel, folder: Path) -> Path | None:
    """Where a model lies in the weights folder, if it does."""
    run = folder.joinpath(*card.name.split("@", 1)) if card.system == "htc" else folder / card.file.name
    candidates = [run, folder / card.file.name]
    return next((path for path in candidates if path.exists()), None)


class FetchOptions(VerbOptions):
    """Options of `stroma models fetch`."""

    names: Annotated[tuple[str, ...], Flag(argument=True)] = Field(
        min_length=1, description="Published names; *-2 stands for all nested runs 0 to 2"
    )
    weights_dir: Folder = Field(None, description="Folder for the weights")
    accept_licence: Annotated[bool, Flag(setting=False)] = Field(
        False, description="Accept a licence that forbids commercial use"
    )


def fetch_models(options: FetchOptions) -> VerbResult:
    """Download published weights, going on with interrupted downloads, and verify them.

    Args:
        options: Which, and where to.
    """
    require("torch", extra="learn", feature="fetching weights")
    folder = weights_folder(options.weights_dir)
    cards = [card for name in options.names for card in find(name)]
    if options.dry_run:
        return VerbResult(lines=[f"would fetch {card.name} ({card.file.size_text})" for card in cards])
    following = [f"stroma models verify '{name}'{_elsewhere(folder)}" for name in options.names]
    if len(cards) == 1:
        _fetch_one(cards[0], folder, options.accept_licence)
        return VerbResult(output=folder, done=1, next=following)
    by_name = {card.name: card for card in cards}
    outcomes = list(map_items(lambda name: _fetch_one(by_name[name], folder, options.accept_licence), by_name))
    failed = [outcome for outcome in outcomes if not isinstance(outcome, Done)]
    return VerbResult(output=folder, done=len(by_name) - len(failed), failed=failed, next=following)


def _elsewhere(folder: Path) -> str:
    """What a command needs to find this folder again."""
    return "" if folder == weights_folder() else f" --weights-dir '{folder}'"


def _fetch_one(card: PublishedModel, folder: Path, accept_licence: bool) -> None:
    from stroma.models.locate import published_members

    published_members(card, folder, accept_licence=accept_licence)


class VerifyOptions(VerbOptions):
    """Options of `stroma models verify`."""

    names: Annotated[tuple[str, ...], Flag(argument=True)] = Field(
        (), description="Published names (default: all that are on this computer)"
    )
    weights_dir: Folder = Field(None, description="Folder of fetched weights")


def verify_models(options: VerifyOptions) -> VerbResult:
    """Compare fetched weights with their published hashes, or with those noted when they were fetched.

    Args:
        options: Which.
    """
    folder = weights_folder(options.weights_dir)
    named = [card for name in options.names for card in find(name)]
    cards = named or [card for card in catalogue().values() if local_path(card, folder)]
    by_name = {card.name: card for card in cards}
    outcomes = list(map_items(lambda name: verify_one(by_name[name], folder), by_name))
    done = [outcome for outcome in outcomes if isinstance(outcome, Done)]
    failed: list[Any] = [outcome for outcome in outcomes if not isinstance(outcome, Done)]
    lines = [f"{outcome.item}: {outcome.result}" for outcome in done]
    if not cards:
        lines = ["no published weights are there yet: stroma models list, then stroma models fetch NAME"]
    return VerbResult(lines=lines, summary={"weights folder": str(folder)}, done=len(done), failed=failed)


def verify_one(card: PublishedModel, folder: Path) -> str:
    """Compare one model; returns what was compared.

    Raises:
        StromaError: it is not there, or it differs.
    """
    path = local_path(card, folder)
    if path is None:
        raise MissingFile(
            f"is not in {folder}", next_step=f"Fetch it: stroma models fetch '{card.name}'{_elsewhere(folder)}"
        )
    if path.is_dir():
        if card.file.folder_hash is None:
            return "there, but no hash is published"
        if fetch.folder_hash(path) != card.file.folder_hash:
            raise StromaError("differs from the published run", where=path, next_step="Delete it and fetch it again")
        return "equals the published hash of the run folder"
    compared = fetch.verify(card.file, path)
    return "there, but no hash is known" if compared == "nothing" else f"equals the {compared}"
