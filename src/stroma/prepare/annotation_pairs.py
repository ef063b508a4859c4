"""`stroma annotations pairs`: pairs of image and mask tiles for training, window by window."""

from __future__ import annotations

import hashlib
import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import PIL.Image
import shapely
from numpy.typing import NDArray
from pydantic import Field

from stroma.core.config import dump_yaml
from stroma.core.done import done_path, is_complete, write_done
from stroma.core.errors import OutputConflict, UsageError
from stroma.core.files import atomic_path, id_to_name, write_text
from stroma.core.items import Done, Failed, map_items
from stroma.core.progress import track
from stroma.core.provenance import InputRecord, Provenance
from stroma.core.verbs import Flag, Output, VerbResult, Workers, write_failures
from stroma.images.image import Image
from stroma.images.open import open_image
from stroma.prepare.annotation_files import AnnotatedFile
from stroma.prepare.annotation_images import Images
from stroma.prepare.annotation_options import AnnotationOptions, gather
from stroma.prepare.slide_tissue import known_mpp
from stroma.regions.annotation import index_of
from stroma.regions.geojson_coordinates import geometry_texts
from stroma.regions.grid import box_coverage, tile_grid, tile_size, tile_step
from stroma.regions.mask_files import write_mask_png
from stroma.regions.masks import read_mask
from stroma.regions.polygons import mask_from_polygons
from stroma.study.config import STUDY_FILE, STUDY_FORMAT
from stroma.study.labels import IGNORE, LabelMapping

_TILE_NAME = re.compile(r"(.+)_x\d+_y\d+_w\d+_h\d+\.png")
_UNKNOWN_SUBJECTS = (
    "subjects unknown: the tiles of one image count as one subject; name a study.yaml as --images to tell them"
)


class AnnotationPairsOptions(AnnotationOptions):
    """Options of `stroma annotations pairs`."""

    output: Output
    tile_px: int = Field(256, ge=16, le=8192, description="Edge of a tile in pixels")
    mpp: float | None = Field(None, gt=0, description="Resolution of the tiles in µm (default: that of the image)")
    overlap: float = Field(0.0, ge=0, lt=1, description="Share of a tile that the next one repeats")
    outside: str = Field("background", description="Class of pixels in no object; 'ignore' counts as not annotated")
    only_annotated: bool = Field(False, description="Leave out tiles without any object")
    tissue: Annotated[Path | None, Flag(setting=False)] = Field(
        None, description="Output folder of stroma tile or tissue, whose masks tell tissue"
    )
    min_tissue: float = Field(0.05, ge=0, le=1, description="With --tissue, leave out tiles with less of it")
    workers: Workers = 1


@dataclass(frozen=True)
class PairJob:
    """One image to cut.

    Attributes:
        file: Its annotations.
        path: The image.
        open_options: Passed on to `open_image`.
        labels: The classes, in the order of their indices.
    """

    file: AnnotatedFile
    path: Path
    open_options: dict[str, Any]
    labels: tuple[str, ...]

    def __str__(self) -> str:
        return self.file.image_id


def make_pairs(options: AnnotationPairsOptions) -> VerbResult:
    """Cut images and their annotations into pairs of tiles, and describe them as a study for training.

    OUT/images and OUT/masks hold PNG files of the same names, masks with class indices (255: not annotated), a
    folder for each subject; OUT/study.yaml is ready for stroma train. Nothing is held but one tile.

    Args:
        options: See `AnnotationPairsOptions`.

    Raises:
        MissingFile: an input does not exist.
        UsageError: no images are given.
        OutputConflict: the folder holds pairs of other settings, and `overwrite` is not set.
    """
    if not options.images:
        raise UsageError("tiles are cut from images, and none are given", next_step="Give them with --images")
    found = gather(options)
    classes = [found.labels[value] for value in sorted(found.labels)]
    names = tuple(dict.fromkeys([] if options.outside == "ignore" else [options.outside])) + tuple(
        name for name in classes if name != options.outside
    )
    images = Images(options.images)
    jobs = [PairJob(file, *images.source(file.image_id), names) for file in found.files if file.facts]
    todo = [job for job in jobs if not _is_complete(job, options)]
    if options.dry_run:
        lines = [f"{'to do' if job in todo else 'complete'}: {job}" for job in jobs]
        return VerbResult(options.output, {"images": len(jobs), "to do": len(todo)}, lines)
    _remove_earlier(todo, options.output)
    clock, failed, tiles = found.clock, list[Failed[Any]](found.failed), 0
    outcomes = map_items(partial(cut_pairs, options=options), todo, workers=options.workers)
    for outcome in track(outcomes, "cutting", len(todo)):
        clock.add(outcome.clock)
        if isinstance(outcome, Done):
            tiles += outcome.result
        else:
            failed.append(outcome)
    write_failures(options.output, failed, Provenance("failures/1", options.settings()))
    _write_study(options, names, len({job.file.facts.subject_id for job in jobs if job.file.facts}))
    study = options.output / STUDY_FILE
    return VerbResult(
        study,
        {"images": len(jobs), "tiles": tiles, "classes": ", ".join(names)},
        lines=[*found.notes, *([] if images.subjects_known else [_UNKNOWN_SUBJECTS])],
        next=[f"stroma train {shlex.quote(str(study))} -o runs/first"] if tiles or len(jobs) > len(todo) else [],
        done=len(todo) - (len(failed) - len(found.failed)),
        skipped=len(jobs) - len(todo),
        failed=failed,
        clock=clock,
    )


