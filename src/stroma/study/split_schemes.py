"""Ways to divide a study: folds, one subject left out, nested folds, series of training sizes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

import polars as pl

from stroma.core.errors import UsageError, nearest
from stroma.core.files import id_to_name
from stroma.study.config import SplitRule
from stroma.study.splits import KNOWN_SET, Splits, too_few
from stroma.study.stratify import deal_subjects, rank

_Fold = tuple[int, str, Mapping[str, str]]
"""Outer fold, name, and the role of each subject; subjects without one are in no set of the fold."""


def draw_splits(catalog: pl.DataFrame, rule: SplitRule, labels: pl.DataFrame | None = None) -> Splits:
    """Divide the images of a catalog by subject, as a rule says.

    Args:
        catalog: `image_id`, `subject_id`, and the column to stratify by, if any.
        rule: Scheme, number of folds, seed, test and hidden subjects.
        labels: `image_id`, `label`: what is in the images.

    Raises:
        UsageError: fewer subjects than the folds need, or unknown subjects.
    """
    subjects = catalog["subject_id"].unique().sort().to_list()
    for name in (*rule.test_subjects, *rule.hidden_subjects):
        if name not in subjects:
            raise UsageError(f"there is no subject '{name}'", next_step=nearest(name, subjects))
    open_to_all = catalog.filter(~pl.col("subject_id").is_in(list(rule.hidden_subjects)))
    schemes = {"folds": _folds, "leave-one-out": _leave_one_out, "nested": _nested, "sizes": _sizes}
    folds = list(schemes[rule.scheme](open_to_all, rule, labels))
    rows = [(outer, fold, role, subject) for outer, fold, roles in folds for subject, role in roles.items()]
    assigned = pl.DataFrame(rows, schema=["outer", "fold", "role", "subject_id"], orient="row")
    table = assigned.join(catalog.select("image_id", "subject_id"), on="subject_id").with_columns(set="role")
    if rule.known_images:
        table = _with_known(table, rule)
    if rule.hidden_subjects:
        table = pl.concat([table, *_hidden(table, catalog, rule)])
    return Splits.of(table.drop("subject_id"))


def _folds(catalog: pl.DataFrame, rule: SplitRule, labels: pl.DataFrame | None) -> Iterator[_Fold]:
    """Each part of the subjects validates once; one fold is a single division."""
    test, rest = _test_subjects(catalog, rule, labels)
    yield from _cross_validation(rest, test, rule, labels)


def _cross_validation(
    rest: pl.DataFrame,
    test: Sequence[str],
    rule: SplitRule,
    labels: pl.DataFrame | None,
    outer: int = 0,
    prefix: str = "",
) -> Iterator[_Fold]:
    subjects = rest["subject_id"].unique().sort().to_list()
    if len(subjects) < max(2, rule.folds):
        raise too_few(len(subjects), rule.folds, bool(test))
    shares: int | list[float] = rule.folds
    if rule.folds == 1:
        count = min(len(subjects) - 1, max(1, round(rule.validation_fraction * len(subjects))))
        shares = [count / len(subjects), 1 - count / len(subjects)]
    parts = deal_subjects(rest, shares, seed=rule.seed, stratify=rule.stratify, labels=labels)
    width = len(str(rule.folds - 1))
    for i, part in enumerate(parts[: rule.folds]):
        roles = {name: "validation" if name in set(part) else "train" for name in subjects}
        yield outer, f"{prefix}fold_{i:0{width}d}", roles | dict.fromkeys(test, "test")


def _leave_one_out(catalog: pl.DataFrame, rule: SplitRule, labels: pl.DataFrame | None) -> Iterator[_Fold]:
    """One fold a subject, named after the one that validates."""
    test, rest = _test_subjects(catalog, rule, labels)
    subjects = rest["subject_id"].unique().sort().to_list()
    if len(subjects) < 2:
        raise too_few(len(subjects), 2, bool(test))
    for one in subjects:
        roles = {name: "validation" if name == one else "train" for name in subjects}
        yield 0, f"fold_{id_to_name(one)}", roles | dict.fromkeys(test, "test")


def _nested(catalog: pl.DataFrame, rule: SplitRule, labels: pl.DataFrame | None) -> Iterator[_Fold]:
    """Every subject is tested in one outer fold; the others are divided into the inner folds of that one."""
    if rule.test_subjects or rule.test_fraction:
        raise UsageError(
            "nested folds test every subject once, so none can be kept aside",
            next_step="Leave out test_subjects and test_fraction, or keep subjects aside as hidden_subjects",
        )
    count = catalog["subject_id"].n_unique()
    if count < rule.outer_folds:
        raise too_few(count, rule.outer_folds, False, key="outer_folds")
    parts = deal_subjects(catalog, rule.outer_folds, seed=rule.seed, stratify=rule.stratify, labels=labels)
    width = len(str(rule.outer_folds - 1))
    for outer, test in enumerate(parts):
        rest = catalog.filter(~pl.col("subject_id").is_in(test))
        yield from _cross_validation(rest, sorted(test), rule, labels, outer, f"outer_{outer:0{width}d}_")


def _sizes(catalog: pl.DataFrame, rule: SplitRule, labels: pl.DataFrame | None) -> Iterator[_Fold]:
    """Training sets of growing numbers of subjects, drawn several times; the same subjects validate in all."""
    test, rest = _test_subjects(catalog, rule, labels)
    _, _, roles = next(_cross_validation(rest, test, rule.model_copy(update={"folds": 1}), labels))
    pool = [name for name, role in roles.items() if role == "train"]
    fixed = {name: role for name, role in roles.items() if role != "train"}
    sizes = rule.sizes or tuple(range(1, len(pool) + 1))
    if max(sizes) > len(pool):
        raise UsageError(
            f"{max(sizes)} subjects cannot train, {len(pool)} are left for it",
            next_step=f"Set sizes to numbers from 1 to {len(pool)}",
        )
    width = len(str(max(sizes)))
    for size in sorted(set(sizes)):
        drawn: list[tuple[str, ...]] = []
        attempt = 0
        while len(drawn) < min(rule.repetitions, math.comb(len(pool), size)):
            order = sorted(pool, key=lambda name, a=attempt: rank(rule.seed, size, a, name))  # type: ignore[misc]
            attempt += 1
            chosen = tuple(sorted(order[:size]))
            if chosen in drawn:
                continue
            yield 0, f"subjects_{size:0{width}d}_draw_{len(drawn)}", dict.fromkeys(chosen, "train") | fixed
            drawn.append(chosen)


def _test_subjects(
    catalog: pl.DataFrame, rule: SplitRule, labels: pl.DataFrame | None
) -> tuple[list[str], pl.DataFrame]:
    """Subjects that every fold keeps aside, and the images of the others."""
    test = list(rule.test_subjects)
    if rule.test_fraction:
        count = catalog["subject_id"].n_unique()
        share = max(1, round(rule.test_fraction * count)) / count
        test = deal_subjects(catalog, [share, 1 - share], seed=rule.seed, stratify=rule.stratify, labels=labels)[0]
    return sorted(test), catalog.filter(~pl.col("subject_id").is_in(test))


def _with_known(table: pl.DataFrame, rule: SplitRule) -> pl.DataFrame:
    """Take images of each training subject, as long as it keeps one, out of training as a set of role extra."""
    order = [rank(rule.seed, fold, image) for fold, image in table.select("fold", "image_id").iter_rows()]
    place = pl.col("_order").rank("ordinal").over("fold", "subject_id", "role")
    taken = (pl.col("role") == "train") & (place <= rule.known_images) & (place < pl.len().over("fold", "subject_id"))
    moved = table.with_columns(pl.Series("_order", order)).with_columns(_taken=taken).drop("_order")
    return moved.with_columns(
        role=pl.when("_taken").then(pl.lit("extra")).otherwise("role"),
        set=pl.when("_taken").then(pl.lit(KNOWN_SET)).otherwise("set"),
    ).drop("_taken")


def _hidden(table: pl.DataFrame, catalog: pl.DataFrame, rule: SplitRule) -> Iterator[pl.DataFrame]:
    """The hidden subjects, in every fold a test set of its own."""
    images = catalog.filter(pl.col("subject_id").is_in(list(rule.hidden_subjects))).select("image_id", "subject_id")
    for outer, fold in table.select("outer", "fold").unique(maintain_order=True).iter_rows():
        added = images.with_columns(
            outer=pl.lit(outer, pl.Int64), fold=pl.lit(fold), role=pl.lit("test"), set=pl.lit("test_hidden")
        )
        yield added.select(table.columns)
