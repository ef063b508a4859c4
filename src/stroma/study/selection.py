"""Choosing images by a condition: any metadata, label or annotator, as an SQL expression."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import polars as pl

from stroma.core.errors import UsageError, nearest
from stroma.study.recording import Recording

if TYPE_CHECKING:
    from stroma.study.study import Study

_OF_ANNOTATIONS = ("layer", "annotator", "label")


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
    expression = _parse(where)
    columns = [] if expression is None else sorted(set(expression.meta.root_names()))
    tables = [_joined(study) if set(columns) & set(_OF_ANNOTATIONS) else study.catalog for study in given]
    kinds = {name: kind for table in reversed(tables) for name, kind in table.schema.items()}
    for name in columns:
        if name not in kinds:
            hint = nearest(name, [*kinds, *_OF_ANNOTATIONS])
            raise UsageError(f"--where names the column '{name}', which there is not", next_step=hint)
    for study, table in zip(given, tables, strict=True):
        missing = [pl.lit(None, kinds[name]).alias(name) for name in columns if name not in table.columns]
        table = table.with_columns(missing)
        if expression is not None:
            try:
                table = table.filter(expression)
            except pl.exceptions.PolarsError as error:
                raise UsageError(f"the condition '{where}' cannot be applied ({error})") from error
        named = bool(
            set(columns) & {"layer", "annotator", "label"} & (set(table.columns) - set(study.catalog.columns))
        )
        if not named:
            yield from (Recording(study, image_id) for image_id in table["image_id"])
            continue
        for image_id, names in _meant(table).items():
            yield Recording(study, image_id, names)


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


def _joined(study: Study) -> pl.DataFrame:
    """The catalog with a row for each annotation; its own columns go first where names are equal."""
    added = [name for name in _OF_ANNOTATIONS if name not in study.catalog.columns]
    annotations = study.annotations.select("image_id", *added).unique(maintain_order=True)
    return study.catalog.join(annotations, on="image_id", how="left", maintain_order="left_right")


def _meant(table: pl.DataFrame) -> dict[str, tuple[str, ...]]:
    """Image id → the annotations among its rows."""
    columns = [name for name in ("layer", "annotator") if name in table.columns]
    found: dict[str, dict[str, None]] = {}
    for image_id, *pair in table.select("image_id", *columns).iter_rows():
        known = found.setdefault(image_id, {})
        if len(pair) == 2 and None not in pair:
            known["#".join(pair)] = None
    return {image_id: tuple(names) for image_id, names in found.items()}
