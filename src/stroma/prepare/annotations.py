"""`stroma annotations import | export | convert | summary`."""

from __future__ import annotations

import csv
import io
import shlex
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from stroma.core.errors import OutputConflict, UsageError
from stroma.core.files import id_to_name, write_text
from stroma.core.items import Failed, map_items
from stroma.core.provenance import Provenance
from stroma.core.tables import write_table
from stroma.core.text import plural
from stroma.core.verbs import VerbResult, write_failures
from stroma.prepare.annotation_files import AnnotatedFile
from stroma.prepare.annotation_masks import mask_outputs, not_in_masks, size_of
from stroma.prepare.annotation_options import (
    AnnotationConvertOptions,
    AnnotationImportOptions,
    AnnotationSummaryOptions,
    Gathered,
    gather,
)
from stroma.prepare.annotation_table import Key, write_annotation_table
from stroma.regions.annotation import Annotation
from stroma.regions.coco import AnnotatedImage, write_coco
from stroma.regions.geojson import write_geojson
from stroma.regions.masks import read_mask
from stroma.regions.objects import OBJECTS_FORMAT, OBJECTS_SCHEMA, objects_from_annotations, summarise_objects
from stroma.regions.polygons import mask_from_polygons
from stroma.regions.rle import RunEncoder

TABLE_FILE = "annotations.parquet"
_MANY_OBJECTS = 1000
_WINDOW_PX = 4096


def import_annotations(options: AnnotationImportOptions) -> VerbResult:
    """Bring annotation files of any kind into one table, OUT/annotations.parquet.

    INPUTS are files or folders: QuPath GeoJSON, COCO, XML of ASAP, ImageScope and NDP.view, RLE CSV, contour
    tables, coordinate lists, MITK NRRD and masks. A file is called like its image, or names its images.

    Args:
        options: See `AnnotationImportOptions`.

    Raises:
        MissingFile: an input does not exist.
        OutputConflict: the output folder has such a table, and `overwrite` is not set.
    """
    path = options.output / TABLE_FILE
    _check_free([path], overwrite=options.overwrite)
    found = gather(options)
    table: dict[Key, tuple[Annotation, ...]] = {}
    for file in found.files:
        key = (file.image_id, file.layer or options.layer, file.annotator or options.annotator)
        table[key] = (*table.get(key, ()), *file.annotations)
    written = bool(table) or not found.failed
    if written and not options.dry_run:
        write_annotation_table(path, table, options.settings())
    command = f"stroma annotations summary {shlex.quote(str(path))}"
    return _result(found, options, path if written else options.output, [command] if table else [])


def convert_annotations(options: AnnotationConvertOptions) -> VerbResult:
    """Convert annotation files into another format.

    GeoJSON (for QuPath) and masks become one file per image, COCO one file in all, run lengths one CSV per class.
    `mask` has the values of classes, `instances` a value for each object. COCO, masks and run lengths need the sizes
    of the images: give --images where the files do not tell.

    Args:
        options: See `AnnotationConvertOptions`.

    Raises:
        MissingFile: an input does not exist.
        UsageError: the size of an image is needed and unknown.
        OutputConflict: an output exists, and `overwrite` is not set.
    """
    found = gather(options)
    makers = {"geojson": _to_geojson, "coco": _to_coco, "rle": _to_rle, "mask": _to_masks, "instances": _to_masks}
    outputs = makers[options.to](found, options)
    _check_free([path for path, _ in outputs], overwrite=options.overwrite)
    lost: list[Failed[Path]] = []
    if not options.dry_run:
        writers = dict(outputs)
        outcomes = map_items(lambda path: writers[path]() and None, list(writers))
        lost = [outcome for outcome in outcomes if isinstance(outcome, Failed)]
    output = options.output
    if len(outputs) == 1 and not lost:
        plain, compressed = _forms(outputs[0][0])
        output = compressed if compressed.exists() and not plain.exists() else plain
    found = replace(found, failed=(*found.failed, *lost))
    if options.to in ("rle", "mask", "instances"):
        found = replace(found, notes=(*found.notes, *not_in_masks(found.files, found.labels, options.to)))
    result = _result(found, options, output, [], files=len(outputs) - len(lost))
    return replace(result, done=result.done - len(lost) if options.to != "coco" else result.done * (not lost))


