"""The chips of the colour checkers that are photographed beside tissue: names and nominal colours, row by row."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from stroma.core.errors import UsageError, nearest

ROWS, COLUMNS = 4, 6

_CLASSIC = """
dark_skin 735244, light_skin c29682, blue_sky 627a9d, foliage 576c43, blue_flower 8580b1, bluish_green 67bdaa,
orange d67e2c, purplish_blue 505ba6, moderate_red c15a63, purple 5e3c6c, yellow_green 9dbc40, orange_yellow e0a32e,
blue 383d96, green 469449, red af363c, yellow e7c71f, magenta bb5695, cyan 0885a1,
white f3f3f2, neutral_8 c8c8c8, neutral_65 a0a0a0, neutral_5 7a7a7a, neutral_35 555555, black 343434
"""
_VIDEO = """
confetti ece85c, froly f18171, lavender_magenta f08eed, cornflower_blue 747df1, blizzard_blue 9eebed,
pastel_green 90e168,
tobacco_brown 6d5840, antique_brass c59064, gold_sand e8c49a, tumbleweed deb282, pancho ecccab, desert_sand edceb0,
merlin 45433e, chicago 605f5a, lemon_grass 98968b, dawn aba89c, ash c4c0b5, westar dfdbd1,
iridium 3b3a35, dune 363531, davy_grey 575853, moon_mist dcd8cc, timberwolf e0dcd0, white_rock eee8dd
"""


@dataclass(frozen=True)
class Board:
    """A colour checker: one or two fields of 4 × 6 chips.

    Attributes:
        name: As htc calls it in file names.
        chips: Names of the chips; chip i has the value i + 1 in a mask.
        hex_colours: Nominal colour of each (sRGB, 6 digits).
    """

    name: str
    chips: tuple[str, ...]
    hex_colours: tuple[str, ...]

    @property
    def fields(self) -> int:
        """How many fields of 4 × 6 chips it has."""
        return len(self.chips) // (ROWS * COLUMNS)

    @cached_property
    def rgb(self) -> NDArray[np.float64]:
        """(fields, 4, 6, 3) nominal colours, 0-255."""
        values = [[int(text[i : i + 2], 16) for i in (0, 2, 4)] for text in self.hex_colours]
        return np.array(values, dtype=np.float64).reshape(-1, ROWS, COLUMNS, 3)


def _board(name: str, text: str) -> Board:
    chips = [entry.split() for entry in text.replace("\n", " ").split(",")]
    return Board(name, tuple(chip for chip, _ in chips), tuple(colour for _, colour in chips))


BOARDS = {
    "cc_classic": _board("cc_classic", _CLASSIC),
    "cc_passport": _board("cc_passport", f"{_CLASSIC.strip()}, {_VIDEO.strip()}"),
}
"""The boards htc knows: the classic one with 24 chips, and the passport (classic and video) with 48."""


def board_of(name: str) -> Board:
    """The board called `name`.

    Raises:
        UsageError: there is none.
    """
    if name not in BOARDS:
        raise UsageError(f"there is no colour checker '{name}'", next_step=nearest(name, BOARDS))
    return BOARDS[name]
