"""From stored samples to the channels of an Image: transparency, palettes, channel names."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

RGB = ("red", "green", "blue")
GRAY = ("gray",)


def channel_names(count: int, *, rgb: bool) -> tuple[str, ...]:
    """`red, green, blue` first when `rgb`, `gray` for a single channel, `channel 0`… for the others."""
    if count == 1:
        return GRAY
    known = RGB if rgb and count >= 3 else ()
    return (*known, *(f"channel {i}" for i in range(len(known), count)))


def white_of(dtype: np.dtype[Any]) -> int:
    """The value of white: the largest integer of the type, 1 for floats."""
    return int(np.iinfo(dtype).max) if np.issubdtype(dtype, np.integer) else 1


def over_white(colours: NDArray[Any], alpha: NDArray[Any], *, premultiplied: bool = False) -> NDArray[Any]:
    """Lay transparent colours on white, as glass is where a slide was not scanned.

    Args:
        colours: (H, W, C) of an integer type or float.
        alpha: (H, W) opacity of the same type; its largest value is opaque.
        premultiplied: Whether the colours were already multiplied by the opacity.

    Returns:
        (H, W, C), C-contiguous, of the same type; integers are rounded.
    """
    white = white_of(colours.dtype)
    if alpha.min(initial=white) == white:
        return np.ascontiguousarray(colours)
    opacity = alpha[:, :, None].astype(np.float64) / white
    weighted = colours if premultiplied else colours * opacity
    result = weighted + (1 - opacity) * white
    if np.issubdtype(colours.dtype, np.integer):
        result = np.minimum(np.rint(result), white)
    return result.astype(colours.dtype)


def through_palette(indices: NDArray[Any], palette: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Look up (H, W) indices in a (n, 3) palette; indices beyond it are black.

    Returns:
        (H, W, 3) uint8.
    """
    indices = indices.astype(np.uint8 if indices.dtype.itemsize == 1 else np.uint16)  # also from bits
    size = int(np.iinfo(indices.dtype).max) + 1
    table = np.zeros((max(size, len(palette)), 3), dtype=np.uint8)
    table[: len(palette)] = palette
    colours: NDArray[np.uint8] = table[indices]
    return colours


def rgb_from_ycbcr(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Luma and two differences of colour as red, green, blue (ITU-R BT.601 at full range, as in JFIF 1.02, 1992).

    Args:
        pixels: (H, W, 3) uint8: Y, Cb, Cr.

    Returns:
        (H, W, 3) uint8.
    """
    luma = pixels[:, :, 0].astype(np.float32)
    blue, red = pixels[:, :, 1].astype(np.float32) - 128, pixels[:, :, 2].astype(np.float32) - 128
    colours = np.stack([luma + 1.402 * red, luma - 0.344136 * blue - 0.714136 * red, luma + 1.772 * blue], axis=2)
    rounded: NDArray[np.uint8] = np.clip(np.rint(colours), 0, 255).astype(np.uint8)
    return rounded
