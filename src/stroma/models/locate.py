"""From a name to weight files: the catalogue, run folders, archives, folders of files and single files."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from stroma.core.component import Component
from stroma.core.errors import InvalidData, MissingFile, UsageError, nearest
from stroma.models import fetch, hub
from stroma.models.archive import unpack
from stroma.models.calibration import Calibration
from stroma.models.card import PublishedModel
from stroma.models.catalogue import by_file, find, is_published
from stroma.models.describe import Description
from stroma.models.htc_run import HtcRun, is_htc_run, read_config
from stroma.models.recognise import recognise
from stroma.models.timm_network import WEIGHT_NAMES, fetch_timm_weights, is_timm, timm_network, without_hub
from stroma.models.wavelengths import RGB_NM
from stroma.models.weights_file import SUFFIXES, StateDict, read_weights
from stroma.models.weights_folder import require_licence, weights_folder
from stroma.sampling.preparation import Preparation

OWN_NAME = "weights.safetensors"
"""Name of weights that Stroma has written, with their card beside them."""


@dataclass(frozen=True)
class Member:
    """The weights of one network.

    Attributes:
        fold: What it is called among its like: the fold, or the file's name.
        path: The file.
        description: What is known about it.
        calibration: What its logits are scaled and shifted by.
        temporary: Keeps an unpacked archive alive.
    """

    fold: str
    path: Path
    description: Description
    calibration: Calibration | None = None
    temporary: Any = field(default=None, repr=False)

    def read(self) -> StateDict:
        """Its tensors, with the keys of the file."""
        return read_weights(self.path).state


def locate(
    name: str | Path,
    *,
    architecture: Component | None = None,
    weights_dir: Path | None = None,
    accept_licence: bool = False,
) -> list[Member]:
    """Find the weight files that a name stands for, fetching published ones on first use.

    Args:
        name: A path (file, archive, run folder, folder of files), or a name of the catalogue, with wildcards for
            sets.
        architecture: The component that builds the network, for files that do not tell.
        weights_dir: Where fetched weights lie; see `weights_folder`.
        accept_licence: Accept a non-commercial licence.

    Returns:
        At least one; several are an ensemble.

    Raises:
        MissingFile: there is no such file, or it cannot be fetched.
        UsageError: the name is unknown, or a licence has to be accepted.
        InvalidData: a file is damaged, or does not tell its architecture.
    """
    path = Path(name)
    if path.exists():
        return _in_path(path, architecture)
    if path.suffix.lower() in (*SUFFIXES, ".zip", ".pkl") or path.is_absolute() or str(name).startswith("."):
        siblings = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
        hint = nearest(path.name, siblings)
        raise MissingFile("there is no such file or folder", where=path, next_step=hint if hint[:3] == "Did" else "")
    if is_timm(str(name)) and not is_published(str(name)):
        return [_timm_member(str(name), weights_folder(weights_dir))]
    members: list[Member] = []
    for card in find(str(name)):
        members += published_members(card, weights_folder(weights_dir), accept_licence=accept_licence)
    return members


def _timm_member(name: str, folder: Path) -> Member:
    """The pretrained weights of a network of timm, as an encoder without its classifier."""
    network = timm_network(encoder=name, weights_dir=folder)
    path = fetch_timm_weights(name, network, folder=folder, without="Connect to the network once")
    config: Any = getattr(network, "pretrained_cfg", {})
    statistics = {"name": "mean_std", "mean": list(config["mean"]), "std": list(config["std"])}
    prepare = Preparation.model_validate({"steps": ["divide", statistics]})
    component = without_hub(Component.model_validate({"name": "timm", "encoder": name}), folder)
    description = Description(component, 3, 0, (), "features", "none", RGB_NM, prepare, "rgb")
    return Member(name, path, description)


def published_members(card: PublishedModel, folder: Path, *, accept_licence: bool) -> list[Member]:
    """The weights of a published model, fetched to `folder` unless they are there or in torch's own cache."""
    require_licence(card, folder, accept=accept_licence)
    if card.system == "htc":
        return _htc_members(_fetched_run(card, folder), card)
    if card.system == "encoders":
        described = Description.of_published(card)
        file = _hub_file(card, folder)
        return [Member(card.name, file, replace(described, model=without_hub(card.model, folder)))]
    if card.access == "manual":
        local = folder / card.file.name
        if not local.is_dir() or not _weight_files(local):
            raise MissingFile(
                f"{card.name} needs weights ({card.file.size_text}) that can only be fetched by hand",
                next_step=f"{card.access_note}. Put them into {local}, or name its parent with --weights-dir",
            )
        return [Member(path.stem, path, Description.of_published(card)) for path in _weight_files(local)]
    cached = Path(torch.hub.get_dir()) / "checkpoints" / card.file.name
    path = cached if cached.is_file() else fetch.fetched(card.file, folder, what=card.name)
    return [Member(card.name, path, Description.of_published(card))]


def _hub_file(card: PublishedModel, folder: Path) -> Path:
    """The weights of an encoder of the Hub: from the weights folder, the Hub's own cache, or downloaded to it."""
    return hub.fetch(
        card.file.name,
        WEIGHT_NAMES,
        what=f"the weights of {card.name} ({' or '.join(WEIGHT_NAMES)}, {card.file.size_text})",
        next_step=card.access_note or "Connect to the network once",
        folder=folder,
    )


