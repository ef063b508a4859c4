"""What is wrong between the images of a study: duplicates, outliers of size, scale and colour, missing classes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

from stroma.core.errors import StromaError
from stroma.prepare.check_image import Finding
from stroma.study.schema import ROLES
from stroma.study.study import Study

OUTLIER_Z = 5.0
"""Modified z-score from which a colour is an outlier. Iglewicz and Hoaglin (1993) propose 3.5 for normal values."""
ALIKE_BITS = 24
"""Bits, of 256, by which difference hashes of one picture, scaled and compressed, differ at most.

Tiles at half their size and JPEG quality 50 differed by 19 bits at most, other tiles by 42 at least.
"""
MPP_TOLERANCE = 0.1
"""Fraction by which an image's pixels may be larger or smaller than those of most images."""
LABELS_SCHEMA: dict[str, pl.DataType] = {"image_id": pl.String(), "label": pl.String(), "pixels": pl.Int64()}
"""One row an image and class that its annotations mark; null pixels for a label of the whole image."""

_FEWEST = 8  # images from which what most of them have says something
_MAJORITY = 0.8
_LEAST_SPREAD = 0.005
_MOST_COMPARED = 20_000
_BLOCK = 512


def find_between(facts: pl.DataFrame, labels: pl.DataFrame) -> list[Finding]:
    """Compare the images of a study.

    Args:
        facts: Columns of `FACTS_SCHEMA`, one row an image.
        labels: Columns of `LABELS_SCHEMA`.
    """
    return [
        *find_duplicates(facts, labels),
        *find_lookalikes(facts),
        *find_odd_formats(facts),
        *find_odd_scales(facts),
        *find_odd_colours(facts, labels),
    ]


def find_duplicates(facts: pl.DataFrame, labels: pl.DataFrame) -> Iterator[Finding]:
    """Images with the same pixels: an error across subjects, for they would stand on two sides of a split."""
    read = facts.filter(pl.col("content").is_not_null() & ~pl.col("blank"))
    classes = labels.filter(pl.col("pixels").is_null()).group_by("image_id").agg(pl.col("label").sort())
    of = dict(classes.iter_rows())
    for _, group in read.group_by("content", maintain_order=True):
        rows = group.sort("image_id").select("image_id", "subject_id", "path").rows()
        for image_id, subject, path in rows if len(rows) > 1 else []:
            others = [row for row in rows if row[0] != image_id]
            foreign = [row for row in others if row[1] != subject]
            other = (foreign or others)[0]
            text = f"has the same pixels as {other[2]}"
            text += f" of another subject, '{other[1]}'" if foreign else " of the same subject"
            text += f" (and as {len(others) - 1} more)" if len(others) > 1 else ""
            if any(of.get(row[0]) != of.get(image_id) for row in others):
                text += ", under another label"
            yield Finding(image_id, "error" if foreign else "warning", "duplicate", path, text)


def find_lookalikes(facts: pl.DataFrame) -> Iterator[Finding]:
    """Pictures of different subjects that look the same, though their pixels differ: scaled or compressed copies."""
    known = facts.filter(pl.col("alike").is_not_null()).sort("image_id")
    if not 1 < len(known) <= _MOST_COMPARED:
        return
    words = np.stack([np.frombuffer(bytes.fromhex(text), dtype=np.uint64) for text in known["alike"]])
    subjects = known["subject_id"].rank("dense").to_numpy()
    contents = known["content"].rank("dense").to_numpy()
    rows = known.select("image_id", "subject_id", "path").rows()
    for one, other in _near(words, subjects, contents):
        text = f"looks like {rows[other][2]} of another subject, '{rows[other][1]}'"
        yield Finding(rows[one][0], "warning", "lookalike", rows[one][2], text)


def _near(
    words: NDArray[np.uint64], subjects: NDArray[np.integer], contents: NDArray[np.integer]
) -> list[tuple[int, int]]:
    """For each picture that has one: the first of another subject and of other pixels that is near."""
    found = []
    for start in range(0, len(words), _BLOCK):
        rows = slice(start, start + _BLOCK)
        bits = np.zeros((len(words[rows]), len(words)), dtype=np.uint16)
        for column in range(words.shape[1]):
            bits += np.bitwise_count(words[rows, column, None] ^ words[None, :, column])
        near = (bits <= ALIKE_BITS) & (subjects[rows, None] != subjects[None]) & (contents[rows, None] != contents)
        found += [(start + int(row), int(near[row].argmax())) for row in np.flatnonzero(near.any(axis=1))]
    return found


def find_odd_formats(facts: pl.DataFrame) -> Iterator[Finding]:
    """Images whose channels, or in studies of equal images whose size, differ from those of most images."""
    read = facts.filter(pl.col("channels").is_not_null())
    if len(read) < _FEWEST:
        return
    size = pl.format("{} × {} px (height × width)", "height", "width")
    for check, value in (
        ("channels", pl.format("{} channels", "channels")),
        ("type", pl.col("dtype")),
        ("size", size),
    ):
        valued = read.with_columns(value=value)
        usual, count = valued["value"].value_counts(sort=True).sort("count", "value", descending=True).row(0)
        if count < _MAJORITY * len(read):
            continue
        for row in valued.filter(pl.col("value") != usual).sort("image_id").iter_rows(named=True):
            text = f"has {row['value']}, {count:,} of {len(read):,} images have {usual}"
            yield Finding(row["image_id"], "error" if check == "channels" else "warning", check, row["path"], text)


