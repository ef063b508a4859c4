"""The labels of a study: proposed by its files, taken from a table, or named by the user of `stroma init`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from stroma.core.config import build
from stroma.core.errors import UsageError
from stroma.prepare.init_tables import FoundTable
from stroma.study.config import StudyConfig
from stroma.study.labels import IGNORE, LabelMapping
from stroma.study.layouts.drawn import UNCLASSIFIED
from stroma.study.layouts.layout import Proposal, image_counts
from stroma.study.tables import Tables

_OUR_NAMES = ("foreground", UNCLASSIFIED)
"""Names of classes that no file gave."""


def with_image_labels(proposal: Proposal, table: FoundTable | None, tables: Tables, config: StudyConfig) -> Proposal:
    """The proposal with the labels of whole images that a table gives."""
    if config.label_column is None or table is None or not table.labels:
        return proposal
    counts = image_counts(tables.annotations, table.labels)
    notes = (f"'{config.label_column}' of {table.path.name} is the label of each whole image",)
    return replace(proposal, labels=LabelMapping.of(table.labels), counts=counts, notes=(*proposal.notes, *notes))


def with_names(proposal: Proposal, scan: Tables, names: str | None) -> Proposal:
    """The proposal with the labels that the user gave."""
    if names is None:
        return proposal
    if names.endswith((".yaml", ".yml")):
        labels = LabelMapping.load(Path(names))
        return replace(proposal, labels=labels, outside=_kept(proposal.outside, labels), notes=("labels as given",))
    wanted = [name.strip() for name in names.split(",") if name.strip()]
    ignore = (IGNORE,) if proposal.labels is None else proposal.labels.ignore
    labels = build(LabelMapping, {"names": wanted, "ignore": ignore}, where="--labels")
    found = scan.annotations["label"].drop_nulls().unique().sort().to_list()
    if found or proposal.labels is None:
        unknown = [name for name in found if name not in wanted and name not in ignore]
        if proposal.labels is not None and set(found) <= set(_OUR_NAMES) and len(wanted) == len(proposal.labels):
            return _renamed(proposal, proposal.labels, found, wanted)
        if unknown:
            raise UsageError(
                f"--labels lacks {', '.join(unknown)}, which the annotations have",
                next_step="Name all, or give a labels.yaml with 'aliases' and 'ignore'",
            )
        counts = {name: proposal.counts.get(name, 0) for name in wanted}
        return replace(proposal, labels=labels, counts=counts, outside=_kept(proposal.outside, labels))
    old = proposal.labels
    if len(old) != len(wanted):
        raise UsageError(
            f"--labels has {len(wanted)} names, the masks have {len(old)} classes ({', '.join(old.names)})",
            next_step="Give one name for each, in this order, or a labels.yaml",
        )
    new = dict(zip(old.names, wanted, strict=True))
    labels = LabelMapping(
        names=tuple(wanted),
        colours={new[name]: colour for name, colour in old.colours.items()},
        sources={value: new[name] for value, name in old.sources.items()},
        ignore=old.ignore,
    )
    return replace(proposal, labels=labels, counts={new[name]: count for name, count in proposal.counts.items()})


def _renamed(proposal: Proposal, old: LabelMapping, found: Sequence[str], wanted: Sequence[str]) -> Proposal:
    """The proposal with other names for classes that had only the ones we gave them."""
    new = dict(zip(old.names, wanted, strict=True))
    aliases = {name: new[name] for name in found if new[name] != name}
    labels = LabelMapping.of(wanted, aliases=aliases, ignore=old.ignore)
    counts = {new.get(name, name): count for name, count in proposal.counts.items()}
    return replace(proposal, labels=labels, counts=counts, outside=new.get(str(proposal.outside)))


def _kept(outside: str | None, labels: LabelMapping) -> str | None:
    return outside if outside in labels.names else None
