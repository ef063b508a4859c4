"""What every verb over slides can be told."""

from __future__ import annotations

from pydantic import Field

from stroma.core.verbs import Inputs, Output, VerbOptions, Workers


class SlideOptions(VerbOptions):
    """Which slides, and where the results go."""

    inputs: Inputs
    output: Output
    source_mpp: float | None = Field(
        None, gt=0, allow_inf_nan=False, description="Resolution in µm per pixel of files that do not state theirs"
    )
    workers: Workers = 1