def export_annotations(options: AnnotationConvertOptions) -> VerbResult:
    """Export the annotations of a study.yaml, or an imported annotations.parquet, for other programs.

    Args:
        options: See `AnnotationConvertOptions`.

    Raises:
        MissingFile: an input does not exist.
        UsageError: an input is neither a study nor an annotations table.
    """
    for path in options.inputs:
        if path.suffix not in (".yaml", ".parquet"):
            raise UsageError(
                "is neither a study.yaml nor an annotations.parquet",
                where=path,
                next_step="Turn other files into each other with: stroma annotations convert",
            )
    return convert_annotations(options)


def summarise_annotations(options: AnnotationSummaryOptions) -> VerbResult:
    """Count annotations per class: objects, images, areas, and densities in tissue.

    With --output, writes objects.parquet (one row an object: place, area, diameter, circularity, border) and
    per_image.parquet and per_subject.parquet (counts, densities per mm² of tissue, shares of its area).

    Args:
        options: See `AnnotationSummaryOptions`.

    Raises:
        MissingFile: an input does not exist.
        UsageError: densities are asked for without images.
    """
    found = gather(options)
    counts = Counter(annotation.class_name or "(no class)" for file in found.files for annotation in file.annotations)
    images: dict[str, set[str]] = {}
    for file in found.files:
        for annotation in file.annotations:
            images.setdefault(annotation.class_name or "(no class)", set()).add(file.image_id)
    lines = [
        f"{name}: {plural(number, 'object')} in {plural(len(images[name]), 'image')}"
        for name, number in sorted(counts.items())
    ]
    written = options.output is not None and not options.dry_run
    if written and options.output is not None:
        _write_summary(found, options, options.output)
    details = {"labels": {name: {"objects": counts[name], "images": len(images[name])} for name in sorted(counts)}}
    result = _result(found, options, options.output if written else None, [])
    return replace(result, lines=[*lines, *result.lines], details=details)


def _write_summary(found: Gathered, options: AnnotationSummaryOptions, output: Path) -> None:
    provenance = Provenance(OBJECTS_FORMAT, options.settings())
    tables, rows = [pl.DataFrame(schema=OBJECTS_SCHEMA)], {}
    for file in found.files:
        if file.facts is None:
            raise UsageError("sizes and scales of the images are unknown", next_step="Give the images with --images")
        facts = file.facts
        objects = objects_from_annotations(
            file.annotations, image_id=file.image_id, subject_id=facts.subject_id, size=facts.size, mpp=facts.mpp
        )
        tables.append(objects)
        rows[file.image_id] = (file.image_id, facts.subject_id, _tissue_mm2(file, options.tissue))
    objects = pl.concat(tables)
    write_table(objects, output / "objects.parquet", provenance)
    schema = {"image_id": pl.String, "subject_id": pl.String, "tissue_mm2": pl.Float64}
    images = pl.DataFrame([rows[name] for name in sorted(rows)], schema=schema, orient="row")
    for by in ("image_id", "subject_id"):
        name = f"per_{by.removesuffix('_id')}.parquet"
        write_table(
            summarise_objects(objects, images, by=by), output / name, replace(provenance, format="densities/1")
        )


def _tissue_mm2(file: AnnotatedFile, folder: Path | None) -> float:
    """Area of tissue in mm²; of the whole image where no tissue masks are given, 0 where the scale is unknown."""
    if file.facts is None or file.facts.mpp is None:
        return 0.0
    height, width = file.facts.size
    share = 1.0
    if folder is not None:
        share = float((read_mask(folder / "tissue" / f"{id_to_name(file.image_id)}.png") > 0).mean())
    return share * height * width * file.facts.mpp**2 / 1e6


