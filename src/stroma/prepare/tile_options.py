"""`TileOptions`: what `stroma tile` can be told."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from stroma.core.verbs import Inputs, Output, VerbOptions, Workers
from stroma.regions.grid import OutOfBounds
from stroma.slides.tissue import TissueMethod


class TileOptions(VerbOptions):
    """Options of `stroma tile`."""

    inputs: Inputs
    output: Output
    tile_px: int = Field(512, ge=1, le=65_500, description="Edge of a tile in pixels of the target resolution")
    mpp: float | None = Field(
        None, gt=0, allow_inf_nan=False, description="Target resolution in µm per pixel; without it, level-0 pixels"
    )
    source_mpp: float | None = Field(
        None, gt=0, allow_inf_nan=False, description="Resolution in µm per pixel of files that do not state theirs"
    )
    overlap: float = Field(0.0, ge=0, lt=1, description="Fraction of a tile that its neighbour shares")
    out_of_bounds: OutOfBounds = Field(
        "keep", description="Tiles beyond the right and bottom edge; drop-last is HistoPrep's 'in bounds'"
    )
    min_tissue: float = Field(0.25, ge=0, le=1, description="Smallest tissue fraction of a tile; 0 keeps all tiles")
    tissue_method: TissueMethod = Field("otsu", description="Threshold on gray (otsu) or on saturation")
    threshold: int | None = Field(None, ge=0, le=255, description="Fixed tissue threshold instead of Otsu's")
    multiplier: float = Field(1.05, ge=0, allow_inf_nan=False, description="Factor on Otsu's threshold")
    sigma: float = Field(1.0, ge=0, le=100, description="Blur before the threshold, in pixels of the tissue mask")
    tissue_max_dimension: int = Field(4096, ge=64, description="Longest side of the tissue mask in pixels")
    fill_holes: bool = Field(False, description="Fill holes in the tissue")
    min_area_um2: float | None = Field(None, gt=0, description="Drop pieces of tissue smaller than this, in µm²")
    min_area_px: float | None = Field(None, gt=0, description="The same in level-0 pixels")
    save_images: bool = Field(False, description="Also write each tile as an image file")
    image_format: Literal["jpeg", "png"] = Field("jpeg", description="Of the tile images")
    quality: int = Field(80, ge=1, le=100, description="JPEG quality of the tile images")
    workers: Workers = 1

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.min_area_um2 is not None and self.min_area_px is not None:
            raise ValueError("give min_area_um2 or min_area_px, not both")
        return self
