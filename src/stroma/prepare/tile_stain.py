"""`stroma stain`: the stains of slides, and their tiles as if all had been stained alike."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from shlex import quote
from typing import Annotated, Any, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import Field

from stroma.core.clock import StageClock, stage
from stroma.core.device import resolve_device
from stroma.core.done import done_path, write_done
from stroma.core.errors import InvalidData, MissingFile, UsageError
from stroma.core.files import id_to_name
from stroma.core.items import Done, Failed, map_items
from stroma.core.progress import track
from stroma.core.provenance import InputRecord, Provenance
from stroma.core.tables import read_table
from stroma.core.verbs import Flag, Output, VerbOptions, VerbResult, Workers, write_failures
from stroma.images.image import Image
from stroma.images.open import open_image
from stroma.images.resize import resize_area
from stroma.prepare.slide_grid import read_tile
from stroma.prepare.slide_images import flush_files, remove_other_tiles, tile_stems, write_picture, write_unsynced
from stroma.prepare.slide_tiles import TILES_FORMAT
from stroma.prepare.sources import open_source
from stroma.prepare.stain_file import STAINS_FORMAT, write_stains
from stroma.prepare.tiled_slides import TiledSlide, find_tiled_slides, is_slide_complete, write_slide_sources
from stroma.slides.stain import REFERENCE_STAINS, Stains, normalise
from stroma.slides.stain_fit import StainMethod, fit_stains, fit_tile_stains

_FITTED_ON = 32
_SHOWN = 6
_SHOWN_PX = 240
_GAP_PX = 4
_AT_ONCE = 16
_LARGEST_REFERENCE = 64_000_000

Restain = Callable[[Sequence[NDArray[np.uint8]]], Sequence[NDArray[np.uint8]]]


class StainOptions(VerbOptions):
    """Options of `stroma stain`."""

    tiles: Annotated[tuple[Path, ...], Flag(argument=True, setting=False)] = Field(
        min_length=1, description="Output folders of 'stroma tile'"
    )
    output: Output
    method: StainMethod = Field("macenko", description="How stains are found: Macenko 2009 or Vahadane 2016")
    reference: str | None = Field(
        None,
        description="Stains to give: a picture, or the id of one of the slides; by default customary haematoxylin "
        "and eosin",
    )
    white: float = Field(255.0, gt=0, le=255, description="Value of glass without any stain")
    save_images: bool = Field(False, description="Write each tile in the stains of the reference")
    image_format: Literal["jpeg", "png"] = Field("jpeg", description="Of the tile images")
    quality: int = Field(80, ge=1, le=100, description="JPEG quality of the tile images")
    device: Annotated[str, Flag(setting=False)] = Field(
        "numpy", description="What restains tiles: numpy, or torch on auto, cpu, cuda, cuda:<index> or mps"
    )
    workers: Workers = 1


def stain(options: StainOptions) -> VerbResult:
    """Find the stains of slides, and give all tiles those of one reference.

    TILES are output folders of `stroma tile`; the stains of a slide are found on up to 32 of its tiles, so that its
    tiles remain comparable. Written are `stains/<slide>.json`, `pictures/<slide>.png` (tiles as scanned above, in the
    stains of the reference below) and, with `--save-images`, `images/<slide>/`. `stroma embed --stain` takes the
    folder.

    Args:
        options: See `StainOptions`.

    Raises:
        MissingFile: an input is no output folder of `stroma tile`, or there is no such reference.
        InvalidData: two slides have the same id, or the reference shows less than two stains.
        OutputConflict: the output holds results made with other settings or from other tiles.
    """
    slides = find_tiled_slides(options.tiles)
    inputs, target = _reference(options, slides)
    todo = [slide for slide in slides if not _is_complete(slide, options, inputs)]
    if options.dry_run:
        lines = [f"{'to do' if slide in todo else 'complete'}: {slide}" for slide in slides]
        return VerbResult(summary={"images": len(slides), "to do": len(todo)}, lines=lines)
    if options.device != "numpy":
        options = options.model_copy(update={"device": resolve_device(options.device)})
    clock, failed = StageClock(), list[Failed[Any]]()
    work = partial(stain_slide, options=options, inputs=inputs, target=target)
    for outcome in track(
        map_items(work, todo, workers=options.workers if len(todo) > 1 else 1), "finding stains", len(todo)
    ):
        clock.add(outcome.clock)
        if not isinstance(outcome, Done):
            failed.append(outcome)
    provenance = Provenance(STAINS_FORMAT, options.settings())
    write_failures(options.output, failed, provenance)
    lost = {failure.item.image_id for failure in failed}
    write_slide_sources(options.output, [slide for slide in slides if slide.image_id not in lost], provenance)
    tiles = " ".join(quote(str(folder)) for folder in options.tiles)
    return VerbResult(
        output=options.output,
        summary={"images": len(slides) - len(failed), "method": options.method},
        lines=[f"tiles before and after: {options.output / 'pictures'}"] if len(failed) < len(slides) else [],
        next=[f"stroma embed {tiles} -o FEATURES --encoder ENCODER --stain {quote(str(options.output))}"],
        done=len(todo) - len(failed),
        skipped=len(slides) - len(todo),
        failed=failed,
        clock=clock,
    )


def stain_slide(slide: TiledSlide, *, options: StainOptions, inputs: tuple[InputRecord, ...], target: Stains) -> None:
    """Write the stains of one slide, its picture and its tile images, the done record last.

    Raises:
        UnreadableImage: the slide is damaged.
        InvalidData: it is not RGB, has no tiles, or shows less than two stains.
    """
    provenance = slide.provenance(STAINS_FORMAT, options.settings(), inputs)
    record = done_path(options.output, slide.image_id)
    record.unlink(missing_ok=True)  # from here on the item is not complete
    table = read_table(slide.table, format=TILES_FORMAT)
    with open_source(slide.path, slide.tile_settings()) as image:
        stains = _fit(image, slide, table, options)
        restain = _restainer(stains, target, options.device)
        with stage("write"):
            outputs = [write_stains(options.output, slide.image_id, stains, target, provenance)]
        shown = _rgb_tiles(image, slide, table[_spread(len(table), _SHOWN)])
        name = f"{id_to_name(slide.image_id)}.png"
        outputs.append(write_picture(options.output / "pictures" / name, _before_and_after(list(shown), restain)))
        images = _write_images(image, slide, table, options, restain) if options.save_images else []
    remove_other_tiles(options.output / "images" / id_to_name(slide.image_id), images)
    outputs += images
    with stage("write"):
        write_done(record, provenance, outputs)


def _fit(image: Image, slide: TiledSlide, table: pl.DataFrame, options: StainOptions) -> Stains:
    chosen = table[_spread(len(table), _FITTED_ON)]
    return fit_tile_stains(
        _rgb_tiles(image, slide, chosen), len(chosen), options.method, white=options.white, where=slide.path
    )


def _spread(count: int, wanted: int) -> list[int]:
    """Up to `wanted` of `count` rows, evenly."""
    return sorted({round(value) for value in np.linspace(0, count - 1, wanted)}) if count else []


def _rgb_tiles(image: Image, slide: TiledSlide, table: pl.DataFrame) -> Iterator[NDArray[np.uint8]]:
    settings = slide.tile_settings()
    for tile in table.iter_rows(named=True):
        pixels = read_tile(image, tile, settings)
        if pixels.dtype != np.uint8 or pixels.shape[2] != 3:
            raise InvalidData(
                f"has {pixels.shape[2]} channels of {pixels.dtype}; stains are those of RGB of 8 bit",
                where=slide.path,
            )
        yield pixels


def _restainer(stains: Stains, target: Stains, device: str) -> Restain:
    """What gives tiles the stains of the reference."""
    if device == "numpy":
        return lambda tiles: [normalise(tile, stains, target) for tile in tiles]
    import torch

    from stroma.slides.stain_torch import normalise_batch

    def restain(tiles: Sequence[NDArray[np.uint8]]) -> list[NDArray[np.uint8]]:
        if len({tile.shape for tile in tiles}) > 1:
            return [one for tile in tiles for one in restain([tile])]
        batch = torch.from_numpy(np.stack(tiles)).permute(0, 3, 1, 2).to(device)
        return list(normalise_batch(batch, stains, target).permute(0, 2, 3, 1).cpu().numpy())

    return restain


def _before_and_after(tiles: list[NDArray[np.uint8]], restain: Restain) -> NDArray[np.uint8]:
    """Tiles in a row as they are, and below them restained."""
    small = []
    for tile in tiles:
        scale = min(1.0, _SHOWN_PX / max(tile.shape[:2]))
        small.append(resize_area(tile, *(max(1, round(side * scale)) for side in tile.shape[:2])))
    side = _SHOWN_PX + _GAP_PX
    canvas = np.full((2, side, side * len(small), 3), 255, dtype=np.uint8)
    for row, pictures in enumerate((small, restain(small))):
        for column, picture in enumerate(pictures):
            height, width = picture.shape[:2]
            canvas[row, :height, column * side : column * side + width] = picture
    return canvas.reshape(2 * side, -1, 3)


def _write_images(
    image: Image, slide: TiledSlide, table: pl.DataFrame, options: StainOptions, restain: Restain
) -> list[Path]:
    folder = options.output / "images" / id_to_name(slide.image_id)
    suffix = "jpeg" if options.image_format == "jpeg" else "png"
    files = [folder / f"{stem}.{suffix}" for stem in tile_stems(table)]
    tiles = _rgb_tiles(image, slide, table)
    for start in range(0, len(files), _AT_ONCE):
        part = files[start : start + _AT_ONCE]
        with stage("transform"):
            restained = restain([next(tiles) for _ in part])
        with stage("write"):
            for path, pixels in zip(part, restained, strict=True):
                write_unsynced(path, pixels, options.image_format, options.quality)
    with stage("write"):
        flush_files(files)
    return files


def _reference(options: StainOptions, slides: Sequence[TiledSlide]) -> tuple[tuple[InputRecord, ...], Stains]:
    """The stains to give, and what they are made from."""
    if options.reference is None:
        return (), REFERENCE_STAINS
    slide = next((slide for slide in slides if slide.image_id == options.reference), None)
    if slide is not None:
        records = (InputRecord.of("reference", slide.path), InputRecord.of("reference tiles", slide.table))
        with open_source(slide.path, slide.tile_settings()) as image:
            return records, _fit(image, slide, read_table(slide.table, format=TILES_FORMAT), options)
    path = Path(options.reference)
    if not path.exists():
        raise MissingFile(
            "is neither a picture nor the id of one of the slides",
            where=path,
            next_step=f"The slides are: {', '.join(slide.image_id for slide in slides[:5])}",
        )
    with open_image(path) as image:
        if image.bounds.w * image.bounds.h > _LARGEST_REFERENCE:
            raise UsageError(
                f"is {image.bounds.w} × {image.bounds.h} pixels, a reference is a picture of tissue",
                where=path,
                next_step="Tile it too and give its id, or cut out a part",
            )
        pixels = image.read()
    try:
        return (InputRecord.of("reference", path),), fit_stains(pixels, options.method, white=options.white)
    except (InvalidData, UsageError) as error:
        raise type(error)(error.what, where=path, next_step=error.next_step) from error


def _is_complete(slide: TiledSlide, options: StainOptions, inputs: tuple[InputRecord, ...]) -> bool:
    """Whether nothing is left to do; a slide that cannot be read is tried, so that its failure is recorded."""
    try:
        provenance = slide.provenance(STAINS_FORMAT, options.settings(), inputs)
    except (MissingFile, OSError):
        return False
    return is_slide_complete(done_path(options.output, slide.image_id), provenance, options)