def _fetched_run(card: PublishedModel, folder: Path) -> Path:
    """The run folder of a published htc model, below the weights folder or torch's cache, or from its archive."""
    relative = Path(*card.name.split("@", 1))
    for base in (folder, Path(torch.hub.get_dir()) / "htc_checkpoints"):
        if is_htc_run(base / relative):
            return base / relative
    archive = fetch.fetched(card.file, folder, what=card.name)
    unpack(archive, folder)
    run = folder / relative
    if not is_htc_run(run):
        raise InvalidData(f"does not hold the run folder {relative.as_posix()}", where=archive)
    if card.file.folder_hash is not None and fetch.folder_hash(run) != card.file.folder_hash:
        raise InvalidData(
            "differs from the published run (its folder hash is another)",
            where=run,
            next_step="Delete it and the archive, and fetch it again",
        )
    return run


def _htc_members(folder: Path, published: PublishedModel | None = None) -> list[Member]:
    run = HtcRun.open(folder)
    published = published or by_file(f"{folder.absolute().parent.name}@{folder.absolute().name}.zip")
    description = Description.of_htc(run, published)
    return [Member(fold, path, description, run.calibration(fold)) for fold, path in run.checkpoints.items()]


def _in_path(path: Path, architecture: Component | None) -> list[Member]:
    if path.is_dir():
        return _in_folder(path, architecture)
    if path.suffix.lower() == ".zip":
        return _in_archive(path, architecture)
    described = _described_beside(path) if architecture is None else None
    if described is not None:
        return [Member(path.parent.name, path, described)]
    run = path.parent.parent
    if path.parent.name.startswith("fold") and is_htc_run(run) and architecture is None:
        one = HtcRun(run, {path.parent.name: path}, read_config(run / "config.json"))
        return [Member(path.parent.name, path, Description.of_htc(one), one.calibration(path.parent.name))]
    return [Member(path.stem, path, _described(path, architecture))]


def _described_beside(path: Path) -> Description | None:
    """What the card beside weights of Stroma's own says; none for other files."""
    if path.name != OWN_NAME or not path.is_file():
        return None
    imported, trained = path.with_name("weights.json"), path.with_name("card.json")
    if imported.is_file():
        return Description.of_weights_card(imported)
    return Description.of_card(trained) if trained.is_file() else None


def _in_folder(folder: Path, architecture: Component | None) -> list[Member]:
    if architecture is None:
        own = [folder / OWN_NAME, *sorted(folder.glob(f"folds/*/{OWN_NAME}"))]
        members = [Member(p.parent.name, p, found) for p in own if (found := _described_beside(p)) is not None]
        if members:
            return members
        if is_htc_run(folder):
            return _htc_members(folder)
        if folder.name.startswith("fold") and is_htc_run(folder.parent):
            return [member for member in _htc_members(folder.parent) if member.fold == folder.name]
        nested = sorted(entry.parent for entry in folder.glob("*/*/config.json") if is_htc_run(entry.parent))
        if nested:
            return [member for run in nested for member in _htc_members(run)]
    files = _weight_files(folder)
    if not files:
        raise MissingFile(
            f"holds no weights (no run, no file with {', '.join(SUFFIXES)})",
            where=folder,
            next_step="Give a run folder, a folder of weight files, or a file",
        )
    return [Member(path.stem, path, _described(path, architecture)) for path in files]


def _in_archive(path: Path, architecture: Component | None) -> list[Member]:
    temporary = tempfile.TemporaryDirectory(prefix="stroma-")
    unpack(path, Path(temporary.name), suffixes=("config.json", *SUFFIXES))
    members = _in_folder(Path(temporary.name), architecture)
    return [replace(member, temporary=temporary) for member in members]


def _weight_files(folder: Path) -> Sequence[Path]:
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES and path.is_file())


def _described(path: Path, architecture: Component | None) -> Description:
    """What the keys of a single file tell, with the architecture given by the user where they tell too little."""
    from stroma.models.shapes import channels_and_classes

    state = read_weights(path).state
    found = recognise(state)
    card = by_file(path.name)
    if architecture is not None:
        found = channels_and_classes(architecture, state, where=path)
    elif card is not None and found is not None and card.model.name == found.model.name:
        return Description.of_published(card)
    if found is None:
        first = ", ".join(list(state)[:3])
        raise InvalidData(
            f"holds {len(state)} tensors ({first}, …) of an architecture that its keys do not tell",
            where=path,
            next_step="Name it: architecture={'name': 'segmentation', 'encoder': …} in Python, --architecture on the "
            "command line",
        )
    return Description.of_component(found)


def choose(members: Sequence[Member], fold: str | None) -> list[Member]:
    """The members called `fold`, or all.

    Raises:
        UsageError: none is called so.
    """
    if fold is None:
        return list(members)
    chosen = [member for member in members if fold in (member.fold, member.fold.removeprefix("fold_"))]
    if not chosen:
        raise UsageError(f"there is no fold '{fold}'", next_step=nearest(fold, [member.fold for member in members]))
    return chosen
