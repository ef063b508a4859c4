"""`Splits`: which image is used for what in which fold; a subject stands on one side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import polars as pl

from stroma.core.errors import InvalidData, UsageError, nearest
from stroma.core.provenance import Provenance
from stroma.core.tables import read_table, require_columns, write_table
from stroma.study.matching import read_any_table
from stroma.study.schema import ROLES, SPLITS_FORMAT, SPLITS_SCHEMA

KNOWN_SET = "validation_known"
"""Images of subjects that also train, of role extra: they tell how much is lost on new subjects."""
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

    @property
    def sets(self) -> tuple[str, ...]:
        """Names of the sets, in the order of their roles."""
        return tuple(self.table["set"].unique(maintain_order=True).to_list())

    def ids(self, name: str, fold: str | None = None) -> list[str]:
        """Ids of the images of a role or a set, in one fold or in any, sorted; see `images_of`.

        Raises:
            UsageError: there is no such role, set or fold.
        """
        if fold is not None and fold not in self.folds:
            raise UsageError(f"there is no '{fold}' in the splits", next_step=nearest(fold, self.folds))
        return images_of(self.table, name, fold)

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
        self._check_images(where)
        for outer, names in (
            self.table.group_by("outer", maintain_order=True).agg(pl.col("fold").unique()).iter_rows()
        ):
            tests = self.table.filter((pl.col("outer") == outer) & (pl.col("role") == "test"))
            lists = tests.group_by("fold").agg(pl.col("image_id").sort())["image_id"].to_list()
            if len(lists) not in (0, len(names)) or len({tuple(found) for found in lists}) > 1:
                raise InvalidData(
                    "the test images differ between folds",
                    where=where,
                    next_step="Number folds with test images of their own in the column 'outer'",
                )

    def _check_images(self, where: Path | str | None) -> None:
        """An image has one role in a fold; nothing tells an extra image from a training image but this."""
        twice = self.table.group_by("outer", "fold", "image_id").agg(pl.col("set").sort())
        twice = twice.filter(pl.col("set").list.len() > 1).sort("outer", "fold", "image_id")
        if len(twice):
            first = twice.row(0, named=True)
            raise InvalidData(
                f"the image '{first['image_id']}' is in {' and '.join(first['set'])} of {first['fold']}",
                where=where,
                next_step="Put each image into one set of a fold",
            )

    def save(self, path: Path, settings: Mapping[str, object] | None = None) -> Path:
        """Write the table as Parquet (format `splits/1`) and return the path."""
        return write_table(self.table, path, Provenance(SPLITS_FORMAT, dict(settings or {})))

    @classmethod
    def load(cls, path: Path, subjects: Mapping[str, str] | None = None) -> Self:
        """Read splits from Parquet, CSV, or a data specification of htc (JSON).

        A CSV needs `image_id` and `role`; without `fold` there is one fold, without `set` a set is its role.

        Args:
            path: The file.
            subjects: Image id → subject, for htc's files, which do not say which sets share subjects (default: the
                first part of the id).

        Raises:
            MissingFile: there is no such file.
            InvalidData: a column is missing or a role unknown.
        """
        if path.suffix.lower() == ".parquet":
            return cls.of(read_table(path, format=SPLITS_FORMAT), where=path)
        if path.suffix.lower() == ".json":
            from stroma.study.htc.specs import read_data_spec

            return cls(read_data_spec(path, subjects).splits.table)
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
        from stroma.study.config import SplitRule
        from stroma.study.split_schemes import draw_splits

        rule = SplitRule(
            folds=folds, seed=seed, test_subjects=tuple(test_subjects), test_fraction=test_fraction,
            validation_fraction=validation_fraction,
        )  # fmt: skip
        return cls(draw_splits(catalog, rule, annotations).table)

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


def images_of(table: pl.DataFrame, name: str, fold: str | None = None) -> list[str]:
    """Ids of the images of a role or a set, in one fold or in any, sorted.

    A role stands for all its sets, but for `test`: beside a set of this name, other test sets are hidden and only
    reached by their own names, so that nobody looks at them by the way.

    Args:
        table: Rows of `SPLITS_SCHEMA`.
        name: Role or set.
        fold: Name of a fold; None takes all.

    Raises:
        UsageError: there is no such role or set.
    """
    sets = table["set"].unique(maintain_order=True).to_list()
    if name not in (*ROLES, *sets):
        raise UsageError(
            f"there is no set '{name}' in the splits", next_step=nearest(name, dict.fromkeys([*ROLES, *sets]))
        )
    by_name = name in sets and (name not in ROLES or name == "test")
    rows = table.filter(pl.col("set" if by_name else "role") == name)
    if fold is not None:
        rows = rows.filter(pl.col("fold") == fold)
    return rows["image_id"].unique().sort().to_list()


def too_few(subjects: int, folds: int, tested: bool, key: str = "folds") -> UsageError:
    """Say how many folds the subjects that are left allow."""
    fewer = "or keep fewer subjects for the test" if tested else "or say more precisely whose the images are"
    if subjects < 2:
        return UsageError(
            f"{subjects} subject{'s' if subjects != 1 else ''} cannot be divided into train and validation",
            next_step=f"Add images of others, {fewer}",
        )
    return UsageError(
        f"{subjects} subjects allow {subjects} folds, {folds} are needed",
        next_step=f"Set {key} to {subjects}, {fewer}",
    )
