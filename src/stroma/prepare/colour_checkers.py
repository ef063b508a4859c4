"""`stroma annotations colour-checker`: find the chips of colour checkers, their masks and spectra."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray
from PIL import Image as Pillow
from pydantic import Field

from stroma.core.clock import StageClock, stage
from stroma.core.errors import InvalidData, OutputConflict
from stroma.core.files import atomic_path, id_to_name
from stroma.core.items import Done, Failed, map_items
from stroma.core.progress import track
from stroma.core.provenance import InputRecord, Provenance
from stroma.core.tables import write_table
from stroma.core.text import plural
from stroma.core.verbs import Inputs, Output, VerbOptions, VerbResult, Workers, write_failures
from stroma.images.image import Image
from stroma.images.open import open_image
from stroma.images.tivita import TivitaImage
from stroma.images.tivita_rgb import CUBE_ENDING, camera_picture, read_camera_rgb
from stroma.prepare.inputs import Source, find_inputs
from stroma.spectra.colour_boards import BOARDS
from stroma.spectra.colour_checker import find_colour_checker
from stroma.spectra.colour_masks import chip_mask_name, chip_rows, write_chip_mask
from stroma.spectra.rgb import hsi_to_rgb

CHIPS_FORMAT = "colour-chips/1"
_OUTLINE = (255, 0, 255)


class ColourCheckerOptions(VerbOptions):
    """Options of `stroma annotations colour-checker`."""

    inputs: Inputs
    output: Output
    board: Literal["cc_classic", "cc_passport"] = Field("cc_classic", description="Which colour checker")
    margin: float = Field(0.15, ge=0, lt=0.5, description="Part of a chip's side that is left out at each edge")
    workers: Workers = 1


@dataclass(frozen=True)
class _Job:
    source: Source
    stem: str

    def __str__(self) -> str:
        return self.source.image_id


@dataclass(frozen=True)
class _Worker:
    options: ColourCheckerOptions

    def __call__(self, job: _Job) -> pl.DataFrame:
        options, board = self.options, BOARDS[self.options.board]
        with open_image(job.source.path, **job.source.options) as image:
            pixels = image.read()
            rgb = _picture(image, pixels)
        found = find_colour_checker(rgb, options.board, where=job.source.path)
        mask = found.mask(*rgb.shape[:2], margin=options.margin)
        write_chip_mask(options.output / "masks" / chip_mask_name(job.stem, board), mask, board)
        _write_overlay(options.output / "overlays" / f"{job.stem}.png", rgb, mask)
        rows = chip_rows(pixels, mask, board, image_id=job.source.image_id)
        likeness = pl.lit(found.likeness).alias("likeness")
        return rows.with_columns(likeness, pl.lit(found.chips_seen, pl.Int64).alias("chips_seen"))


def find_colour_checkers(options: ColourCheckerOptions) -> VerbResult:
    """Find the colour checker in recordings or photographs, and measure its chips.

    The board may be turned, tilted, and lit in any way. Writes masks/<name>#squares#automask#<board>.png, as htc
    keeps them in the folder `annotations` of a recording, overlays/ to look at, and chips.parquet with the median
    spectrum (of photographs: the colour) of each chip. In folders, hyperspectral cubes are looked for.

    Args:
        options: See `ColourCheckerOptions`.

    Raises:
        MissingFile: an input does not exist.
        OutputConflict: the output has results, and `overwrite` is not set.
    """
    sources = find_inputs(options.inputs, output=options.output, cubes=True).sources
    stems = [_stem(source.path) for source in sources]
    several = Counter(stem.lower() for stem in stems)
    jobs = [
        _Job(source, stem if several[stem.lower()] == 1 else id_to_name(source.image_id))
        for source, stem in zip(sources, stems, strict=True)
    ]
    table = options.output / "chips.parquet"
    if table.exists() and not options.overwrite:
        raise OutputConflict("exists already", where=table, next_step="Use --overwrite, or another --output")
    if options.dry_run:
        return VerbResult(lines=[f"would look for {options.board} in {plural(len(jobs), 'image')}"])
    results, failed, clock = list[pl.DataFrame](), list[Failed[_Job]](), StageClock()
    for outcome in track(map_items(_Worker(options), jobs, workers=options.workers), "looking", len(jobs)):
        clock.add(outcome.clock)
        if isinstance(outcome, Done):
            results.append(outcome.result)
        else:
            failed.append(outcome)
    settings = options.settings()
    write_failures(options.output, failed, Provenance("failures/1", settings))
    if not results:
        return VerbResult(options.output, failed=failed, clock=clock)
    inputs = tuple(InputRecord.of(job.source.image_id, job.source.path) for job in jobs if job.source.path.is_file())
    found = pl.concat(results)
    write_table(found, table, Provenance(CHIPS_FORMAT, settings, inputs))
    worst = found.sort("likeness").row(0, named=True)
    return VerbResult(
        table,
        {"chips": found.height},
        lines=[f"least like its nominal colours: {worst['image_id']} (correlation {worst['likeness']:.2f})"],
        done=len(results),
        failed=failed,
        clock=clock,
    )


def _stem(path: Path) -> str:
    name = path.name
    return name.removesuffix(CUBE_ENDING) if name.endswith(CUBE_ENDING) else path.stem


def _picture(image: Image, pixels: NDArray[Any]) -> NDArray[np.uint8]:
    """The camera's picture, else one computed from the cube, else the image itself."""
    height, width, _ = image.shape
    if isinstance(image, TivitaImage) and camera_picture(image.file) is not None:
        return read_camera_rgb(image.file, height, width)
    if image.wavelengths_nm is not None:
        with stage("transform"):
            return hsi_to_rgb(pixels, image.wavelengths_nm)
    if pixels.dtype != np.uint8 or pixels.shape[2] != 3:
        raise InvalidData(
            f"is neither a cube with wavelengths nor an RGB picture ({image.shape[2]} channels of {pixels.dtype})",
            where=image.path,
        )
    return pixels


def _write_overlay(path: Path, rgb: NDArray[np.uint8], mask: NDArray[np.uint8]) -> None:
    shown = rgb.copy()
    edge = np.zeros(mask.shape, dtype=bool)
    edge[1:] |= mask[1:] != mask[:-1]
    edge[:, 1:] |= mask[:, 1:] != mask[:, :-1]
    shown[edge] = _OUTLINE
    with stage("write"), atomic_path(path) as temporary:
        Pillow.fromarray(shown).save(temporary, format="PNG")
