"""The annotations of a study as objects: those that were drawn as they are, mask files by their outlines."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from stroma.prepare.annotation_files import AnnotatedFile
from stroma.prepare.annotation_images import Images
from stroma.regions.annotation import Annotation
from stroma.regions.masks import parse_colour
from stroma.regions.outlines import polygons_from_mask
from stroma.regions.rle import RunEncoder
from stroma.regions.run_outlines import polygons_from_runs
from stroma.study.drawing import Drawing
from stroma.study.labels import IGNORE
from stroma.study.marks import LARGEST_PX, are_drawn, drawing_of
from stroma.study.study import Study, open_study

_IGNORED = "Ignore*"
_BACKGROUND = "background"
_WINDOW_PX = 4096


def study_annotations(path: Path, images: Images) -> list[AnnotatedFile]:
    """What the annotators of a study marked in its layer, an entry per annotator and image.

    Args:
        path: Of the study.
        images: Tell sizes and scales; the images of the study when there are none.

    Raises:
        StromaError: as reading the annotations raises.
    """
    study = open_study(path)
    images = images if len(images) else Images((path,))
    result = []
    for annotator in study.annotators:
        for image_id in study.annotated(annotator):
            rows = [
                row
                for row in study.annotation_rows(image_id)
                if (row["layer"], row["annotator"]) == (study.layer, annotator)
            ]
            drawn = are_drawn(rows)
            if drawn:
                drawing = drawing_of(study, study.row(image_id), rows)
                objects, size = _of_drawing(drawing, study), drawing.size
            else:
                objects, size = _of_mask(study, image_id, annotator)
            key = images.match(image_id)
            facts = None if key is None else images.facts(key)
            layer = str(rows[0]["layer"])
            result.append(AnnotatedFile(image_id, objects, facts, size, layer, annotator, exact=not drawn))
    return result


def _of_drawing(drawing: Drawing, study: Study) -> tuple[Annotation, ...]:
    objects = [_annotation(shape, value, study) for value, runs in drawing.runs for shape in polygons_from_runs(runs)]
    shapes = zip(drawing.shapes, drawing.values.tolist(), strict=True)
    return (*objects, *(_annotation(shape, value, study) for shape, value in shapes))


def _of_mask(study: Study, image_id: str, annotator: str) -> tuple[tuple[Annotation, ...], tuple[int, int]]:
    row = study.row(image_id)
    if row.get("height") and row.get("width") and row["height"] * row["width"] > LARGEST_PX:
        return _of_large_mask(study, image_id, annotator), (row["height"], row["width"])
    mask = study.annotated_mask(image_id, annotator).labels
    values, shapes = polygons_from_mask(np.where(mask == IGNORE, 0, mask.astype(np.int64) + 1))
    pairs = zip(values.tolist(), shapes, strict=True)
    return tuple(_annotation(shape, value - 1, study) for value, shape in pairs), (mask.shape[0], mask.shape[1])


def _of_large_mask(study: Study, image_id: str, annotator: str) -> tuple[Annotation, ...]:
    """The outlines of a mask that is read window by window; what is no object is the background, and has none."""
    row = study.row(image_id)
    height, width = row["height"], row["width"]
    outside = study.config.outside or _BACKGROUND
    values = [value for value, name in enumerate(study.labels.names) if name != outside]
    encoders = {value: RunEncoder(height, width) for value in (*values, IGNORE)}
    for y in range(0, height, _WINDOW_PX):
        for x in range(0, width, _WINDOW_PX):
            w, h = min(_WINDOW_PX, width - x), min(_WINDOW_PX, height - y)
            part = study.mask_region(image_id, x, y, w, h, annotator=annotator)
            for value, encoder in encoders.items():
                encoder.add(part == value, x, y)
    return tuple(
        _annotation(shape, value, study)
        for value, encoder in encoders.items()
        for shape in polygons_from_runs(encoder.finish())
    )


def _annotation(shape: object, value: int, study: Study) -> Annotation:
    if value == IGNORE:
        return Annotation(shape, label=_IGNORED)
    name = study.labels.names[value]
    return Annotation(shape, label=name, colour=parse_colour(study.labels.colour(name)))
