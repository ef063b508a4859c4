"""Options of `stroma prepare`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from stroma.core.verbs import Flag, Output, VerbOptions, Workers
from stroma.spectra.parameters import ParameterConstants
from stroma.study.selection import Where

_OF_SUPERPIXELS = ("of", "segments", "compactness", "sigma_px")
_OF_PARAMETERS = ("source", "constants")


class PrepareOptions(VerbOptions):
    """Options of `stroma prepare`."""

    study: Annotated[Path, Flag(argument=True, setting=False)] = Field(description="study.yaml, or its folder")
    output: Output
    kind: Literal["l1", "raw16", "rgb", "superpixels", "parameters"] = Field(
        "l1",
        description="L1-normalised float16, unnormalised float16, RGB pictures, maps of superpixels or of tissue "
        "parameters",
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
    source: str = Field(
        "auto",
        description="Parameters: htc (intermediates), camera (pictures), published (formulas), a vendor's module, or "
        "auto: each from the first of these that has it",
    )
    constants: ParameterConstants = Field(
        ParameterConstants(), description="Parameters: the numbers of the formulas (--set constants.sto2_r2=0.2)"
    )
    anew: Annotated[bool, Flag(setting=False)] = Field(
        False, description="Make stores also where htc's intermediates could be used as they are"
    )
    where: Annotated[Where, Flag(setting=False)] = None
    workers: Workers = 1

    def settings(self) -> dict[str, Any]:
        """What a store depends on; the options of superpixels and parameters only where they matter."""
        outside = (
            *(_OF_SUPERPIXELS if self.kind != "superpixels" else ()),
            *(_OF_PARAMETERS if self.kind != "parameters" else ()),
        )
        return {key: value for key, value in super().settings().items() if key not in outside}
