"""What every verb over slides can be told."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from stroma.core.verbs import Flag, Inputs, Output, VerbOptions, Workers
from stroma.study.selection import Where


class SlideOptions(VerbOptions):
    """Which slides, and where the results go."""

    inputs: Inputs
    output: Output
    source_mpp: float | None = Field(
        None, gt=0, allow_inf_nan=False, description="Resolution in µm per pixel of files that do not state theirs"
    )
    where: Annotated[Where, Flag(setting=False)] = None
    workers: Workers = 1
