"""Which boxes of a slide can be tiles: the size of a tile in level-0 pixels, the grid, the cores of a microarray."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stroma.core.clock import stage
from stroma.images.image import Image
from stroma.prepare.slide_tissue import Tissue, known_mpp
from stroma.prepare.tile_options import TileOptions
from stroma.regions.grid import TileSize, tile_grid, tile_size, tile_step
from stroma.slides.cores import find_cores


def slide_tile_size(image: Image, options: TileOptions) -> TileSize:
    """The size of a tile on a slide, in level-0 pixels and in pixels that are read.

    Raises:
        UsageError: µm for a slide of unknown resolution, or a tile that no whole level-0 pixels give.
    """
    downsample = options.downsample or 1.0
    if options.mpp is not None:
        downsample = options.mpp / known_mpp(image, "--mpp")
    width = options.tile_px
    height = width if options.tile_height_px is None else options.tile_height_px
    if options.tile_um is not None:
        per_um = 1 / (known_mpp(image, "--tile-um") * downsample)
        width = max(1, round(options.tile_um * per_um))
        height = width if options.tile_height_um is None else max(1, round(options.tile_height_um * per_um))
    return tile_size(height, width, downsample)


def slide_grid(image: Image, size: TileSize, options: TileOptions) -> NDArray[np.int64]:
    """Boxes (n, 4) of the whole grid over a slide: x, y, w, h in level-0 pixels."""
    height, width, _ = image.shape
    step = (tile_step(size.height, options.overlap), tile_step(size.width, options.overlap))
    return tile_grid(width, height, (size.height, size.width), step, out_of_bounds=options.out_of_bounds)


def core_boxes(tissue: Tissue, image: Image) -> dict[str, tuple[int, int, int, int]]:
    """Name → x, y, w, h in level-0 pixels of the cores of a tissue microarray, cut at the slide's edge."""
    with stage("transform"):
        cores = find_cores(tissue.mask)
    down, across = tissue.overview.downsample
    boxes = {}
    for core in cores:
        left, right = (round(edge * across) for edge in (core.x, core.x + core.w))
        top, bottom = (round(edge * down) for edge in (core.y, core.y + core.h))
        inner = image.inside(left, top, right - left, bottom - top)
        boxes[core.name] = (inner.x, inner.y, inner.w, inner.h)
    return boxes


def read_tile(image: Image, tile: Mapping[str, Any], settings: Mapping[str, Any]) -> NDArray[Any]:
    """Read a tile as the verb meant it that listed it.

    Args:
        image: The slide, opened with `open_source`.
        tile: A row of its tile table: x, y, w, h and mpp.
        settings: Settings in the provenance of that table: with `downsample`, tiles of a slide without a physical
            scale are read `tile_px` wide.

    Returns:
        (h, w, channels) pixels.

    Raises:
        UnreadableImage: the file is damaged there.
    """
    x, y, w, h = (int(tile[name]) for name in "xywh")
    mpp, downsample = tile["mpp"], settings.get("downsample")
    if mpp is not None or downsample is None:
        return image.read(x, y, w, h, mpp=mpp)
    return image.read(x, y, w, h, downsample=downsample if settings.get("tma") else w / settings["tile_px"])
