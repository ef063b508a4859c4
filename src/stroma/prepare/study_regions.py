"""Annotations of a study as regions of its slides."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stroma.core.errors import MissingFile
from stroma.images.image import Image
from stroma.prepare.inputs import Source
from stroma.prepare.region_coverage import SAMPLES, Fractions, Part, by_bands, class_parts, wanted
from stroma.prepare.tile_options import TileOptions
from stroma.study.config import STUDY_FILE
from stroma.study.study import Study, open_study

_DRAWN = {"polygon", "points", "runs"}


def is_study(path: Path) -> bool:
    """Whether regions are those of a study: its `study.yaml`, or the folder it lies in."""
    return path.suffix.lower() in {".yaml", ".yml"} or (path / STUDY_FILE).is_file()


@dataclass(frozen=True)
class StudyRegions:
    """What was annotated in an image of a study: all classes but the one that the study gives to all the rest."""

    study: Study
    image_id: str

    @property
    def _rows(self) -> list[dict[str, Any]]:
        return [row for row in self.study.annotation_rows(self.image_id) if row["layer"] == self.study.layer]

    def inputs(self) -> dict[str, Path]:
        """The annotation files."""
        paths = sorted({row["path"] for row in self._rows if row["path"]})
        return {f"regions {path}": self.study.root / path for path in paths}

    def settings(self) -> dict[str, Any]:
        """What the study says about its annotations."""
        config = self.study.config
        labels = None if config.labels is None else config.labels.plain()
        of_image = sorted({row["label"] for row in self._rows if row["kind"] == "image"})
        return {
            "labels": labels,
            "layer": self.study.layer,
            "annotators": list(config.annotators),
            "outside": config.outside,
            "overlap": config.overlap,
            "of_image": of_image,
        }

    def fractions(self, image: Image, boxes: NDArray[np.int64], options: TileOptions) -> Fractions:
        """How much of each box (x, y, w, h in level-0 pixels) the annotations cover.

        Raises:
            InvalidData: the annotations contradict the image or the labels.
            UsageError: a class that the study does not have.
        """
        rows = self._rows
        if all(row["kind"] == "image" for row in rows):
            return _of_whole([row["label"] for row in rows], len(boxes), options)
        names = self._names(options)
        if {row["kind"] for row in rows} <= _DRAWN:

            def parts(x: int, y: int, w: int, h: int) -> Mapping[str, Part]:
                step = max(1.0, h / SAMPLES)
                values = self.study.mask_region(self.image_id, x, y, w, h, downsample=step)
                return class_parts(values, names, (float(x), float(y)), (step, step))
        else:
            whole = self.study.mask(self.image_id)
            down, across = (size / stored for size, stored in zip(image.shape, whole.shape, strict=False))

            def parts(x: int, y: int, w: int, h: int) -> Mapping[str, Part]:
                top, bottom = (max(0, int(edge)) for edge in (y // down, -(-(y + h) // down)))
                return class_parts(whole[top:bottom], names, (0.0, top * down), (down, across))

        found = by_bands(boxes, parts)
        return found | {name: found.get(name, np.zeros(len(boxes))) for name in names.values()}

    def _names(self, options: TileOptions) -> dict[int, str]:
        labels, outside = self.study.labels, self.study.config.outside
        for name in options.region_classes:
            labels.index(name)
        chosen = options.region_classes or [name for name in labels.names if name != outside]
        return {index: name for index, name in enumerate(labels.names) if name in chosen}


def _of_whole(labels: list[str], count: int, options: TileOptions) -> Fractions:
    """The label of a whole image holds in every tile."""
    names = [name for name in labels if wanted(name, options.region_classes)]
    return {"": np.full(count, float(bool(names))), **{name: np.ones(count) for name in names}}


def study_regions(source: Source, options: TileOptions) -> StudyRegions:
    """The annotations of a slide in the study that `options.regions` names.

    Raises:
        MissingFile: the slide is not annotated there.
        UsageError: it is not in the study.
    """
    path = Path(str(options.regions))
    file = path if path.is_file() else path / STUDY_FILE
    study = _opened(str(file), file.stat().st_mtime_ns, options.regions_where)
    image_id = source.image_id if source.image_id in study else study.id_of(source.path)
    regions = StudyRegions(study, image_id)
    if not regions._rows:
        raise MissingFile(
            f"has no annotation in the study '{study.name}'"
            + (f" where {options.regions_where}" if options.regions_where else ""),
            where=source.image_id,
            next_step="Annotate it, or name other slides",
        )
    return regions


@lru_cache(maxsize=2)
def _opened(path: str, modified_ns: int, where: str | None) -> Study:
    """Opened once for all slides of a process: its tables are made from the names of all files."""
    return open_study(Path(path), where)
