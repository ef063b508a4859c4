"""`Splits`: which image is used for what in which fold; a subject stands on one side."""

from __future__ import annotations

import hashlib
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import polars as pl
from numpy.typing import NDArray

from stroma.core.errors import InvalidData, UsageError, nearest
from stroma.core.provenance import Provenance
from stroma.core.tables import read_table, require_columns, write_table
from stroma.study.matching import read_any_table
from stroma.study.schema import ROLES, SPLITS_FORMAT, SPLITS_SCHEMA

_MOST_SWAPPED = 300  # more subjects than these are even enough by their number
_MOST_SWAPS = 200
_Load = NDArray[np.float64]
_ROLE_NAMES = {
    "val": "validation",
    "valid": "validation",
    "dev": "validation",
    "training": "train",
    "testing": "test",
}


@dataclass(frozen=True)
class Splits:
    """Which image is used for what in which fold.

    Attributes:
        table: `SPLITS_SCHEMA`, sorted. Every fold lists its own train, validation and test images; the test
            images are the same in all folds. `set` is the name of a set in figures, by default its role.
    """

    table: pl.DataFrame

    @property
    def folds(self) -> tuple[str, ...]:
        """Names of the folds, in order."""
        return tuple(self.table["fold"].unique(maintain_order=True).to_list())

    def ids(self, role: str, fold: str | None = None) -> list[str]:
        """Ids of the images of a role, in one fold or in any, sorted.

        Raises:
            UsageError: there is no such role or fold.
        """
        for name, known in ((role, ROLES), (fold, self.folds)):
            if name is not None and name not in known:
                raise UsageError(f"there is no '{name}' in the splits", next_step=nearest(name, known))
        rows = self.table.filter(pl.col("role") == role)
        if fold is not None:
            rows = rows.filter(pl.col("fold") == fold)
        return rows["image_id"].unique().sort().to_list()

    def check(self, catalog: pl.DataFrame, *, where: Path | str | None = None) -> None:
        """Check that the splits fit a catalog and that no subject stands on two sides of a fold.

        Raises:
            InvalidData: an unknown image, an image or a subject with two roles in a fold (`extra` sets may
                share subjects), or test images that differ between folds.
        """
        unknown = self.table.join(catalog, on="image_id", how="anti")["image_id"].to_list()
        if unknown:
            raise InvalidData(
                f"the splits name '{unknown[0]}', which is no image of the study ({len(unknown)} such rows)",
                where=where,
                next_step=nearest(unknown[0], catalog["image_id"].to_list()[:20_000]),
            )
        rows = self.table.join(catalog.select("image_id", "subject_id"), on="image_id")
        sides = (
            rows.filter(pl.col("role") != "extra")
            .group_by("outer", "fold", "subject_id")
            .agg(pl.col("role").unique().sort(), pl.col("image_id").sort())
            .filter(pl.col("role").list.len() > 1)
            .sort("outer", "fold", "subject_id")
        )
        if len(sides):
            first = sides.row(0, named=True)
            raise InvalidData(
                f"the subject '{first['subject_id']}' is in {' and '.join(first['role'])} of {first['fold']} "
                f"(images {', '.join(first['image_id'][:3])}; {sides['subject_id'].n_unique()} subjects in all)",
                where=where,
                next_step="Put all images of a subject on one side",
            )
        tests = (
            {tuple(self.ids("test", fold)) for fold in self.folds} if self.table["outer"].n_unique() == 1 else set()
        )
        if len(tests) > 1:
            raise InvalidData("the test images differ between folds", where=where)

    def save(self, path: Path, settings: Mapping[str, object] | None = None) -> Path:
        """Write the table as Parquet (format `splits/1`) and return the path."""
        return write_table(self.table, path, Provenance(SPLITS_FORMAT, dict(settings or {})))

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read splits from Parquet, CSV, or a data specification of htc (JSON).

        A CSV needs `image_id` and `role`; without `fold` there is one fold, without `set` a set is its role.

        Raises:
            MissingFile: there is no such file.
            InvalidData: a column is missing or a role unknown.
        """
        if path.suffix.lower() == ".parquet":
            return cls.of(read_table(path, format=SPLITS_FORMAT), where=path)
        if path.suffix.lower() == ".json":
            from stroma.study.htc.specs import read_data_spec

            return cls(read_data_spec(path).splits.table)
        return cls.of(read_any_table(path), where=path)

    @classmethod
    def of(cls, table: pl.DataFrame, *, where: Path | str = "splits") -> Self:
        """Splits from a table with at least `image_id` and `role`.

        Raises:
            InvalidData: a column is missing, a role unknown, or an image twice in a fold.
        """
        require_columns(table, ["image_id", "role"], where=where)
        roles = [_ROLE_NAMES.get(str(role).lower(), str(role).lower()) for role in table["role"]]
        unknown = next((role for role in roles if role not in ROLES), None)
        if unknown is not None:
            raise InvalidData(f"has the unknown role '{unknown}'", where=where, next_step=nearest(unknown, ROLES))
        table = table.with_columns(pl.Series("role", roles, pl.String))
        defaults = {"outer": pl.lit(0), "fold": pl.lit("fold_0"), "set": pl.col("role")}
        table = table.with_columns(**{name: value for name, value in defaults.items() if name not in table.columns})
        table = table.select(pl.col(name).cast(kind) for name, kind in SPLITS_SCHEMA.items())
        order = pl.col("role").replace_strict({role: i for i, role in enumerate(ROLES)}, return_dtype=pl.Int64)
        table = table.sort(["outer", "fold", order, "set", "image_id"])
        twice = table.filter(pl.struct("outer", "fold", "set", "image_id").is_duplicated())
        if len(twice):
            first = twice.row(0, named=True)
            raise InvalidData(f"has the image '{first['image_id']}' twice in {first['fold']}", where=where)
        return cls(table)

    @classmethod
    def by_subject(
        cls,
        catalog: pl.DataFrame,
        *,
        folds: int = 5,
        seed: int = 0,
        test_subjects: Sequence[str] = (),
        test_fraction: float = 0.0,
        validation_fraction: float = 0.2,
        annotations: pl.DataFrame | None = None,
    ) -> Self:
        """Divide the images of a catalog into folds, all images of a subject together.

        Subjects are put in an order by a hash of the seed and their name, so that the division depends on
        nothing else, and dealt out so that folds are alike in subjects (their numbers differ by one at most), in
        images and, with `annotations`, in labels.

        Args:
            catalog: `image_id`, `subject_id`.
            folds: Number of folds; in each, one part of the subjects validates. 1 divides once.
            seed: Another seed gives another division.
            test_subjects: Subjects kept aside in every fold.
            test_fraction: Fraction of the subjects kept aside instead, 0-1; at least one if it is not 0.
            validation_fraction: With one fold, the fraction of the other subjects that validate.
            annotations: Annotations table; its labels are spread evenly over the folds too.

        Raises:
            UsageError: fewer subjects than the folds need, or unknown test subjects.
        """
        subjects = sorted(catalog["subject_id"].unique().to_list(), key=lambda name: _rank(seed, name))
        unknown = [name for name in test_subjects if name not in subjects]
        if unknown:
            raise UsageError(f"there is no subject '{unknown[0]}'", next_step=nearest(unknown[0], subjects))
        loads = _loads(catalog, annotations)
        test = list(test_subjects)
        if test_fraction:
            test = subjects[: max(1, round(test_fraction * len(subjects)))]
        rest = [name for name in subjects if name not in test]
        if len(rest) < max(2, folds):
            raise _too_few(len(rest), folds, bool(test))
        if folds == 1:
            count = min(len(rest) - 1, max(1, round(validation_fraction * len(rest))))
            parts = [rest[:count]]
        else:
            parts = _deal(rest, loads, folds)
        width, aside = len(str(folds - 1)), set(test)
        rows = [
            (f"fold_{i:0{width}d}", _role(name, aside, part), name)
            for i, part in enumerate(map(set, parts))
            for name in subjects
        ]
        assigned = pl.DataFrame(rows, schema=["fold", "role", "subject_id"], orient="row")
        return cls.of(assigned.join(catalog.select("image_id", "subject_id"), on="subject_id").drop("subject_id"))

    @classmethod
    def from_column(
        cls, catalog: pl.DataFrame, column: str, *, folds: int = 5, seed: int = 0, validation_fraction: float = 0.2
    ) -> Self:
        """Take the division that the data came with.

        Args:
            catalog: With `column`, whose values are train, validation (val, valid) and test; images without
                a value are left out.
            column: Name of the column.
            folds: Where there is no validation part: folds that the train part is divided into by subject.
            seed: For that division.
            validation_fraction: For that division, with one fold.

        Raises:
            UsageError: there is no such column.
            InvalidData: another value, or a subject on two sides.
        """
        if column not in catalog.columns:
            raise UsageError(f"the catalog has no column '{column}'", next_step=nearest(column, catalog.columns))
        given = catalog.filter(pl.col(column).is_not_null()).with_columns(pl.col(column).alias("role"))
        splits = cls.of(given.select("image_id", "role"), where=f"column '{column}'")
        splits.check(catalog, where=f"column '{column}'")
        if not splits.ids("validation"):
            train = catalog.join(pl.DataFrame({"image_id": splits.ids("train")}), on="image_id")
            inner = cls.by_subject(train, folds=folds, seed=seed, validation_fraction=validation_fraction)
            test = splits.table.filter(pl.col("role") != "train")
            repeated = [test.with_columns(pl.lit(fold).alias("fold")) for fold in inner.folds]
            splits = cls.of(pl.concat([inner.table, *repeated]))
        return splits


def _too_few(subjects: int, folds: int, tested: bool) -> UsageError:
    """Say how many folds the subjects that are left allow."""
    fewer = "or keep fewer subjects for the test" if tested else "or say more precisely whose the images are"
    if subjects < 2:
        return UsageError(
            f"{subjects} subject{'s' if subjects != 1 else ''} cannot be divided into train and validation",
            next_step=f"Add images of others, {fewer}",
        )
    return UsageError(
        f"{subjects} subjects allow {subjects} folds, {folds} are needed",
        next_step=f"Set folds to {subjects}, {fewer}",
    )


def _rank(seed: int, subject: str) -> str:
    """A key that orders subjects at random, the same everywhere and for ever."""
    return hashlib.sha256(f"{seed}\0{subject}".encode()).hexdigest()


def _role(subject: str, test: Container[str], validation: Container[str]) -> str:
    if subject in test:
        return "test"
    return "validation" if subject in validation else "train"


def _loads(catalog: pl.DataFrame, annotations: pl.DataFrame | None) -> dict[str, _Load]:
    """Subject → fractions of all images, and of the images of each label, that are its own."""
    tables = [catalog.select("image_id", "subject_id", pl.lit("").alias("label"))]
    if annotations is not None:
        labelled = annotations.filter(pl.col("label").is_not_null()).select("image_id", "label").unique()
        tables.append(
            labelled.join(catalog.select("image_id", "subject_id"), on="image_id").select(tables[0].columns)
        )
    counts = pl.concat(tables).group_by("subject_id", "label").len()
    labels = {label: i for i, label in enumerate(counts["label"].unique().sort().to_list())}
    loads = {subject: np.zeros(len(labels)) for subject in catalog["subject_id"].unique()}
    for subject, label, count in counts.iter_rows():
        loads[subject][labels[label]] = count
    total = sum(loads.values(), np.zeros(len(labels)))
    return {subject: load / total for subject, load in loads.items()}


def _deal(subjects: Sequence[str], loads: Mapping[str, _Load], parts: int) -> list[list[str]]:
    """Deal subjects out in turn, then swap pairs as long as that makes the parts more even.

    The sum over parts of their squared loads is what a swap has to lower; it is least when all are equal.
    """
    load = np.stack([loads[name] for name in subjects])
    part = np.arange(len(subjects)) % parts
    sums = np.stack([load[part == i].sum(axis=0) for i in range(parts)])
    for _ in range(_MOST_SWAPS if len(subjects) <= _MOST_SWAPPED else 0):
        best, pair = -1e-9, None
        for i in range(len(subjects)):
            difference = load - load[i]
            gain = 2 * ((sums[part[i]] - sums[part]) * difference + difference**2).sum(axis=1)
            gain[part == part[i]] = 0
            if gain.min() < best:
                best, pair = float(gain.min()), (i, int(gain.argmin()))
        if pair is None:
            break
        i, j = pair
        sums[part[i]] += load[j] - load[i]
        sums[part[j]] += load[i] - load[j]
        part[i], part[j] = part[j], part[i]
    return [[name for name, at in zip(subjects, part, strict=True) if at == i] for i in range(parts)]