Output = tuple[Path, Callable[[], Any]]


def _to_geojson(found: Gathered, options: AnnotationConvertOptions) -> list[Output]:
    several = Counter(file.image_id for file in found.files)
    outputs: list[Output] = []
    for file in found.files:
        name = id_to_name(file.image_id)
        if several[file.image_id] > 1:
            name += f"#{id_to_name(file.layer)}#{id_to_name(file.annotator)}"
        corner = file.facts.scan_corner if options.qupath_bounds and file.facts else (0, 0)
        path, objects = options.output / f"{name}.geojson", _with_kind(file.annotations, options.objects)
        outputs.append((path, partial(_write, path, objects, corner)))
    return outputs


def _write(path: Path, objects: Sequence[Annotation], corner: tuple[int, int]) -> Path:
    written = write_geojson(path, objects, offset=(float(corner[0]), float(corner[1])))
    for other in set(_forms(path)) - {written}:
        other.unlink(missing_ok=True)  # of an earlier export, which it replaces
    return written


def _forms(path: Path) -> tuple[Path, Path]:
    """A file as it is named, and its name where it became so large that it is compressed."""
    return path, path.with_name(path.name + ".gz")


def _with_kind(annotations: Sequence[Annotation], wanted: str) -> Sequence[Annotation]:
    """QuPath draws hundreds of thousands of detections quickly, annotations it does not."""
    plain = all(annotation.kind == "annotation" for annotation in annotations)
    if wanted == "auto":
        if not plain or len(annotations) <= _MANY_OBJECTS:
            return annotations
        wanted = "detection"
    return [replace(annotation, kind=wanted) for annotation in annotations]


def _to_coco(found: Gathered, options: AnnotationConvertOptions) -> list[Output]:
    images = [AnnotatedImage(file.image_id, *size_of(file), file.annotations) for file in found.files]
    names = [found.labels[value] for value in sorted(found.labels)]
    path = options.output / "annotations.json"
    return [(path, lambda: write_coco(path, images, names))]


def _to_rle(found: Gathered, options: AnnotationConvertOptions) -> list[Output]:
    outputs: list[Output] = []
    for file in found.files:
        size_of(file)
    for name in found.labels.values():
        path = options.output / f"{id_to_name(name)}.csv"
        outputs.append((path, partial(_write_rle, path, found.files, name)))
    return outputs


def _write_rle(path: Path, files: Sequence[AnnotatedFile], name: str) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["id", "encoding"])
    for file in files:
        height, width = size_of(file)
        shapes = np.array([a.geometry for a in file.annotations if a.class_name == name], dtype=object)
        encoder = RunEncoder(height, width)
        for y in range(0, height, _WINDOW_PX):
            for x in range(0, width, _WINDOW_PX):
                w, h = min(_WINDOW_PX, width - x), min(_WINDOW_PX, height - y)
                encoder.add(mask_from_polygons(shapes, x, y, w, h), x, y)
        writer.writerow([file.image_id, encoder.finish().encode()])
    write_text(path, text.getvalue())


def _to_masks(found: Gathered, options: AnnotationConvertOptions) -> list[Output]:
    return [*mask_outputs(found.files, found.labels, options.output, instances=options.to == "instances")]


def _check_free(paths: Sequence[Path], *, overwrite: bool) -> None:
    there = [form for path in paths for form in _forms(path) if form.exists()]
    if there and not overwrite:
        raise OutputConflict("exists already", where=there[0], next_step="Use --overwrite, or another --output")


def _result(found: Gathered, options: Any, output: Path | None, following: list[str], **more: int) -> VerbResult:
    if output is not None and not options.dry_run:
        write_failures(options.output, found.failed, Provenance("failures/1", options.settings()))
    images = {file.image_id for file in found.files}
    return VerbResult(
        output,
        {"images": len(images), "objects": found.objects, **more},
        lines=found.notes,
        next=following,
        done=len(found.files),
        failed=found.failed,
        clock=found.clock,
    )
