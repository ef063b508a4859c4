"""What can be said about finding tissue: shared by `stroma tile` and `stroma tissue`."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from stroma.prepare.slide_options import SlideOptions
from stroma.slides.tissue import TissueMethod


class TissueSettings(SlideOptions):
    """Which slides, and how tissue is found on them."""

    tissue_method: TissueMethod = Field("otsu", description="Threshold on gray (otsu) or on saturation")
    threshold: int | None = Field(None, ge=0, le=255, description="Fixed tissue threshold instead of Otsu's")
    multiplier: float = Field(1.05, ge=0, allow_inf_nan=False, description="Factor on Otsu's threshold")
    sigma: float = Field(1.0, ge=0, le=100, description="Blur before the threshold, in pixels of the tissue mask")
    tissue_max_dimension: int = Field(4096, ge=64, description="Longest side of the tissue mask in pixels")
    tissue_mpp: float | None = Field(
        None, gt=0, allow_inf_nan=False, description="Resolution of the tissue mask in µm per pixel, instead"
    )
    tissue_downsample: float | None = Field(
        None, ge=1, allow_inf_nan=False, description="The same as level-0 pixels per pixel"
    )
    reject_ink: bool = Field(False, description="Take marks of pens out of the tissue")
    reject_folds: bool = Field(False, description="Take folds out of the tissue")
    smooth_px: int = Field(0, ge=0, le=100, description="Smooth outlines by a disc of this radius, in mask pixels")
    fill_holes: bool = Field(False, description="Fill holes in the tissue")
    max_hole_um2: float | None = Field(None, gt=0, description="Fill only holes of up to this area, in µm²")
    max_hole_px: float | None = Field(None, gt=0, description="The same in level-0 pixels")
    min_area_um2: float | None = Field(None, gt=0, description="Drop pieces of tissue smaller than this, in µm²")
    min_area_px: float | None = Field(None, gt=0, description="The same in level-0 pixels")

    @model_validator(mode="after")
    def _check_tissue(self) -> Self:
        if self.tissue_mpp is not None and self.tissue_downsample is not None:
            raise ValueError("give tissue_mpp or tissue_downsample, not both")
        for name in ("min_area", "max_hole"):
            if getattr(self, f"{name}_um2") is not None and getattr(self, f"{name}_px") is not None:
                raise ValueError(f"give {name}_um2 or {name}_px, not both")
        return self


class TissueOptions(TissueSettings):
    """Options of `stroma tissue`."""

    simplify_px: float = Field(0.0, ge=0, le=100, description="Simplify GeoJSON outlines by this many mask pixels")
