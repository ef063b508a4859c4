"""`Recording`: one image of a study with all that belongs to it, from `study["P086#2021_04_15_09_22_02"]`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from stroma.core.clock import stage
from stroma.core.errors import InvalidData, MissingFile, UsageError, nearest
from stroma.images.htc_blosc import read_htc_blosc
from stroma.images.image import Image
from stroma.images.tivita_rgb import CUBE_ENDING, read_camera_rgb, read_parameter_picture
from stroma.spectra.normalise import l1
from stroma.spectra.parameter_maps import TissueParameters
from stroma.spectra.parameters import ParameterConstants
from stroma.study.htc.camera_log import LogValue, read_camera_log
from stroma.study.htc.identifiers import without_identifiers
from stroma.study.htc.names import ImageName
from stroma.study.masks import AnnotatedMask, MergedMask, merge_masks
from stroma.study.parameters import read_parameters

if TYPE_CHECKING:
    from stroma.study.study import Study

_MISSING = object()


@dataclass(frozen=True)
class Recording:
    """One image of a study. Get it with `study[name]`, by its name or its folder; nothing is read before it is asked.

    Attributes:
        study: The study.
        image_id: The image.
        annotations: Annotations that are meant (`polygon#annotator1`), in order; empty: those of the study.
    """

    study: Study
    image_id: str
    annotations: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in self.annotations:
            if name not in self.annotation_names:
                raise UsageError(
                    f"the image '{self.image_id}' has no annotation '{name}'",
                    where=self.study.path,
                    next_step=nearest(name, self.annotation_names),
                )

    @property
    def name(self) -> str:
        """The id and, after `@`, the annotations that are meant; `study[recording.name]` is the same recording."""
        return str(ImageName(self.image_id, self.annotations))

    @cached_property
    def row(self) -> dict[str, Any]:
        """The row of the catalog."""
        return self.study.row(self.image_id)

    @property
    def subject_id(self) -> str:
        """Whose the image is."""
        return str(self.row["subject_id"])

    @property
    def path(self) -> Path:
        """The file of the image."""
        return self.study.image_path(self.image_id)

    @property
    def folder(self) -> Path:
        """The folder that it lies in."""
        return self.path.parent

    def open(self) -> Image:
        """The image, for reading by region; nothing but its header is read."""
        return self.study.open(self.image_id)

    def cube(self, **region: Any) -> NDArray[Any]:
        """Read the image or a region of it: `cube(x=…, y=…, w=…, h=…, channels=…)`, see `Image.read`.

        Returns:
            (h, w, channels), C-contiguous.
        """
        with self.open() as image:
            return image.read(**region)

    @property
    def wavelengths_nm(self) -> NDArray[np.float64]:
        """Centre wavelength of each channel in nm.

        Raises:
            InvalidData: the image has none.
        """
        with self.open() as image:
            if image.wavelengths_nm is None:
                raise InvalidData("has no wavelengths", where=self.path)
            return image.wavelengths_nm

    def rgb(self) -> NDArray[np.uint8]:
        """A picture for display, (h, w, 3) uint8; of a Tivita cube the camera's own, cropped to the cube."""
        return self.study.rgb(self.image_id)

    def sensor_rgb(self) -> NDArray[np.uint8]:
        """What the camera's RGB sensor saw, (h, w, 3) uint8; it does not fit the cube pixel by pixel.

        Raises:
            MissingFile: there is no such picture.
        """
        with self.open() as image:
            return read_camera_rgb(self.path, image.shape[0], image.shape[1], "sensor")

    def parameter_picture(self, parameter: str) -> NDArray[np.float32]:
        """A tissue parameter as the camera showed it, read back through its colour scale.

        Args:
            parameter: `StO2`, `NIR`, `THI`, `TWI`, `TLI` or `OHI`.

        Returns:
            (h, w) float32, 0-1; NaN where the colour is none of the scale.

        Raises:
            MissingFile: there is no such picture.
            UsageError: an unknown parameter.
        """
        with self.open() as image:
            height, width, _ = image.shape
        return read_parameter_picture(self.path, parameter, height=height, width=width).values

    def parameters(self, source: str = "auto", constants: ParameterConstants | None = None) -> TissueParameters:
        """Tissue parameters (StO2, NIR, THI, TWI, …), each with its source; see `stroma.study.parameters`."""
        return read_parameters(self, source, constants)

    @cached_property
    def annotation_names(self) -> tuple[str, ...]:
        """All annotations of the image (`polygon#annotator1`), those that are meant or preferred first."""
        known = {f"{row['layer']}#{row['annotator']}" for row in self.study.annotation_rows(self.image_id)}
        preferred = self.annotations or tuple(f"{self.study.layer}#{name}" for name in self.study.annotators)
        return tuple(sorted(known, key=lambda name: (_place(preferred, name), name)))

    def mask(self, annotation: str | None = None) -> AnnotatedMask:
        """Class indices of one annotation, 255 where not annotated; the result says which annotation was taken.

        Args:
            annotation: `polygon#annotator1`, or the annotator alone; default: the first that is meant, else the
                first annotator of the study who annotated this image.

        Raises:
            UsageError: there is no such annotation.
            InvalidData: the image has none, or the annotation contradicts the image or the labels.
        """
        if annotation is None and not self.annotation_names:
            raise InvalidData(f"the image '{self.image_id}' has no annotation", where=self.study.path)
        wanted = annotation or self.annotation_names[0]
        names = [name for name in self.annotation_names if wanted in (name, name.partition("#")[2])]
        if not names:
            raise UsageError(
                f"the image '{self.image_id}' has no annotation '{wanted}'",
                where=self.study.path,
                next_step=nearest(wanted, self.annotation_names),
            )
        layer, _, annotator = names[0].partition("#")
        return self.study.read_annotation(self.image_id, layer, annotator)

    def masks(self) -> dict[str, AnnotatedMask]:
        """The mask of each annotation that is meant (default: of all): name → mask."""
        return {name: self.mask(name) for name in self.annotations or self.annotation_names}

    def merged_mask(self, annotations: Sequence[str] = ()) -> MergedMask:
        """One mask of several annotations: where several annotated a pixel, the last of them wins, as in htc.

        Args:
            annotations: Their names, in order; default: those that are meant, else all.
        """
        return merge_masks([self.mask(name) for name in annotations or self.masks()])

    def labels(self, annotation: str | None = None) -> list[str]:
        """Names of the classes in a mask, in the order of the mapping."""
        present = np.bincount(self.mask(annotation).labels.ravel(), minlength=256)
        return [name for index, name in enumerate(self.study.labels.names) if present[index]]

    def median_spectrum(
        self, label: str, annotation: str | None = None, *, normalized: bool = False
    ) -> NDArray[np.float32]:
        """Median over the pixels of a class, channel by channel.

        Args:
            label: The class.
            annotation: As for `mask`.
            normalized: Whether every spectrum is divided by the sum of its absolute values before.

        Returns:
            (channels,) float32.

        Raises:
            UsageError: there is no such label or annotation.
            InvalidData: the annotation has no pixel of it.
        """
        index = self.study.labels.index(label)
        mask = self.mask(annotation)
        if not (mask.labels == index).any():
            raise InvalidData(
                f"'{mask.layer}#{mask.annotator}' of the image '{self.image_id}' has no pixel of '{label}'",
                where=self.study.path,
                next_step=nearest(label, self.labels(annotation)),
            )
        spectra = self.cube()[mask.labels == index].astype(np.float32, copy=False)
        with stage("transform"):
            return np.median(l1(spectra) if normalized else spectra, axis=0).astype(np.float32)

    @cached_property
    def annotation_meta(self) -> dict[str, Any]:
        """Content of `annotations/<timestamp>_meta.json`; empty where there is none.

        Raises:
            InvalidData: it is no JSON table.
        """
        path = self.folder / "annotations" / f"{self._stem}_meta.json"
        if not path.is_file():
            return {}
        try:
            content = json.loads(path.read_bytes())
        except ValueError as error:
            raise InvalidData(f"is not valid JSON ({error})", where=path) from error
        if not isinstance(content, dict):
            raise InvalidData("holds no table", where=path)
        return without_identifiers(content)

    @cached_property
    def camera_log(self) -> dict[str, LogValue]:
        """What the camera wrote about the recording (`Camera_CamID`, …); empty where there is no log."""
        path = self.folder / f"{self._stem}_meta.log"
        return read_camera_log(path) if path.is_file() else {}

    def meta(self, key: str | None = None, default: Any = _MISSING) -> Any:
        """What is known about the image: a catalog column, or a key of its meta file (`label_meta/liver/angle`).

        Args:
            key: None gives all as one table.
            default: For a key that is not there, or has no value; without it that is an error.

        Raises:
            UsageError: there is no such key and no default.
        """
        known = {**self.annotation_meta, **{name: value for name, value in self.row.items() if value is not None}}
        if key is None:
            return known
        value: Any = known
        parts = [key] if key in known else key.split("/")
        for i, part in enumerate(parts):
            if not isinstance(value, Mapping) or part not in value:
                if default is not _MISSING:
                    return default
                above = value if i and isinstance(value, Mapping) else {**known, **self.row}
                prefix = "/".join(parts[:i]) + "/" if above is value else ""
                raise UsageError(
                    f"the image '{self.image_id}' has no '{key}'",
                    where=self.study.path,
                    next_step=nearest(key, [f"{prefix}{name}" for name in above]),
                )
            value = value[part]
        return value

    def preprocessed(self, name: str) -> NDArray[Any] | dict[Any, NDArray[Any]]:
        """Read what htc computed beforehand, such as `L1`, `raw16` or `parameter_images`.

        Returns:
            The array, or name → array: `intermediates/preprocessing/<name>/<image_id>.blosc`.

        Raises:
            MissingFile: there is no such file.
            UnreadableImage: it is damaged.
        """
        found = self.preprocessed_file(name)
        if found is None:
            homes = self._intermediates
            folders = [
                folder.name for home in homes for folder in (home / "preprocessing").glob("*") if folder.is_dir()
            ]
            missing = homes[0] / "preprocessing" / name / f"{self.image_id}.blosc"
            raise MissingFile("was not computed by htc", where=missing, next_step=nearest(name, folders))
        return read_htc_blosc(found)

    def preprocessed_file(self, name: str) -> Path | None:
        """The file that `preprocessed` reads, if there is one."""
        file = f"{self.image_id.removesuffix('#overlap')}.blosc"
        paths = [home / "preprocessing" / name / file for home in self._intermediates]
        return next((path for path in paths if path.is_file()), None)

    @property
    def _intermediates(self) -> list[Path]:
        return [self.study.root / "intermediates", self.study.root.parent / "intermediates"]

    @property
    def _stem(self) -> str:
        return self.path.name.removesuffix(CUBE_ENDING)

    def __repr__(self) -> str:
        return f"Recording('{self.name}')"


def _place(preferred: Sequence[str], name: str) -> int:
    return preferred.index(name) if name in preferred else len(preferred)
