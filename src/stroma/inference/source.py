"""What `stroma predict` is given as MODEL: a run, or anything that `stroma.load_model` loads."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stroma.core.errors import UsageError, nearest
from stroma.core.files import sha256
from stroma.runs.card import ModelCard
from stroma.runs.components import parse_component, parse_preparation
from stroma.runs.run import Run

if TYPE_CHECKING:
    from stroma.inference.predictor import Predictor
    from stroma.models.locate import Member


@dataclass(frozen=True)
class ModelSource:
    """How a user named a model; small, so that each process can open it by itself.

    Attributes:
        name: A run folder, a published name, a file, an archive or a folder of weights.
        fold: Folds to take; all when empty.
        architecture: The component that builds the network, as YAML, for files that do not tell.
        class_names: Names of the classes, instead of those that are known.
        prepare: Preparation steps as YAML, instead of those that are known.
        weights_dir: Where fetched weights lie.
        accept_licence: Accept a non-commercial licence.
    """

    name: str
    fold: tuple[str, ...] = ()
    architecture: str | None = None
    class_names: tuple[str, ...] = ()
    prepare: str | None = None
    weights_dir: Path | None = None
    accept_licence: bool = False

    @property
    def run(self) -> Run | None:
        """The run in that folder; none where the name stands for other weights."""
        folder = Path(self.name)
        return Run.open(folder) if (folder / "run.json").is_file() else None

    def open(self) -> OpenModel:
        """Find its networks; parameters and errors as in `stroma.load_model`."""
        return _open(self)


@dataclass(frozen=True)
class OpenModel:
    """Networks that were found, not yet loaded.

    Attributes:
        card: What they expect and answer.
        folds: Names of the networks.
        weights: Fold → SHA-256 of its weights file.
        run: The run they belong to, if it is one of Stroma's.
        members: Fold → where its weights lie, if they belong to no run.
    """

    card: ModelCard
    folds: tuple[str, ...]
    weights: Mapping[str, str]
    run: Run | None
    members: Mapping[str, Member]

    def predictor(self, folds: Sequence[str] = (), **options: Any) -> Predictor:
        """Load networks (default: all) as an ensemble; options as in `Predictor`."""
        from stroma.inference.predictor import Member, Predictor

        if self.run is not None:
            return Predictor.from_run(self.run, folds, **options)
        from stroma.models.load import load_member

        networks = [load_member(self.members[fold])[0] for fold in folds or self.folds]
        return Predictor([Member(network, self.card.prepare) for network in networks], self.card, **options)


@lru_cache(maxsize=4)
def _open(source: ModelSource) -> OpenModel:
    run = source.run
    if run is not None:
        return _of_run(run, source)
    from stroma.models.load import load_descriptions
    from stroma.models.locate import locate

    _refuse_before_fetching(source)
    found = locate(
        source.name,
        architecture=parse_component(source.architecture),
        weights_dir=source.weights_dir,
        accept_licence=source.accept_licence,
    )
    named = _named(found)
    chosen = {fold: named[fold] for fold in _chosen(list(named), source.fold)}
    description = load_descriptions(list(chosen.values()), source.name)
    card = _foreign_card(source, description)
    weights = {fold: sha256(member.path) for fold, member in chosen.items()}
    return OpenModel(card, tuple(chosen), weights, None, chosen)


def _refuse_before_fetching(source: ModelSource) -> None:
    """Say of a published name, before anything is downloaded, that it cannot be predicted with.

    Raises:
        UsageError: it is an encoder, or takes more than an image.
    """
    from stroma.models.catalogue import find, is_published
    from stroma.models.describe import Description
    from stroma.models.timm_network import is_timm
    from stroma.runs.foreign import ENCODER, why_not_predictable

    if Path(source.name).exists():
        return
    reasons = [ENCODER] if is_timm(source.name) else []
    if is_published(source.name):
        reasons = [why for card in find(source.name) if (why := why_not_predictable(Description.of_published(card)))]
    if reasons:
        raise UsageError(reasons[0][0], where=source.name, next_step=reasons[0][1])


def forget_models() -> None:
    """Look at files again when a model is opened next: they may have changed since."""
    _open.cache_clear()


def _foreign_card(source: ModelSource, description: Any) -> ModelCard:
    from stroma.runs.foreign import card_of

    prepare = None if source.prepare is None else parse_preparation(source.prepare)
    return card_of(description, class_names=source.class_names, prepare=prepare, where=source.name)


def _of_run(run: Run, source: ModelSource) -> OpenModel:
    given = {"--architecture": source.architecture, "--class-names": source.class_names, "--prepare": source.prepare}
    for option, value in given.items():
        if value:
            raise UsageError(f"{option} is for weights without a card; this run has one", where=source.name)
    if not run.folds:
        raise UsageError(
            "has no trained fold", where=run.folder, next_step="Finish its training: stroma train CONFIG -o RUN"
        )
    folds = tuple(source.fold) or tuple(run.folds)
    cards = {fold: run.card(fold) for fold in folds}
    weights = {fold: card.weights_sha256 for fold, card in cards.items()}
    return OpenModel(cards[folds[0]], folds, weights, run, {})


def _named(members: Sequence[Member]) -> dict[str, Member]:
    """Members by fold; in sets of runs, whose folds are called alike, by run and fold."""
    counts = Counter(member.fold for member in members)
    names = [
        member.fold if counts[member.fold] == 1 else f"{member.path.parent.parent.name}/{member.fold}"
        for member in members
    ]
    return dict(zip(names, members, strict=True))


def _chosen(names: Sequence[str], wanted: Sequence[str]) -> list[str]:
    if not wanted:
        return list(names)
    chosen = []
    for fold in wanted:
        found = [name for name in names if fold in (name, name.removeprefix("fold_"))]
        if not found:
            raise UsageError(f"there is no fold '{fold}'", next_step=nearest(fold, names))
        chosen += found
    return chosen
