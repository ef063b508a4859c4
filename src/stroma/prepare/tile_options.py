"""`TileOptions`: what `stroma tile` can be told."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from stroma.core.verbs import Flag
from stroma.prepare.tissue_options import TissueSettings
from stroma.regions.grid import OutOfBounds

HISTOPREP: Mapping[str, Any] = {
    "tile_px": 640,
    "min_tissue": 0.25,
    "multiplier": 1.05,
    "sigma": 1.0,
    "tissue_max_dimension": 8192,
    "save_images": True,
    "image_format": "jpeg",
    "quality": 80,
}
"""Defaults of HistoPrep 2.0.5; what the user gives wins. Its largest background of 0.75 is a tissue of 0.25."""


class TileOptions(TissueSettings):
    """Options of `stroma tile`."""

    preset: Literal["histoprep"] | None = Field(
        None, description="Defaults and files of HistoPrep: 640 px, tile images, a folder a slide"
    )
    tile_px: int = Field(512, ge=1, le=65_500, description="Width of a tile in pixels of the target resolution")
    tile_height_px: int | None = Field(
        None, ge=1, le=65_500, description="Height of a tile that is not square, in the same pixels"
    )
    tile_um: float | None = Field(
        None, gt=0, allow_inf_nan=False, description="Width of a tile in µm, instead of tile_px"
    )
    tile_height_um: float | None = Field(
        None, gt=0, allow_inf_nan=False, description="Height of a tile that is not square, in µm"
    )
    mpp: float | None = Field(
        None, gt=0, allow_inf_nan=False, description="Target resolution in µm per pixel; without it, level-0 pixels"
    )
    downsample: float | None = Field(
        None, ge=1, allow_inf_nan=False, description="Target resolution as level-0 pixels per pixel, instead of mpp"
    )
    overlap: float = Field(0.0, ge=0, lt=1, description="Fraction of a tile that its neighbour shares")
    out_of_bounds: OutOfBounds = Field(
        "keep",
        description="Tiles beyond the right and bottom edge: keep (padded white), drop, shift inwards; drop-last is "
        "HistoPrep's 'in bounds'",
    )
    min_tissue: float = Field(0.25, ge=0, le=1, description="Smallest tissue fraction of a tile; 0 keeps all tiles")
    regions: Annotated[Path | None, Flag(setting=False)] = Field(
        None,
        description="Tiles lie in these regions: GeoJSON or mask of the slide, a folder of them by image id, or a "
        "study.yaml with annotations",
    )
    region_classes: tuple[str, ...] = Field((), description="Only regions of this class count; may be repeated")
    regions_where: str | None = Field(
        None, description="With a study: only annotations that fulfil this condition, such as \"annotator = 'a2'\""
    )
    regions_origin: Literal["slide", "scan"] = Field(
        "slide", description="Origin of outlines: of the slide, or of its scanned area as QuPath counts it"
    )
    min_annotated: float = Field(
        0.5, ge=0, le=1, description="Smallest fraction of a tile in the regions; 0 keeps all and adds the columns"
    )
    tma: bool = Field(False, description="Take the cores of a tissue microarray instead of a grid of tiles")
    skip_unreadable: Annotated[bool, Flag(setting=False)] = Field(  # what could be read is the same
        False, description="Leave out tiles that cannot be read, and name them, instead of failing the slide"
    )
    save_images: bool = Field(False, description="Also write each tile as an image file")
    save_masks: bool = Field(False, description="With the preset: also write the tissue mask of each tile")
    save_metrics: bool = Field(False, description="With the preset: also the 67 metrics of HistoPrep of each tile")
    image_format: Literal["jpeg", "png"] = Field("jpeg", description="Of the tile images")
    quality: int = Field(80, ge=1, le=100, description="JPEG quality of the tile images")
    level: int = Field(0, ge=0, description="Pyramid level of the tile images; their size stays in level-0 pixels")
    metadata: Literal["parquet", "csv"] = Field("parquet", description="With the preset: format of the tile table")

    @model_validator(mode="before")
    @classmethod
    def _fill_in_preset(cls, values: Any) -> Any:
        if isinstance(values, Mapping) and values.get("preset") == "histoprep":
            in_um = values.get("tile_um") is not None
            return {**{key: value for key, value in HISTOPREP.items() if key != "tile_px" or not in_um}, **values}
        return values

    @model_validator(mode="after")
    def _check_size(self) -> Self:
        resolutions = [self.mpp is not None, self.downsample is not None, self.level > 0]
        if sum(resolutions) > 1:
            raise ValueError("give one of mpp, downsample and level")
        in_um, in_px = (self.tile_um, self.tile_height_um), self.model_fields_set & {"tile_px", "tile_height_px"}
        if any(in_um) and in_px:
            raise ValueError(f"give the size of a tile in µm or in pixels: {sorted(in_px)[0]} is in pixels")
        if self.tile_height_um is not None and self.tile_um is None:
            raise ValueError("tile_height_um needs tile_um")
        return self

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.regions is None and (self.region_classes or self.regions_where):
            raise ValueError("region_classes and regions_where say which regions count: name these with regions")
        if self.tma and self.overlap:
            raise ValueError("cores of a tissue microarray have no overlap")
        if self.preset is None:
            for name, value in (
                ("save_masks", self.save_masks),
                ("save_metrics", self.save_metrics),
                ("metadata", self.metadata != "parquet"),
            ):
                if value:
                    raise ValueError(f"{name} belongs to --preset histoprep")
        elif not self.save_images:
            raise ValueError("the preset histoprep is about tile images, so save_images cannot be off")
        return self
