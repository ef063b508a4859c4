"""Finding a colour checker in a picture, and the mask of its chips."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import shapely
from numpy.typing import NDArray

from stroma.core.clock import stage
from stroma.core.errors import InvalidData
from stroma.images.resize import resize_area
from stroma.regions.polygons import mask_from_polygons
from stroma.spectra.colour_boards import COLUMNS, ROWS, Board, board_of
from stroma.spectra.colour_lattice import Lattice, find_lattices, fit_homography, project

_LONGEST_SIDE_PX = 1024
_LEAST_LIKENESS = 0.85
_FEWEST_CHIPS = 12
_LOST_PX = 2.0  # what the search for edges takes off a side of a chip, at least


@dataclass(frozen=True)
class FoundBoard:
    """A colour checker in a picture.

    Attributes:
        board: Which.
        corners: (chips, 4, 2) x and y of the corners of each chip in pixels, origin at the outer corner of the
            top-left pixel; as far as its colour is even, without its edge.
        likeness: Mean correlation of the colours with the nominal ones, over the channels; 1 is best.
        chips_seen: How many chips were found one by one; the others follow from the lattice.
    """

    board: Board
    corners: NDArray[np.float64]
    likeness: float
    chips_seen: int

    def mask(self, height: int, width: int, *, margin: float = 0.15) -> NDArray[np.uint8]:
        """The mask of the chips.

        Args:
            height: Of the picture.
            width: Of the picture.
            margin: Part of a chip's side that is left out at each edge, 0 to below 0.5.

        Returns:
            (height, width) uint8: 1 for the first chip of the board and so on, 0 elsewhere.
        """
        centres = self.corners.mean(axis=1, keepdims=True)
        inner = centres + (self.corners - centres) * (1 - 2 * margin)
        shapes = np.array([shapely.Polygon(corners) for corners in inner], dtype=object)
        values = list(range(1, len(inner) + 1))
        return np.asarray(mask_from_polygons(shapes, 0, 0, width, height, values=values), dtype=np.uint8)


def find_colour_checker(
    rgb: NDArray[np.uint8], board: str = "cc_classic", *, where: Path | str | None = None
) -> FoundBoard:
    """Find a colour checker, however it is turned, and from the side.

    Patches of even colour that stand in rows and columns are a lattice; of all fields of 4 × 6 places on it and all
    four ways to turn them, the one is taken whose colours follow the nominal colours best. Light and exposure may
    differ from nominal, and chips may be covered or too dark to be told from the frame.

    Args:
        rgb: (h, w, 3) uint8.
        board: `cc_classic` or `cc_passport`.
        where: For messages.

    Returns:
        The board.

    Raises:
        UsageError: an unknown board.
        InvalidData: there is none to be found.
    """
    wanted = board_of(board)
    if rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.dtype != np.uint8:
        raise InvalidData(f"a picture is (h, w, 3) of uint8, not {rgb.shape} of {rgb.dtype}", where=where)
    with stage("transform"):
        scale = max(1.0, max(rgb.shape[:2]) / _LONGEST_SIDE_PX)
        height, width = (round(side / scale) for side in rgb.shape[:2])
        small = rgb if scale == 1 else resize_area(rgb, height, width, (0, rgb.shape[0], 0, rgb.shape[1]))
        lattices = find_lattices(small)
        fields = [_best_field(small, lattices, colours) for colours in wanted.rgb]
    best = [field for field in fields if field is not None]
    if len(best) < wanted.fields:
        patches = sum(len(lattice.places) for lattice in lattices)
        raise InvalidData(
            f"shows no colour checker {wanted.name} ({patches} patches in rows were seen, none with its colours)",
            where=where,
            next_step="The whole board must be in the picture and its chips at least 8 pixels wide",
        )
    factor = [rgb.shape[1] / small.shape[1], rgb.shape[0] / small.shape[0]]
    return FoundBoard(
        wanted,
        np.concatenate([(field.corners + 0.5) * factor for field in best]),
        float(np.mean([field.likeness for field in best])),
        sum(field.seen for field in best),
    )


@dataclass(frozen=True)
class _Field:
    corners: NDArray[np.float64]
    likeness: float
    seen: int


def _best_field(rgb: NDArray[np.uint8], lattices: Sequence[Lattice], colours: NDArray[np.float64]) -> _Field | None:
    best: _Field | None = None
    for lattice in lattices:
        for turns in range(4):
            shape = (ROWS, COLUMNS) if turns % 2 == 0 else (COLUMNS, ROWS)
            turned = np.rot90(colours, turns)
            for left, top in _windows(lattice, shape):
                field = _field(rgb, lattice, turned, left, top, shape, turns)
                if field is not None and (best is None or (field.likeness, field.seen) > (best.likeness, best.seen)):
                    best = field
    return best


def _windows(lattice: Lattice, shape: tuple[int, int]) -> list[tuple[int, int]]:
    """Left and top of all fields that hold enough of the patches; the outermost chips may not have been seen."""
    (low_x, low_y), (high_x, high_y) = lattice.places.min(axis=0), lattice.places.max(axis=0)
    found = []
    for left in range(low_x - 1, max(low_x, high_x - shape[1] + 2) + 1):
        for top in range(low_y - 1, max(low_y, high_y - shape[0] + 2) + 1):
            if _inside(lattice, left, top, shape).sum() >= _FEWEST_CHIPS:
                found.append((left, top))
    return found


def _inside(lattice: Lattice, left: int, top: int, shape: tuple[int, int]) -> NDArray[np.bool_]:
    x, y = lattice.places.T
    return np.asarray((x >= left) & (x < left + shape[1]) & (y >= top) & (y < top + shape[0]))


def _field(
    rgb: NDArray[np.uint8],
    lattice: Lattice,
    colours: NDArray[np.float64],
    left: int,
    top: int,
    shape: tuple[int, int],
    turns: int,
) -> _Field | None:
    inside = _inside(lattice, left, top, shape)
    places = lattice.places[inside].astype(np.float64)
    if min(np.ptp(places, axis=0)) < 1:
        return None
    matrix = fit_homography(places, lattice.centres[inside])
    columns, rows = np.meshgrid(np.arange(left, left + shape[1]), np.arange(top, top + shape[0]))
    grid = np.stack([columns, rows], axis=-1).astype(np.float64)
    pixels = project(matrix, grid)
    if not np.isfinite(pixels).all() or pixels.min() < 0 or (pixels > np.array(rgb.shape[1::-1]) - 1).any():
        return None
    seen = rgb[pixels[..., 1].round().astype(int), pixels[..., 0].round().astype(int)].astype(np.float64)
    likeness = _likeness(seen.reshape(-1, 3), colours.reshape(-1, 3))
    if likeness < _LEAST_LIKENESS:
        return None
    step = np.sqrt(_areas(project(matrix, places[:, None] + _SQUARE)))
    half = 0.5 * min(0.98, float(np.median((lattice.sides[inside] + _LOST_PX) / step)))
    corners = project(matrix, grid[:, :, None] + 2 * half * _SQUARE)
    # row 0, column 0 is the first chip again
    return _Field(np.rot90(corners, -turns).reshape(-1, 4, 2), likeness, int(inside.sum()))


_SQUARE = np.array([[-0.5, -0.5], [0.5, -0.5], [0.5, 0.5], [-0.5, 0.5]])


def _areas(corners: NDArray[np.float64]) -> NDArray[np.float64]:
    x, y = corners[..., 0], corners[..., 1]
    twice = (x * np.roll(y, -1, axis=-1) - np.roll(x, -1, axis=-1) * y).sum(axis=-1)
    return np.asarray(np.abs(twice) / 2)


def _likeness(seen: NDArray[np.float64], nominal: NDArray[np.float64]) -> float:
    """Mean over red, green and blue of the correlation over the chips; light and exposure do not change it much."""
    a, b = seen - seen.mean(axis=0), nominal - nominal.mean(axis=0)
    spread = np.sqrt((a**2).sum(axis=0) * (b**2).sum(axis=0))
    return float(((a * b).sum(axis=0) / np.maximum(spread, 1e-9)).mean())
