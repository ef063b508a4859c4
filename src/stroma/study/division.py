"""How the images of a study are divided into train, validation and test: what the section `splits` says, done."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from stroma.core.clock import stage
from stroma.core.errors import ConfigError, MissingFile
from stroma.study.config import SplitRule
from stroma.study.labels import IGNORE
from stroma.study.split_schemes import draw_splits
from stroma.study.splits import Splits
from stroma.study.stratify import LABEL_SETS

if TYPE_CHECKING:
    from stroma.study.study import Study


def divide(study: Study, rule: SplitRule | None = None) -> Splits:
    """Divide the images of a study as a rule says, by default that of its `study.yaml`; see `Study.splits`."""
    rule = rule or study.config.splits
    if rule is None:
        raise ConfigError(
            "the study does not say how to divide its images",
            where=study.path,
            next_step="Add 'splits: {folds: 5}' to it",
        )
    if rule.source == "file":
        return splits_from_file(study, study.path.parent / str(rule.file))
    if rule.source == "column":
        return Splits.from_column(
            study.catalog,
            str(rule.column),
            folds=rule.folds,
            seed=rule.seed,
            validation_fraction=rule.validation_fraction,
        )
    drawn = study.catalog.filter(pl.col("image_id").is_in(study.annotated() or list(study)))
    present = set(drawn["subject_id"])
    known = present if study.where is not None else present | _outside(rule, set(study.catalog["subject_id"]))
    here = {key: tuple(n for n in getattr(rule, key) if n in known) for key in ("test_subjects", "hidden_subjects")}
    return draw_splits(
        drawn,
        rule.model_copy(update=here),
        image_labels(study, drawn["image_id"].to_list(), read=rule.stratify == LABEL_SETS),
    )


def _outside(rule: SplitRule, subjects: set[str]) -> set[str]:
    """Subjects that the rule names and the study lacks: these are errors, unlike those without annotation."""
    return {*rule.test_subjects, *rule.hidden_subjects} - subjects


def splits_from_file(study: Study, file: Path) -> Splits:
    """Read a division of a study, or one outer fold from each file of a pattern with `*`, and check it.

    Raises:
        StromaError: as `Splits.load` and `Splits.check`.
    """
    subjects = dict(study.catalog.select("image_id", "subject_id").iter_rows())
    splits = load_outer(file, subjects) if "*" in file.name else Splits.load(file, subjects)
    if study.where is not None:
        splits = Splits(splits.table.filter(pl.col("image_id").is_in(list(study))))
    splits.check(study.catalog, where=file)
    return splits


def load_outer(pattern: Path, subjects: Mapping[str, str] | None = None) -> Splits:
    """Read splits of one outer fold each from the files that a pattern names, in the order of their names.

    Raises:
        MissingFile: there is none.
    """
    files = sorted(pattern.parent.glob(pattern.name))
    if not files:
        raise MissingFile("no file has such a name", where=pattern)
    tables = [Splits.load(file, subjects).table for file in files]
    width = len(str(len(files) - 1))
    return Splits.of(
        pl.concat(
            table.with_columns(
                outer=pl.lit(outer, pl.Int64), fold=pl.format("outer_{}_{}", pl.lit(f"{outer:0{width}d}"), "fold")
            )
            for outer, table in enumerate(tables)
        ),
        where=pattern,
    )


def image_labels(study: Study, image_ids: Sequence[str], *, read: bool) -> pl.DataFrame:
    """Which labels are in which images.

    Args:
        study: The study.
        image_ids: Images whose masks may be read.
        read: Read masks where the names of the files do not say what is in them.

    Returns:
        Columns `image_id`, `label`, one row each.
    """
    rows = study.annotations.select("image_id", "label")
    named = rows.filter(pl.col("label").is_not_null())
    if not read or len(named) == len(rows) or study.config.labels is None:
        return named.unique(maintain_order=True)
    annotated = set(study.annotated())
    return _labels_in_masks(study, [image_id for image_id in image_ids if image_id in annotated])


def _labels_in_masks(study: Study, image_ids: Sequence[str]) -> pl.DataFrame:
    found = []
    for image_id in image_ids:
        with stage("read"):
            indices = np.unique(study.mask(image_id))
        found += [(image_id, study.labels.names[i]) for i in indices if i != IGNORE]
    return pl.DataFrame(found, schema={"image_id": pl.String, "label": pl.String}, orient="row")
