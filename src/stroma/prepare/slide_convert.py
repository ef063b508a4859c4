"""`stroma slide convert` and `stroma slide thumbnail`: slides as other files."""

from __future__ import annotations

import shlex
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import Field

from stroma.core.clock import stage
from stroma.core.done import done_path, write_done
from stroma.core.errors import InvalidData
from stroma.core.files import id_to_name
from stroma.core.provenance import InputRecord, Provenance
from stroma.core.verbs import VerbResult
from stroma.images.image import Image
from stroma.prepare.inputs import Source
from stroma.prepare.slide_associated import associated_path, read_associated
from stroma.prepare.slide_images import write_picture
from stroma.prepare.slide_options import SlideOptions
from stroma.prepare.slide_run import plan_slides, run_slides
from stroma.prepare.sources import open_source
from stroma.slides.overview import read_overview
from stroma.slides.pyramid import Compression, Strip, write_pyramid

_SUFFIX = {"tiff": ".tiff", "ome-tiff": ".ome.tiff"}


class ConvertOptions(SlideOptions):
    """Options of `stroma slide convert`."""

    format: Literal["tiff", "ome-tiff"] = Field("tiff", description="Pyramidal tiled TIFF, or OME-TIFF")
    compression: Compression = Field("jpeg", description="Of the pixels")
    quality: int = Field(90, ge=1, le=100, description="JPEG quality")
    with_identifiers: bool = Field(False, description="Also write label and macro images, which can name the patient")


class ThumbnailOptions(SlideOptions):
    """Options of `stroma slide thumbnail`."""

    max_dimension: int = Field(1024, ge=16, le=20_000, description="Longest side in pixels")
    with_identifiers: bool = Field(False, description="Also write label and macro images, which can name the patient")


def slide_convert(options: ConvertOptions) -> VerbResult:
    """Write slides as pyramidal TIFF or OME-TIFF, which QuPath and OpenSlide open.

    INPUTS are image files, folders, quoted patterns or a study.yaml. The size of a pixel is kept, or taken from
    --source-mpp. Slides are read and written strip by strip. Nothing else leaves the slide: no label, no macro image,
    no names or dates.

    Args:
        options: See `ConvertOptions`.

    Returns:
        Counts of images; images that failed are in `failures.parquet`.

    Raises:
        MissingFile: an input does not exist or holds no image.
        InvalidData: two images have the same id.
        OutputConflict: the output folder holds results of other settings, and `overwrite` is not set.
    """
    plan = plan_slides(options, partial(_provenance, options=options, format="converted/1"))
    if options.dry_run:
        return plan.result()
    outcome = run_slides(plan, partial(convert_slide, options=options), "converting")
    lines = [f"{source}: {report}" for source, report in outcome.reports]
    output = shlex.quote(str(options.output))
    return VerbResult(
        summary={"images": len(outcome.complete)},
        lines=[*plan.found.notes, *lines],
        next=[f"stroma tile {shlex.quote(f'{options.output}/*{_SUFFIX[options.format]}')} -o {output}-tiles"],
        **outcome.counts(),
    )


def slide_thumbnail(options: ThumbnailOptions) -> VerbResult:
    """Write slides as small PNG pictures.

    INPUTS are image files, folders, quoted patterns or a study.yaml.

    Args:
        options: See `ThumbnailOptions`.

    Returns:
        Counts of images; images that failed are in `failures.parquet`.

    Raises:
        MissingFile: an input does not exist or holds no image.
        InvalidData: two images have the same id.
        OutputConflict: the output folder holds results of other settings, and `overwrite` is not set.
    """
    plan = plan_slides(options, partial(_provenance, options=options, format="thumbnail/1"))
    if options.dry_run:
        return plan.result()
    outcome = run_slides(plan, partial(make_thumbnail, options=options), "drawing")
    return VerbResult(summary={"images": len(outcome.complete)}, lines=plan.found.notes, **outcome.counts())


def _provenance(source: Source, options: SlideOptions, format: str) -> Provenance:
    settings = {**options.settings(), "open": dict(source.options)}
    with stage("read"):
        return Provenance(format, settings, (InputRecord.of(source.image_id, source.path),))


def convert_slide(source: Source, options: ConvertOptions) -> str:
    """Convert one slide, the done record last; return a line about it.

    Raises:
        UnreadableImage: the file is no image or is damaged.
        InvalidData: it is neither RGB nor gray of 8 bits.
    """
    stem, folder = id_to_name(source.image_id), options.output
    with open_source(source.path, {"open": source.options, "source_mpp": options.source_mpp}) as image:
        _check_8_bits(image)
        provenance = _provenance(source, options, "converted/1")
        record = done_path(folder, source.image_id)
        record.unlink(missing_ok=True)  # from here on the item is not complete
        height, width, _ = image.shape

        def read(top: int, rows: int) -> Strip:
            return image.read(0, top, width, rows)

        path = write_pyramid(
            folder / f"{stem}{_SUFFIX[options.format]}",
            read,
            height,
            width,
            mpp=image.mpp,
            compression=options.compression,
            quality=options.quality,
            ome=options.format == "ome-tiff",
        )
        outputs = [path, *_identifiers(image, folder, stem, options.with_identifiers)]
        scale = "no size of a pixel stated" if image.mpp is None else f"{image.mpp:g} µm/px"
    with stage("write"):
        write_done(record, provenance, outputs)
    return f"{width:,} wide × {height:,} high, {scale}"


def make_thumbnail(source: Source, options: ThumbnailOptions) -> None:
    """Write the thumbnail of one slide, the done record last.

    Raises:
        UnreadableImage: the file is no image or is damaged.
        InvalidData: it is neither RGB nor gray of 8 bits.
    """
    stem, folder = id_to_name(source.image_id), options.output
    with open_source(source.path, {"open": source.options, "source_mpp": options.source_mpp}) as image:
        provenance = _provenance(source, options, "thumbnail/1")
        record = done_path(folder, source.image_id)
        record.unlink(missing_ok=True)  # from here on the item is not complete
        overview = read_overview(image, options.max_dimension)
        with stage("write"):
            outputs = [write_picture(folder / f"{stem}.png", overview.rgb)]
        outputs += _identifiers(image, folder, stem, options.with_identifiers)
    with stage("write"):
        write_done(record, provenance, outputs)


def _identifiers(image: Image, folder: Path, stem: str, wanted: bool) -> list[Path]:
    if not wanted:
        return []
    pictures = read_associated(image)
    with stage("write"):
        return [write_picture(associated_path(folder, stem, name), rgb) for name, rgb in pictures.items()]


def _check_8_bits(image: Image) -> None:
    if len(image.channels) not in (1, 3) or image.dtype != np.uint8:
        raise InvalidData(
            f"has {len(image.channels)} channels of {image.dtype}; RGB or gray of 8 bits can be converted",
            where=image.path,
        )
