"""Superpixels as samples of a classifier: each cut out, the pixels around it zero, at one size."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from stroma.core.clock import stage
from stroma.core.component import Component
from stroma.core.errors import ConfigError, nearest
from stroma.images.image import Image
from stroma.regions.superpixels import SlicOptions, slic
from stroma.spectra.rgb import hsi_to_rgb


@dataclass(frozen=True)
class SuperpixelSamples:
    """How superpixels are made and cut out.

    The defaults are those of the classifier of Seidlitz et al., Medical Image Analysis 80 (2022): about 1,000
    superpixels of the image's colours (SLIC, smoothed by 3 px), each resized to 32 × 32 pixels. That work used
    scikit-image's SLIC; `stroma.regions.superpixels` draws slightly other borders.

    Attributes:
        segments: About how many superpixels.
        compactness: As in `SlicOptions`.
        sigma_px: As in `SlicOptions`.
        size_px: Side of a cut-out superpixel.
    """

    segments: int = 1000
    compactness: float | None = None
    sigma_px: float = 3.0
    size_px: int = 32

    @classmethod
    def of(cls, component: Component) -> SuperpixelSamples:
        """From `{name: superpixel, segments: 1000}`.

        Raises:
            ConfigError: an unknown parameter.
        """
        known = list(cls.__dataclass_fields__)
        for key in component.parameters:
            if key not in known:
                raise ConfigError(f"superpixel has no parameter '{key}'", next_step=nearest(key, known))
        return cls(**component.parameters)

    def regions(self, image: Image, stored: NDArray[Any]) -> NDArray[np.int32]:
        """The superpixels of an image, (H, W) numbered from 0; of a cube, those of its RGB rendering."""
        with stage("transform"):
            nm = image.wavelengths_nm
            picture = stored if nm is None or stored.shape[2] == 3 else hsi_to_rgb(stored, nm)
            return slic(picture, SlicOptions(self.segments, self.compactness, self.sigma_px))


def cut_out(prepared: NDArray[np.float32], regions: NDArray[np.int32]) -> Iterator[NDArray[np.float32]]:
    """The smallest box around each superpixel, in the order of their numbers; pixels of others are 0.

    Args:
        prepared: (H, W, C).
        regions: (H, W), numbered from 0 without gaps.

    Yields:
        (h, w, C), of other sizes each.
    """
    for number, box in enumerate(ndimage.find_objects(regions + 1)):
        yield prepared[box] * (regions[box] == number)[:, :, None]
