"""How the images of a study are divided into train, validation and test: what the section `splits` says, done."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from stroma.core.errors import ConfigError
from stroma.study.splits import Splits

if TYPE_CHECKING:
    from stroma.study.study import Study


def divide(study: Study) -> Splits:
    """Divide the images of a study as its `study.yaml` says; see `Study.splits`."""
    rule = study.config.splits
    if rule is None:
        raise ConfigError(
            "the study does not say how to divide its images",
            where=study.path,
            next_step="Add 'splits: {folds: 5}' to it",
        )
    if rule.source == "file":
        file = study.path.parent / str(rule.file)
        splits = Splits.load(file)
        if study.where is not None:
            splits = Splits(splits.table.filter(pl.col("image_id").is_in(list(study))))
        splits.check(study.catalog, where=file)
        return splits
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
    known = (
        present if study.where is not None else present | (set(rule.test_subjects) - set(study.catalog["subject_id"]))
    )
    return Splits.by_subject(
        drawn,
        folds=rule.folds,
        seed=rule.seed,
        test_subjects=[name for name in rule.test_subjects if name in known],
        test_fraction=rule.test_fraction,
        validation_fraction=rule.validation_fraction,
        annotations=study.annotations,
    )
