"""Options of `stroma prepare`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from stroma.core.verbs import Flag, Output, VerbOptions, Workers

_OF_SUPERPIXELS = ("of", "segments", "compactness", "sigma_px")


class PrepareOptions(VerbOptions):
    """Options of `stroma prepare`."""

    study: Annotated[Path, Flag(argument=True, setting=False)] = Field(description="study.yaml, or its folder")
    output: Output
    kind: Literal["l1", "raw16", "rgb", "superpixels"] = Field(
        "l1", description="L1-normalised float16, unnormalised float16, RGB pictures, or maps of superpixels"
    )
    of: Literal["rgb", "image"] = Field(
        "rgb", description="Superpixels of the RGB picture, or of all channels (spectra are L1-normalised)"
    )
    segments: int = Field(1000, ge=1, description="About how many superpixels an image gets")
    compactness: float | None = Field(
        None,
        gt=0,
        description="Superpixels: weight of nearness against likeness (default: 10 for rgb, 0.1 for image)",
    )
    sigma_px: float = Field(
        0.0, ge=0, description="Superpixels: width of the Gaussian that smooths before, in pixels"
    )
    anew: Annotated[bool, Flag(setting=False)] = Field(
        False, description="Make stores also where htc's intermediates could be used as they are"
    )
    workers: Workers = 1

    def settings(self) -> dict[str, Any]:
        """What a store depends on; the options of superpixels only where they matter."""
        settings = super().settings()
        if self.kind != "superpixels":
            settings = {key: value for key, value in settings.items() if key not in _OF_SUPERPIXELS}
        return settings
