"""Choosing images by a condition: any metadata, label or annotator, as an SQL expression."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import polars as pl
from pydantic import Field

from stroma.core.errors import UsageError, nearest
from stroma.study.recording import Recording
from stroma.study.tables import Tables

if TYPE_CHECKING:
    from stroma.study.study import Study

_OF_ANNOTATIONS = ("layer", "annotator", "label")

Where = Annotated[
    str | None,
    Field(
        description="Only images that fulfil this SQL condition on the catalog, layer, annotator and label: "
        "\"subject_id = 'P086' AND label = 'liver'\""
    ),
]
"""The option `--where` of every verb that takes a study; `open_study(path, where)` and `Study.filtered` apply it."""


def select(studies: Study | Sequence[Study], where: str | None = None) -> Iterator[Recording]:
    """Go through the images of one or several studies that fulfil a condition.

    Args:
        studies: A column that some of them lack is empty there.
        where: An SQL expression on the columns of the catalogs and on `layer`, `annotator` and `label` of the
            annotations, such as `subject_id = 'P086' AND annotator = 'annotator1' AND label IN ('liver', 'colon')`;
            names with spaces in double quotes. None takes all images.

    Yields:
        Recordings, study by study, sorted by id. When the condition is about annotations, those that fulfil it
            are the ones that are meant (`Recording.annotations`).

    Raises:
        UsageError: the condition is no SQL expression, or names a column that no study has.
    """
    given = [studies] if not isinstance(studies, Sequence) else list(studies)
    matches = matching([(study.catalog, study.annotations) for study in given], where)
    for study, found in zip(given, matches, strict=True):
        yield from (Recording(study, image_id, names) for image_id, names in found.items())


def restrict(tables: Tables, where: str | None, *, origin: Path) -> Tables:
    """The tables with only the images that fulfil a condition, as `select` understands it.

    When the condition is about annotations, only those that fulfil it stay, each with all its labels.

    Args:
        tables: Of a study.
        where: The condition; None is none.
        origin: `study.yaml`, for messages.

    Raises:
        UsageError: as `select`, or no image fulfils it.
    """
    if where is None:
        return tables
    (found,) = matching([(tables.catalog, tables.annotations)], where)
    if not found:
        raise UsageError(
            f"no image fulfils the condition {where}", where=origin, next_step=_why_none(tables.annotations, where)
        )
    annotations = tables.annotations.filter(pl.col("image_id").is_in(list(found)))
    meant = {(image_id, name) for image_id, names in found.items() for name in names}
    if meant:
        pairs = zip(annotations["image_id"], annotations["layer"] + "#" + annotations["annotator"], strict=True)
        annotations = annotations.filter(pl.Series([pair in meant for pair in pairs], dtype=pl.Boolean))
    catalog = tables.catalog.filter(pl.col("image_id").is_in(list(found)))
    return Tables(catalog, annotations, tables.problems)


def _why_none(annotations: pl.DataFrame, where: str) -> str:
    if "label" in where and len(annotations) and annotations["label"].null_count() == len(annotations):
        return "The masks hold several labels each, which stand in no table: ask for a column of the catalog"
    return ""


def both(first: str | None, second: str | None) -> str | None:
    """The condition that holds where two hold; None is no condition."""
    return first or second if not (first and second) else f"({first}) AND ({second})"


def matching(
    tables: Sequence[tuple[pl.DataFrame, pl.DataFrame]], where: str | None
) -> list[dict[str, tuple[str, ...]]]:
    """For each catalog with its annotations: image id → the annotations that fulfil a condition, if it names any."""
    expression = _parse(where)
    columns = [] if expression is None else sorted(set(expression.meta.root_names()))
    about = set(columns) & set(_OF_ANNOTATIONS)
    joined = [_joined(*pair) if about else pair[0] for pair in tables]
    kinds = {name: kind for table in reversed(joined) for name, kind in table.schema.items()}
    for name in columns:
        if name not in kinds:
            hint = f"{nearest(name, [*kinds, *_OF_ANNOTATIONS])} (texts stand in single quotes: 'P086')"
            raise UsageError(f"--where names the column '{name}', which there is not", next_step=hint)
    found: list[dict[str, tuple[str, ...]]] = []
    for (catalog, _), table in zip(tables, joined, strict=True):
        table = table.with_columns(
            pl.lit(None, kinds[name]).alias(name) for name in columns if name not in table.columns
        )
        if expression is not None:
            try:
                table = table.filter(expression)
            except pl.exceptions.PolarsError as error:
                raise UsageError(f"the condition '{where}' cannot be applied ({error})") from error
        named = bool(about & (set(table.columns) - set(catalog.columns)))
        found.append(_meant(table) if named else {str(image_id): () for image_id in table["image_id"]})
    return found


def _parse(where: str | None) -> pl.Expr | None:
    if where is None:
        return None
    try:
        return pl.sql_expr(where)
    except pl.exceptions.PolarsError as error:
        raise UsageError(
            f"the condition '{where}' is no SQL expression ({error})",
            next_step="Write it as subject_id = 'P086' AND angle > 0, names with spaces in double quotes",
        ) from error


def _joined(catalog: pl.DataFrame, annotations: pl.DataFrame) -> pl.DataFrame:
    """The catalog with a row for each annotation; its own columns go first where names are equal."""
    added = [name for name in _OF_ANNOTATIONS if name not in catalog.columns]
    named = annotations.select("image_id", *added).unique(maintain_order=True)
    return catalog.join(named, on="image_id", how="left", maintain_order="left_right")


def _meant(table: pl.DataFrame) -> dict[str, tuple[str, ...]]:
    """Image id → the annotations among its rows."""
    columns = [name for name in ("layer", "annotator") if name in table.columns]
    found: dict[str, dict[str, None]] = {}
    for image_id, *pair in table.select("image_id", *columns).iter_rows():
        known = found.setdefault(image_id, {})
        if len(pair) == 2 and None not in pair:
            known["#".join(pair)] = None
    return {image_id: tuple(names) for image_id, names in found.items()}
