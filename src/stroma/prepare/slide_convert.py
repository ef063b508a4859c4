"""`stroma slide convert` and `stroma slide thumbnail`: slides as other files."""

from __future__ import annotations

import shlex
from functools import partial
from pathlib import Path
from typing import Literal, Self

import numpy as np
from pydantic import Field, model_validator

from stroma.core.clock import stage
from stroma.core.errors import InvalidData, UsageError
from stroma.core.files import id_to_name
from stroma.core.verbs import VerbResult
from stroma.images.image import Image
from stroma.prepare.inputs import Source
from stroma.prepare.slide_associated import associated_path, read_associated
from stroma.prepare.slide_images import write_picture
from stroma.prepare.slide_options import SlideOptions
from stroma.prepare.slide_run import make_slide, plan_slides, run_slides, slide_provenance
from stroma.prepare.slide_tissue import known_mpp
from stroma.slides.overview import Overview, read_overview, read_overview_at, read_scaled_rows, scaled_size
from stroma.slides.pyramid import Compression, Strip, write_pyramid

CONVERTED_FORMAT = "converted/1"
THUMBNAIL_FORMAT = "thumbnail/1"
_SUFFIX = {"tiff": ".tiff", "ome-tiff": ".ome.tiff"}


class ScaleOptions(SlideOptions):
    """At which resolution slides are written."""

    mpp: float | None = Field(None, gt=0, allow_inf_nan=False, description="Resolution in µm per pixel")
    downsample: float | None = Field(
        None, ge=1, allow_inf_nan=False, description="The same as level-0 pixels per pixel"
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.mpp is not None and self.downsample is not None:
            raise ValueError("give mpp or downsample, not both")
        return self

    def scale(self, image: Image) -> float | None:
        """Level-0 pixels per pixel, where one was asked for.

        Raises:
            UsageError: an mpp for a slide of unknown resolution.
        """
        return self.downsample if self.mpp is None else self.mpp / known_mpp(image, "--mpp")


class ConvertOptions(ScaleOptions):
    """Options of `stroma slide convert`."""

    format: Literal["tiff", "ome-tiff"] = Field("tiff", description="Pyramidal tiled TIFF, or OME-TIFF")
    compression: Compression = Field("jpeg", description="Of the pixels")
    quality: int = Field(90, ge=1, le=100, description="JPEG quality")
    with_identifiers: bool = Field(False, description="Also write label and macro images, which can name the patient")


class ThumbnailOptions(ScaleOptions):
    """Options of `stroma slide thumbnail`."""

    max_dimension: int = Field(
        1024, ge=16, le=20_000, description="Longest side in pixels, where no resolution is given"
    )
    with_identifiers: bool = Field(False, description="Also write label and macro images, which can name the patient")


def slide_convert(options: ConvertOptions) -> VerbResult:
    """Write slides as pyramidal TIFF or OME-TIFF, which QuPath and OpenSlide open.

    INPUTS are image files, folders, quoted patterns or a study.yaml. The resolution is kept, or reduced by --mpp or
    --downsample. Slides are read and written strip by strip. Nothing else leaves the slide: no label, no macro image,
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
    plan = plan_slides(options, partial(slide_provenance, options=options, format=CONVERTED_FORMAT))
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
    plan = plan_slides(options, partial(slide_provenance, options=options, format=THUMBNAIL_FORMAT))
    if options.dry_run:
        return plan.result()
    outcome = run_slides(plan, partial(make_thumbnail, options=options), "drawing")
    return VerbResult(summary={"images": len(outcome.complete)}, lines=plan.found.notes, **outcome.counts())


def convert_slide(source: Source, options: ConvertOptions) -> str:
    """Convert one slide, the done record last; return a line about it.

    Raises:
        UnreadableImage: the file is no image or is damaged.
        InvalidData: it is neither RGB nor gray of 8 bits.
        UsageError: an mpp for a slide of unknown resolution, or finer than the slide.
    """
    stem, folder = id_to_name(source.image_id), options.output

    def write(image: Image) -> tuple[list[Path], str]:
        _check_8_bits(image)
        scale = options.scale(image) or 1.0
        if scale < 1:
            raise UsageError(f"its pixels of {image.mpp:g} µm are coarser than {options.mpp:g} µm", where=image.path)
        height, width = scaled_size(image, scale)

        def read(top: int, rows: int) -> Strip:
            return read_scaled_rows(image, scale, top, rows) if scale > 1 else image.read(0, top, width, rows)

        mpp = None if image.mpp is None else image.mpp * image.shape[1] / width
        path = write_pyramid(
            folder / f"{stem}{_SUFFIX[options.format]}",
            read,
            height,
            width,
            mpp=mpp,
            compression=options.compression,
            quality=options.quality,
            ome=options.format == "ome-tiff",
        )
        stated = "no size of a pixel stated" if mpp is None else f"{mpp:g} µm/px"
        outputs = [path, *_identifiers(image, folder, stem, options.with_identifiers)]
        return outputs, f"{width:,} wide × {height:,} high, {stated}"

    return make_slide(source, options, slide_provenance(source, options, CONVERTED_FORMAT), write)


def make_thumbnail(source: Source, options: ThumbnailOptions) -> None:
    """Write the thumbnail of one slide, the done record last.

    Raises:
        UnreadableImage: the file is no image or is damaged.
        InvalidData: it is neither RGB nor gray of 8 bits.
        UsageError: an mpp for a slide of unknown resolution, or a thumbnail of more than 20,000 pixels a side.
    """
    stem, folder = id_to_name(source.image_id), options.output

    def write(image: Image) -> tuple[list[Path], None]:
        picture = _overview(image, options)
        with stage("write"):
            outputs = [write_picture(folder / f"{stem}.png", picture.rgb)]
        return [*outputs, *_identifiers(image, folder, stem, options.with_identifiers)], None

    make_slide(source, options, slide_provenance(source, options, THUMBNAIL_FORMAT), write)


def _overview(image: Image, options: ThumbnailOptions) -> Overview:
    scale = options.scale(image)
    return read_overview(image, options.max_dimension) if scale is None else read_overview_at(image, scale)


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