def find_odd_scales(facts: pl.DataFrame) -> Iterator[Finding]:
    """Images with other pixel sizes than most, or without one where others have one."""
    read = facts.filter(pl.col("content").is_not_null())
    known = read.filter(pl.col("mpp").is_not_null())
    if known.is_empty():
        return
    middle = float(known["mpp"].sort()[len(known) // 2])
    for row in read.sort("image_id").iter_rows(named=True):
        if row["mpp"] is None:
            text = f"does not say how large its pixels are; {len(known):,} of {len(read):,} images do"
        elif abs(row["mpp"] / middle - 1) > MPP_TOLERANCE:
            text = f"has pixels of {row['mpp']:.4g} µm, the median of {len(known):,} images is {middle:.4g} µm"
        else:
            continue
        yield Finding(row["image_id"], "warning", "mpp", row["path"], text)


def find_odd_colours(facts: pl.DataFrame, labels: pl.DataFrame) -> Iterator[Finding]:
    """Images whose mean colour or contrast is far from that of the others, of their class where images have one."""
    columns = [name for name in facts.columns if name.startswith(("mean_", "std_"))]
    whole = labels.filter(pl.col("pixels").is_null()).group_by("image_id").agg(pl.col("label").sort().first())
    read = facts.filter(pl.col("mean_red").is_not_null() & ~pl.col("blank")).join(whole, on="image_id", how="left")
    for _, group in read.group_by("label", maintain_order=True):
        if len(group) < _FEWEST:
            continue
        group = group.sort("image_id")
        scores = modified_z(group.select(columns).to_numpy())
        worst = np.abs(scores).argmax(axis=1)
        for index in np.flatnonzero(np.abs(scores).max(axis=1) > OUTLIER_Z).tolist():
            row, column = group.row(index, named=True), columns[worst[index]]
            what, _, colour = column.partition("_")
            noun = f"mean {colour}" if what == "mean" else f"contrast in {colour}"
            text = (
                f"has an unusual {noun}: {row[column]:.2f}, the median is {group[column].median():.2f} "
                f"(modified z-score {scores[index, worst[index]]:+.1f})"
            )
            yield Finding(row["image_id"], "warning", "colour", row["path"], text)


def modified_z(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """How far values (n, k) lie from the median of their column: 0.6745 (x - median) / MAD.

    Iglewicz and Hoaglin, How to detect and handle outliers, 1993. The median absolute deviation counts as at least
    0.005, so that hardly visible differences between equal images are none.
    """
    distance = values - np.median(values, axis=0)
    spread = np.maximum(np.median(np.abs(distance), axis=0), _LEAST_SPREAD)
    return np.asarray(0.6745 * distance / spread)


def class_counts(labels: pl.DataFrame, study: Study) -> pl.DataFrame:
    """In how many images each class is, by fold and role.

    Returns:
        `label`, `images` (in all), and where the study has splits a column for each fold and role that has images,
        such as `fold_0 train`.

    Raises:
        StromaError: the images cannot be divided as `study.yaml` says.
    """
    names = list(study.labels.names)
    images = dict(labels.group_by("label").agg(pl.col("image_id").n_unique()).iter_rows())
    columns: dict[str, list[int]] = {"images": [images.get(name, 0) for name in names]}
    if study.config.splits is not None:
        splits = study.splits()
        for fold in splits.folds:
            for role in ROLES:
                ids = splits.ids(role, fold)
                inside = labels.filter(pl.col("image_id").is_in(ids))
                found = dict(inside.group_by("label").agg(pl.col("image_id").n_unique()).iter_rows())
                columns |= {f"{fold} {role}": [found.get(name, 0) for name in names]} if ids else {}
    return pl.DataFrame({"label": names, **columns})


def find_missing_classes(labels: pl.DataFrame, study: Study) -> Iterator[Finding]:
    """Classes in no annotation, and classes that a fold can not learn or not judge."""
    if study.config.labels is None or study.annotations.is_empty():
        return
    try:
        counts = class_counts(labels, study)
    except StromaError as error:
        yield Finding("", "error", "splits", "", f"the images cannot be divided: {error.what}")
        return
    for row in counts.iter_rows(named=True):
        if not row["images"]:
            yield Finding("", "warning", "class", "", f"the class '{row['label']}' is in no image")
            continue
        places = _missing(row)
        if places:
            text = f"the class '{row['label']}' (in {row['images']:,} images) is missing from {places}"
            yield Finding("", "warning", "class", "", text)


def _missing(row: dict[str, int]) -> str:
    """The folds and roles without a class, such as `train of fold_0 and fold_3, validation of fold_1`."""
    folds: dict[str, list[str]] = {}
    for column, count in row.items():
        fold, _, role = column.rpartition(" ")
        if role in ROLES and role != "extra" and not count:
            folds.setdefault(role, []).append(fold)
    return ", ".join(f"{role} of {_listed(names)}" for role in ROLES if (names := folds.get(role)))


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