def _provenance(job: PairJob, options: AnnotationPairsOptions) -> Provenance:
    drawn = hashlib.sha256()
    for annotation, text in zip(
        job.file.annotations, geometry_texts([a.geometry for a in job.file.annotations], decimals=None), strict=True
    ):
        drawn.update(f"{annotation.class_name}\0{text}\n".encode())
    settings = options.settings() | {"classes": list(job.labels), "drawn": drawn.hexdigest()[:16]}
    return Provenance("pairs/1", settings, (InputRecord.of(job.file.image_id, job.path),))


def _is_complete(job: PairJob, options: AnnotationPairsOptions) -> bool:
    try:
        record = done_path(options.output, job.file.image_id)
        return is_complete(record, _provenance(job, options), verify=options.verify)
    except OutputConflict:
        if options.overwrite:
            return False
        raise


def cut_pairs(job: PairJob, options: AnnotationPairsOptions) -> int:
    """Cut one image; returns the number of pairs."""
    record = done_path(options.output, job.file.image_id)
    record.unlink(missing_ok=True)
    outputs: list[Path] = []
    folder = id_to_name(job.file.facts.subject_id) if job.file.facts else "unknown"
    palette = LabelMapping.of(job.labels).palette
    with open_image(job.path, **job.open_options) as image:
        for x, y, size, pixels, mask in _pairs(job, image, options):
            name = f"{id_to_name(job.file.image_id)}_x{x}_y{y}_w{size}_h{size}.png"
            picture, marked = (options.output / part / folder / name for part in ("images", "masks"))
            with atomic_path(picture) as temporary:
                PIL.Image.fromarray(pixels).save(temporary, format="PNG", compress_level=1)
            write_mask_png(marked, mask, palette)
            outputs += [picture, marked]
    write_done(record, _provenance(job, options), outputs)
    return len(outputs) // 2


def _remove_earlier(jobs: Sequence[PairJob], output: Path) -> None:
    """Remove the tiles of images that an earlier run left, which would mix with those of other settings."""
    names = {id_to_name(job.file.image_id) for job in jobs}
    for part in ("images", "masks"):
        for path in (output / part).glob("*/*.png"):
            found = _TILE_NAME.fullmatch(path.name)
            if found and found[1] in names:
                path.unlink()


def _pairs(
    job: PairJob, image: Image, options: AnnotationPairsOptions
) -> Iterator[tuple[int, int, int, NDArray[np.uint8], NDArray[np.uint8]]]:
    height, width, channels = image.shape
    if channels not in (1, 3) or image.dtype != np.uint8:
        raise UsageError(f"pairs are cut from 8-bit pictures, this has {channels} × {image.dtype}", where=job.path)
    downsample = 1.0 if options.mpp is None else options.mpp / known_mpp(image, "--mpp")
    size = tile_size(options.tile_px, options.tile_px, downsample)
    boxes = tile_grid(width, height, size.width, tile_step(size.width, options.overlap))
    if options.tissue is not None:
        tissue = read_mask(options.tissue / "tissue" / f"{id_to_name(job.file.image_id)}.png") > 0
        scale = (height / tissue.shape[0], width / tissue.shape[1])
        boxes = boxes[box_coverage(tissue, boxes, scale) >= options.min_tissue]
    shapes, values = _drawn(job)
    tree = shapely.STRtree(shapes)
    outside = IGNORE if options.outside == "ignore" else job.labels.index(options.outside)
    for x, y, w, h in boxes.tolist():
        near = np.sort(tree.query(shapely.box(x, y, x + w, y + h)))
        if options.only_annotated and not len(near):
            continue
        mask = mask_from_polygons(
            shapes[near], x, y, w, h, downsample=w / options.tile_px, values=values[near], background=outside
        )
        _leave_out_beyond(mask, x, y, width, height, w / options.tile_px)
        pixels = image.read(x, y, w, h, downsample=size.downsample)
        yield x, y, w, pixels[..., 0] if channels == 1 else pixels, mask


def _drawn(job: PairJob) -> tuple[NDArray[np.object_], NDArray[np.int64]]:
    numbers = {name: index for index, name in enumerate(job.labels)}
    areas = [(i, a) for i, a in enumerate(job.file.annotations) if a.geometry.geom_type.endswith("Polygon")]
    shapes = np.empty(len(areas), dtype=object)
    shapes[:] = [annotation.geometry for _, annotation in areas]
    values = [index_of(annotation, numbers, index=i, ignore=IGNORE) for i, annotation in areas]
    return shapes, np.array(values, dtype=np.int64)


def _leave_out_beyond(mask: NDArray[np.uint8], x: int, y: int, width: int, height: int, downsample: float) -> None:
    """Pixels whose centres lie beyond the image are not annotated."""
    rows = y + (np.arange(mask.shape[0]) + 0.5) * downsample
    columns = x + (np.arange(mask.shape[1]) + 0.5) * downsample
    mask[rows >= height, :] = IGNORE
    mask[:, columns >= width] = IGNORE


def _write_study(options: AnnotationPairsOptions, names: tuple[str, ...], subjects: int) -> None:
    """Describe the pairs, unless a study.yaml is there, which somebody may have edited, and may stay."""
    path = options.output / STUDY_FILE
    if path.exists() and not options.overwrite:
        return
    content = {
        "format": STUDY_FORMAT,
        "name": options.output.resolve().name or "pairs",
        "root": ".",
        "layout": {"name": "masks", "images": "images/{id}", "masks": "masks/{id}", "kind": "mask-index"},
        "subjects": {"rule": "path-level", "level": 2},
        "labels": {"names": list(names)},
    }
    if subjects > 1:
        content["splits"] = {"folds": min(5, subjects)}
    write_text(path, dump_yaml(content))
