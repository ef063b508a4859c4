"""Masks of colour checkers beside recordings: those of htc, and ours in the same form; spectra of their chips."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from stroma.core.errors import InvalidData, MissingFile, nearest
from stroma.regions.mask_files import write_mask_png
from stroma.regions.masks import grey_from_rgb, read_mask
from stroma.regions.nrrd import plain_name, read_mitk_nrrd
from stroma.spectra.colour_boards import BOARDS, COLUMNS, Board
from stroma.spectra.medians import median_rows

_AUTOMATIC = "#squares#automask#"
_DRAWN = "#polygon#"


@dataclass(frozen=True)
class ChipMask:
    """Which pixels show which chip.

    Attributes:
        mask: (h, w) uint8: chip i of the board has the value i + 1, 0 is no chip.
        board: The colour checker.
        path: The file.
    """

    mask: NDArray[np.uint8]
    board: Board
    path: Path


def chip_mask_name(stem: str, board: Board) -> str:
    """How htc calls the mask of a recording, `<timestamp>#squares#automask#cc_classic.png`."""
    return f"{stem}{_AUTOMATIC}{board.name}.png"


def is_chip_mask_name(name: str) -> bool:
    """Whether a file is called like the computed mask of a known colour checker."""
    return _AUTOMATIC in name and name.endswith(".png") and _board_name(Path(name)) in BOARDS


def find_chip_mask(recording: Path | str) -> Path | None:
    """The mask of a colour checker in the folder of a recording or its `annotations`; None where there is none.

    A computed one (`*#squares#automask#<board>.png`) is preferred to a drawn one (`*#polygon#<board>.nrrd`).

    Raises:
        InvalidData: there are several.
    """
    folders = [folder for folder in (Path(recording) / "annotations", Path(recording)) if folder.is_dir()]
    names = sorted(path for folder in folders for path in folder.iterdir() if path.is_file())
    for part, suffix in ((_AUTOMATIC, ".png"), (_DRAWN, ".nrrd")):
        found = [
            path for path in names if part in path.name and _board_name(path) in BOARDS and path.suffix == suffix
        ]
        if len(found) > 1:
            raise InvalidData(
                f"has {len(found)} masks of colour checkers: {', '.join(path.name for path in found)}",
                where=recording,
                next_step="Name the file itself",
            )
        if found:
            return found[0]
    return None


def read_chip_mask(path: Path | str) -> ChipMask:
    """Read the mask of a colour checker.

    Args:
        path: The PNG of indices or the NRRD of MITK, whose name ends in the board (`#cc_classic.png`), or the
            folder of a recording.

    Raises:
        MissingFile: there is none.
        InvalidData: the name holds no known board, or the mask a value that is no chip.
    """
    path = Path(path)
    if path.is_dir():
        found = find_chip_mask(path)
        if found is None:
            raise MissingFile("has no mask of a colour checker (*#squares#automask#<board>.png)", where=path)
        path = found
    name = _board_name(path)
    if name not in BOARDS:
        raise InvalidData(
            f"names the colour checker '{name}', which is not known", where=path, next_step=nearest(name, BOARDS)
        )
    board = BOARDS[name]
    mask = _from_nrrd(path, board) if path.suffix == ".nrrd" else grey_from_rgb(read_mask(path), where=path)
    if int(mask.max(initial=0)) > len(board.chips) or int(mask.min(initial=0)) < 0:
        raise InvalidData(f"has the value {mask.max()}, a {name} has {len(board.chips)} chips", where=path)
    return ChipMask(mask.astype(np.uint8), board, path)


def write_chip_mask(path: Path | str, mask: NDArray[np.uint8], board: Board) -> Path:
    """Write the mask of a colour checker as a PNG of indices, which viewers show in the colours of the chips."""
    palette = np.zeros((256, 3), dtype=np.uint8)
    palette[1 : len(board.chips) + 1] = board.rgb.reshape(-1, 3).astype(np.uint8)
    return write_mask_png(Path(path), mask, palette)


def chip_rows(pixels: NDArray[Any], mask: NDArray[np.uint8], board: Board, *, image_id: str) -> pl.DataFrame:
    """Median spectra (or colours) of the chips of one image.

    Args:
        pixels: (h, w, channels).
        mask: (h, w): 1 for the first chip and so on, 0 for none.
        board: The colour checker.
        image_id: The image.

    Returns:
        One row a chip that is in the mask: image_id, label (its name), value (in the mask), row and column on its
        field, nominal (hex), n_pixels and the spectra of `spectra.medians.medians_schema` as lists.

    Raises:
        InvalidData: the mask has another size than the pixels.
    """
    if mask.shape != pixels.shape[:2]:
        raise InvalidData(f"the mask is {mask.shape}, the image {pixels.shape[:2]} (height, width)", where=image_id)
    index = mask - np.uint8(1)  # 0 becomes 255: not annotated
    table = median_rows(pixels, index, board.chips, image_id=image_id, subject_id="", annotator="")
    chips = pl.DataFrame(
        {
            "label": list(board.chips),
            "value": np.arange(1, len(board.chips) + 1),
            "row": [i // COLUMNS % 4 for i in range(len(board.chips))],
            "column": [i % COLUMNS for i in range(len(board.chips))],
            "nominal": [f"#{colour}" for colour in board.hex_colours],
        }
    )
    spectra = [name for name in table.columns if name.endswith("_spectrum")]
    return (
        chips.join(table, on="label", how="inner", maintain_order="left")
        .with_columns(pl.col(spectra).arr.to_list())
        .select("image_id", *chips.columns, "n_pixels", *spectra)
    )


def _board_name(path: Path) -> str:
    return path.stem.rpartition("#")[2]


def _from_nrrd(path: Path, board: Board) -> NDArray[np.uint8]:
    """Values of the board from the names of the labels, whatever their values are."""
    read = read_mitk_nrrd(path)
    result = np.zeros(read.mask.shape[1:], dtype=np.uint8)
    for layer, labels in zip(read.mask, read.labels, strict=True):
        for label in labels:
            name = plain_name(label.name)
            if label.value and name in board.chips:
                result[layer == label.value] = board.chips.index(name) + 1
    return result
