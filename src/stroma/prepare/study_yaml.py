"""The text of a `study.yaml` that `stroma init` writes: complete, and explained where people will edit it."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from typing import Any

from stroma.core.config import dump_yaml
from stroma.prepare.init_subjects import describe_rule
from stroma.study.layouts.layout import Proposal, Recognition
from stroma.study.study import Study

_HEAD = """\
# A study: which images there are, whose they are, what is marked in them, how they are divided.
# Written by `stroma init`. Edit it as you like; the images themselves are never changed.
"""


def study_yaml(study: Study, recognition: Recognition, proposal: Proposal) -> str:
    """Write the configuration of a study as commented YAML.

    Args:
        study: With its tables.
        recognition: Why the layout was chosen.
        proposal: What was found and assumed about the labels.
    """
    config = study.config
    layout: object = {"name": config.layout.name, **config.layout.parameters}
    rule = {key: value for key, value in config.subjects.model_dump().items() if value is not None}
    parts = [
        _section("", format=config.format, name=config.name),
        _section("Folder with the images, relative to this file or absolute.", root=config.root),
        _section(f"Recognised by {recognition.reason}.", layout=layout),
        _section(_about_subjects(study), subjects=rule),
    ]
    if config.table is not None:
        more = {"unlisted": config.unlisted} if config.unlisted != "keep" else {}
        about = "Metadata, one row an image, slide or case" + ("; other images are left out." if more else ".")
        parts.append(_section(about, table=config.table, **more))
    if config.label_column is not None:
        parts.append(_section("Column with a label of each whole image.", label_column=config.label_column))
    if config.open:
        parts.append(_section("How images are opened.", open=dict(config.open)))
    if config.labels is not None:
        parts.append(_section(f"{'; '.join(proposal.notes) or 'The classes'}.", labels=config.labels.plain()))
    if config.outside is not None:
        parts.append(_section("Label of pixels in no mask or outline of their image.", outside=config.outside))
    if config.overlap != "ignore":
        about = "Pixels in outlines of several labels: last (drawn last), ignore (not annotated) or error."
        parts.append(_section(about, overlap=config.overlap))
    if config.layer is not None:
        parts.append(_section("Which annotations make the masks.", layer=config.layer))
    if config.annotators:
        about = "An image is judged by the first of these who annotated it; annotators are never merged."
        parts.append(_section(about, annotators=list(config.annotators)))
    if config.splits is not None:
        parts.append(_section(_about_splits(study), splits=_split_rule(study)))
    return _HEAD + "".join(parts)


def _section(comment: str, **values: object) -> str:
    lines = textwrap.wrap(comment, 98, break_long_words=False, break_on_hyphens=False)
    return "\n" + "".join(f"# {line}\n" for line in lines) + dump_yaml(values)


def _about_subjects(study: Study) -> str:
    if study.subject_known:
        return f"Whose the images are: {study.describe_subjects()}, from {describe_rule(study.config.subjects)}."
    return (
        "Whose the images are is not known: each image counts as its own subject, so results look more certain than "
        "they are if several images show one patient. Rules: column, path-level, regex, tcga, table, none."
    )


def _about_splits(study: Study) -> str:
    rule = study.config.splits
    if rule is not None and rule.source == "column":
        return "The division that the data came with."
    return "All images of a subject stand on one side. Keep a test set aside with test_subjects or test_fraction."


def _split_rule(study: Study) -> Mapping[str, Any]:
    rule = study.config.splits
    return {} if rule is None else rule.model_dump(by_alias=True, exclude_unset=True)
