"""Subjects dealt out to parts that are alike: in number, in images, in labels, in label sets."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

from stroma.core.errors import UsageError, nearest

BALANCE, LABEL_SETS, NONE = "balance", "label-sets", "none"
"""How subjects are dealt out: parts alike in images and labels; iterative stratification; by their number only."""

_MOST_SWAPPED = 300  # more subjects than these are even enough by their number
_MOST_SWAPS = 200
Load = NDArray[np.float64]


def rank(seed: int, *names: object) -> str:
    """A key that orders things at random, the same everywhere and for ever."""
    return hashlib.sha256("\0".join([str(seed), *map(str, names)]).encode()).hexdigest()


def deal_subjects(
    catalog: pl.DataFrame,
    parts: int | Sequence[float],
    *,
    seed: int = 0,
    stratify: str = BALANCE,
    labels: pl.DataFrame | None = None,
) -> list[list[str]]:
    """Divide the subjects of a catalog into parts.

    Args:
        catalog: `image_id`, `subject_id`, and the column to stratify by, if any.
        parts: Number of equal parts, or the share of each (they sum to 1).
        seed: Another seed gives another division.
        stratify: `balance`, `label-sets`, `none`, or a column of the catalog, such as a diagnosis.
        labels: `image_id`, `label`: what is in the images.

    Returns:
        The subjects of each part; none is empty where there are as many subjects as parts.

    Raises:
        UsageError: there is no such column.
    """
    subjects = sorted(catalog["subject_id"].unique().to_list(), key=lambda name: rank(seed, name))
    shares = np.full(parts, 1 / parts) if isinstance(parts, int) else np.asarray(parts, dtype=np.float64)
    if stratify in (LABEL_SETS, BALANCE, NONE):
        groups = labels
    elif stratify in catalog.columns:
        column = pl.col(stratify).cast(pl.String).alias("label")
        groups = catalog.select("image_id", column).filter(pl.col("label").is_not_null())
    else:
        known = [BALANCE, LABEL_SETS, NONE, *catalog.columns]
        raise UsageError(f"splits cannot be stratified by '{stratify}'", next_step=nearest(stratify, known))
    if stratify == NONE or (stratify == BALANCE and not isinstance(parts, int)):
        part = _by_number(len(subjects), shares)
    elif stratify == BALANCE:
        part = _even(np.stack([_loads(catalog, groups)[name] for name in subjects]), len(shares))
    else:
        sets = _loads(catalog, groups)
        part = iterative_stratification(np.stack([sets[name] for name in subjects])[:, 1:] > 0, shares)
    return [[name for name, at in zip(subjects, part, strict=True) if at == i] for i in range(len(shares))]


def iterative_stratification(labels: NDArray[np.bool_], shares: Sequence[float] | Load) -> NDArray[np.int64]:
    """Divide things with sets of labels so that each label is spread in the wanted shares.

    The algorithm of Sechidis, Tsoumakas and Vlahavas (2011): the label that the fewest things that are left have is
    dealt out first, each thing to the part that wants most of it still, then to the one that wants most things. Ties
    go to the first in the given order, so that the order of the things stands for the random choice. A part that
    stays empty takes a thing from the largest.

    Args:
        labels: (n, L) whether a thing has a label.
        shares: (k,) wanted share of each part, summing to 1.

    Returns:
        (n,) the part of each thing, 0 to k - 1.
    """
    count = len(labels)
    wanted = np.asarray(shares, dtype=np.float64)
    things = wanted * count
    desired = wanted[:, None] * labels.sum(axis=0)
    part = np.full(count, -1, dtype=np.int64)
    while (left := part < 0).any():
        remaining = labels[left].sum(axis=0)
        if remaining.any():
            label = int(np.where(remaining > 0, remaining, count + 1).argmin())
            chosen = np.flatnonzero(left & labels[:, label])
        else:
            label, chosen = -1, np.flatnonzero(left)
        for thing in chosen:
            wants = desired[:, label] if label >= 0 else things
            best = np.flatnonzero(wants >= wants.max() - 1e-9)
            target = int(best[things[best].argmax()])
            part[thing] = target
            desired[target] -= labels[thing]
            things[target] -= 1
    for empty in np.flatnonzero(np.bincount(part, minlength=len(wanted)) == 0):
        sizes = np.bincount(part, minlength=len(wanted))
        if sizes.max() > 1:
            part[np.flatnonzero(part == sizes.argmax())[-1]] = empty
    return part


def _by_number(count: int, shares: Load) -> NDArray[np.int64]:
    """The given order cut into the shares; equal ones are dealt in turn."""
    if np.allclose(shares, shares[0]):
        return np.arange(count) % len(shares)
    sizes = [max(1, round(float(share) * count)) for share in shares[:-1]]
    return np.repeat(np.arange(len(shares)), [*sizes, max(0, count - sum(sizes))])[:count]


def _loads(catalog: pl.DataFrame, labels: pl.DataFrame | None) -> dict[str, Load]:
    """Subject → fractions of all images, and of the images of each label, that are its own."""
    tables = [catalog.select("image_id", "subject_id", pl.lit("").alias("label"))]
    if labels is not None:
        labelled = labels.filter(pl.col("label").is_not_null()).select("image_id", "label").unique()
        tables.append(
            labelled.join(catalog.select("image_id", "subject_id"), on="image_id").select(tables[0].columns)
        )
    counts = pl.concat(tables).group_by("subject_id", "label").len()
    columns = {label: i for i, label in enumerate(counts["label"].unique().sort().to_list())}
    loads = {subject: np.zeros(len(columns)) for subject in catalog["subject_id"].unique()}
    for subject, label, count in counts.iter_rows():
        loads[subject][columns[label]] = count
    total = sum(loads.values(), np.zeros(len(columns)))
    return {subject: load / total for subject, load in loads.items()}


def _even(load: Load, parts: int) -> NDArray[np.int64]:
    """Deal subjects out in turn, then swap pairs as long as that makes the parts more even.

    The sum over parts of their squared loads is what a swap has to lower; it is least when all are equal.
    """
    part = np.arange(len(load)) % parts
    sums = np.stack([load[part == i].sum(axis=0) for i in range(parts)])
    for _ in range(_MOST_SWAPS if len(load) <= _MOST_SWAPPED else 0):
        best, pair = -1e-9, None
        for i in range(len(load)):
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
    return part
