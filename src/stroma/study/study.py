"""`Study`: the images, annotations, labels and splits that a user's `study.yaml` describes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from stroma.core.config import load_config
from stroma.core.errors import ConfigError, InvalidData, MissingFile, UsageError, nearest
from stroma.core.provenance import check_format
from stroma.images.image import Image
from stroma.images.open import open_image
from stroma.study.config import STUDY_FILE, STUDY_FORMAT, StudyConfig
from stroma.study.division import divide
from stroma.study.labels import LabelMapping
from stroma.study.layouts.layout import Layout
from stroma.study.layouts.own import make_layout
from stroma.study.listing import Listing, Problem
from stroma.study.marks import read_marks, read_marks_window
from stroma.study.masks import AnnotatedMask
from stroma.study.recording import Recording
from stroma.study.rgb import read_rgb
from stroma.study.selection import both, restrict, select
from stroma.study.splits import Splits
from stroma.study.subjects import subjects_known
from stroma.study.tables import Tables, derive_tables, store_tables, stored_tables


def open_study(path: Path | str, where: str | None = None) -> Study:
    """Open a study.

    Args:
        path: `study.yaml`, or the folder it lies in; also a data set of htc without one, by its folder or the name
            that `PATH_Tivita_…` gives it (see `stroma.study.datasets.open_dataset`).
        where: Only the images that fulfil this condition: see `Study.filtered`.

    Raises:
        MissingFile: there is none.
        ConfigError: it has an unknown key or a wrong value.
        UsageError: the condition cannot be understood, or no image fulfils it.
    """
    from stroma.study.datasets import find_described

    path = Path(path)
    file = path / STUDY_FILE if path.is_dir() else path
    if not file.is_file():
        file = find_described(path) or file
    if not file.is_file():
        raise MissingFile(
            "there is no such study" if file == path else f"there is no {STUDY_FILE} in this folder",
            where=path,
            next_step=f"Describe a folder of images first: stroma init '{path}'",
        )
    config = load_config(file, StudyConfig)
    check_format(config.format, STUDY_FORMAT, where=file)
    return Study(config, file).filtered(where)


class Study:
    """The images, annotations, labels and splits of a study. Open one with `stroma.open_study`.

    Its tables are derived from the files: they lie beside `study.yaml` (`catalog.parquet`,
    `annotations.parquet`) and are made again when the names or sizes of the files have changed.

    Args:
        config: What `study.yaml` holds.
        path: Where it lies.
        tables: Its tables, when they have just been made.
        where: The condition that all its images fulfil.

    Attributes:
        config: What `study.yaml` holds.
        path: `study.yaml`.
        root: Folder with the images.
    """

    def __init__(
        self, config: StudyConfig, path: Path, tables: Tables | None = None, where: str | None = None
    ) -> None:
        self.config = config
        self.where = where
        self.path = Path(path)
        self.root = Path(os.path.normpath(self.path.parent / config.root))
        if tables is not None:
            self.__dict__["_tables"] = tables

    @property
    def name(self) -> str:
        """Name of the study."""
        return self.config.name

    @property
    def labels(self) -> LabelMapping:
        """The classes.

        Raises:
            ConfigError: the study has none.
        """
        if self.config.labels is None:
            raise ConfigError(
                "the study has no labels", where=self.path, next_step="Add 'labels: {names: […]}' to it"
            )
        return self.config.labels

    @property
    def catalog(self) -> pl.DataFrame:
        """One row an image: `image_id, subject_id, path` (relative to `root`) and metadata, sorted by id."""
        return self._tables.catalog

    @property
    def annotations(self) -> pl.DataFrame:
        """One row an annotation (`ANNOTATIONS_SCHEMA`)."""
        return self._tables.annotations

    @property
    def subject_known(self) -> bool:
        """Whether it is known whose the images are; otherwise each image counts as its own subject."""
        return subjects_known(self.catalog, self.config.subjects)

    def describe_subjects(self) -> str:
        """A sentence part for every output that counts subjects: `11 subjects`, or that they are unknown."""
        count = self.catalog["subject_id"].n_unique()
        if self.subject_known:
            return f"{count:,} subjects" if count != 1 else "1 subject"
        return f"unknown subjects: each of the {count:,} images counts as its own"

    @cached_property
    def layout(self) -> Layout:
        """How the files lie."""
        return make_layout(self.config.layout)

    def listing(self) -> Listing:
        """What lies in the folder of the study now.

        Raises:
            MissingFile: the folder does not exist.
        """
        if not self.root.is_dir():
            step = f"Correct 'root' in {self.path}"
            raise MissingFile("the folder of the study does not exist", where=self.root, next_step=step)
        return self.layout.listing(self.root)

    @cached_property
    def _tables(self) -> Tables:
        listing = self.listing()
        tables = stored_tables(self.config, self.path, listing) or self._derive(listing)
        return restrict(tables, self.where, origin=self.path)

    def _derive(self, listing: Listing) -> Tables:
        tables = derive_tables(self.config, self.path, self.layout.scan(listing))
        store_tables(tables, self.config, self.path, listing)
        return tables

    def refresh(self) -> tuple[Problem, ...]:
        """Make the tables again from the files, also when nothing has changed; returns what was left out, and why."""
        tables = self._derive(self.listing())
        for derived in ("_rows", "_annotations_of", "layer"):
            self.__dict__.pop(derived, None)
        self.__dict__["_tables"] = restrict(tables, self.where, origin=self.path)
        return tables.problems

    @cached_property
    def _rows(self) -> dict[str, int]:
        return {image_id: row for row, image_id in enumerate(self.catalog["image_id"])}

    def __len__(self) -> int:
        """Number of images."""
        return len(self.catalog)

    def __iter__(self) -> Iterator[str]:
        """Ids of all images, sorted."""
        return iter(self._rows)

    def __contains__(self, image_id: object) -> bool:
        """Whether the study has an image of this id."""
        return image_id in self._rows

    def __getitem__(self, name: str | Path) -> Recording:
        """One image with all that belongs to it, by its name, with annotations after `@`, or by its file or folder.

        Raises:
            UsageError: there is no such image or annotation.
        """
        text = str(name)
        image_id, at, annotations = text.rpartition("@")
        if text not in self and at and image_id in self:
            return Recording(self, image_id, tuple(annotations.split("&")))
        if text not in self and (isinstance(name, Path) or Path(text).exists() or (self.root / text).exists()):
            return Recording(self, self.id_of(name))
        return Recording(self, str(self.row(text)["image_id"]))

    def select(self, where: str | None = None) -> Iterator[Recording]:
        """The images that fulfil an SQL condition on metadata, labels, annotators: see `stroma.study.selection`."""
        return select(self, where)

    def filtered(self, where: str | None) -> Study:
        """The study of the images that fulfil a condition: what `--where` gives the verbs.

        Of annotations it has those that fulfil a condition on them: `annotator = 'a2'` gives the masks of a2.

        Args:
            where: As for `select`; None is the study itself.

        Raises:
            UsageError: the condition cannot be understood, or no image fulfils it.
        """
        if where is None:
            return self
        tables = restrict(self._tables, where, origin=self.path)
        return Study(self.config, self.path, tables, both(self.where, where))

    def row(self, image_id: str) -> dict[str, Any]:
        """The catalog row of an image.

        Raises:
            UsageError: there is no such image.
        """
        if image_id not in self._rows:
            raise UsageError(
                f"there is no image '{image_id}' in the study",
                where=self.path,
                next_step=nearest(image_id, self._rows),
            )
        return self.catalog.row(self._rows[image_id], named=True)

    def image_path(self, image_id: str) -> Path:
        """The file of an image."""
        return self.root / str(self.row(image_id)["path"])

    def id_of(self, path: Path | str) -> str:
        """Id of the image at `path`, or alone in this folder, below the working folder or the root of the study.

        Raises:
            UsageError: no image of the study, or several of them.
        """
        given, root = (Path(os.path.normpath(Path.cwd() / folder)) for folder in (path, self.root))
        place = given if given.exists() else Path(os.path.normpath(root / path))
        relative = Path(os.path.relpath(place, root)).as_posix()
        found = [
            image_id
            for image_id, file in self.catalog.select("image_id", "path").iter_rows()
            if file == relative or file.startswith(f"{relative}/")
        ]
        if len(found) != 1:
            raise UsageError(f"holds {len(found)} images of the study '{self.name}' where one is needed", where=path)
        return str(found[0])

    def open(self, image_id: str) -> Image:
        """Open an image; nothing but its header is read."""
        return open_image(self.image_path(image_id), **self.open_options(image_id))

    def open_options(self, image_id: str) -> dict[str, Any]:
        """What `open_image` is told about an image: `open` of study.yaml, and the resolution that the catalog has."""
        mpp = self.row(image_id).get("mpp")
        return {**({} if mpp is None else {"mpp": mpp}), **self.config.open}

    def rgb(self, image_id: str) -> NDArray[np.uint8]:
        """A picture of the image for display, (h, w, 3) uint8: see `stroma.study.rgb.read_rgb`."""
        with self.open(image_id) as image:
            return read_rgb(self.image_path(image_id), image)

    @cached_property
    def layer(self) -> str | None:
        """The kind of annotation that masks are made of; None when there are no annotations.

        Raises:
            ConfigError: there are several, and `study.yaml` does not choose one.
        """
        layers = self.annotations["layer"].unique().sort().to_list()
        if self.where is not None and len(layers) == 1:
            return str(layers[0])
        if self.config.layer is not None:
            if self.config.layer not in layers:
                raise ConfigError(
                    f"there are no annotations of the layer '{self.config.layer}'",
                    where=self.path,
                    next_step=nearest(self.config.layer, layers),
                )
            return self.config.layer
        if len(layers) > 1:
            raise ConfigError(
                f"the annotations have the layers {', '.join(layers)}",
                where=self.path,
                next_step="Choose one with 'layer: …'",
            )
        return layers[0] if layers else None

    @property
    def annotators(self) -> tuple[str, ...]:
        """Who annotated, in the order in which they are preferred; annotators are never merged."""
        return self.config.annotators or tuple(self._of_layer["annotator"].unique().sort().to_list())

    @property
    def _of_layer(self) -> pl.DataFrame:
        return self.annotations.filter(pl.col("layer").eq_missing(self.layer))

    def annotated(self, annotator: str | None = None) -> list[str]:
        """Ids of the images that were annotated by `annotator` (default: by any of `annotators`), sorted."""
        rows = self._of_layer.filter(pl.col("annotator").is_in(self._among(annotator)))
        return rows["image_id"].unique().sort().to_list()

    def _among(self, annotator: str | None) -> tuple[str, ...]:
        if annotator is None:
            return self.annotators
        known = self._of_layer["annotator"].unique().sort().to_list()
        if annotator not in known:
            raise UsageError(
                f"there is no annotator '{annotator}'", where=self.path, next_step=nearest(annotator, known)
            )
        return (annotator,)

    def annotation_rows(self, image_id: str) -> list[dict[str, Any]]:
        """Rows of the annotations table of an image."""
        return self._annotations_of.get(image_id, [])

    @cached_property
    def _annotations_of(self) -> dict[str, list[dict[str, Any]]]:
        found: dict[str, list[dict[str, Any]]] = {}
        for row in self.annotations.iter_rows(named=True):
            found.setdefault(row["image_id"], []).append(row)
        return found

    def annotated_mask(self, image_id: str, annotator: str | None = None) -> AnnotatedMask:
        """Read what one annotator marked in an image.

        Args:
            image_id: The image.
            annotator: Who; by default the first of `annotators` who annotated this image.

        Returns:
            The mask of class indices, who made it, and how many pixels count as not annotated because
            several labels claim them.

        Raises:
            UsageError: there is no such image or annotator.
            InvalidData: the image is not annotated, or the annotation contradicts the image or the labels.
        """
        return read_marks(self, self.row(image_id), self._rows_by(image_id, annotator))

    def _rows_by(self, image_id: str, annotator: str | None) -> list[dict[str, Any]]:
        rows = [one for one in self.annotation_rows(self.row(image_id)["image_id"]) if one["layer"] == self.layer]
        by_annotator = [[r for r in rows if r["annotator"] == name] for name in self._among(annotator)]
        taken = next((group for group in by_annotator if group), None)
        if taken is None:
            raise InvalidData(
                f"the image '{image_id}' has no annotation" + (f" by '{annotator}'" if annotator else ""),
                where=self.path,
                next_step="Study.annotated() lists the images that have one",
            )
        return taken

    def read_annotation(self, image_id: str, layer: str, annotator: str) -> AnnotatedMask:
        """Read what one annotator marked in an image, in any layer; see `annotated_mask`."""
        row = self.row(image_id)
        rows = [r for r in self.annotation_rows(image_id) if (r["layer"], r["annotator"]) == (layer, annotator)]
        if not rows:
            raise InvalidData(f"the image '{image_id}' has no annotation '{layer}#{annotator}'", where=self.path)
        return read_marks(self, row, rows)

    def mask(self, image_id: str, annotator: str | None = None) -> NDArray[np.uint8]:
        """Class indices of an image, (h, w) uint8, 255 (`IGNORE`) where not annotated; see `annotated_mask`."""
        return self.annotated_mask(image_id, annotator).labels

    def mask_region(
        self,
        image_id: str,
        x: int,
        y: int,
        w: int,
        h: int,
        *,
        downsample: float = 1.0,
        annotator: str | None = None,
    ) -> NDArray[np.uint8]:
        """Class indices of a window of an image, (round(h / downsample), round(w / downsample)) uint8.

        Outlines and run lengths are drawn in the window only, so this works on slides of any size; mask files are
        read whole. Pixels beyond the image are 255 (`IGNORE`). See `annotated_mask` for errors.
        """
        rows = self._rows_by(image_id, annotator)
        return read_marks_window(self, self.row(image_id), rows, (x, y, w, h), downsample)

    def splits(self) -> Splits:
        """Divide the images as `study.yaml` says; drawn folds hold annotated images only, if any are annotated.

        Raises:
            ConfigError: it does not say.
            StromaError: as `Splits.by_subject`, `from_column`, `load` and `check` raise.
        """
        return divide(self)

    def __repr__(self) -> str:
        return f"Study('{self.name}', {len(self):,} images, {self.describe_subjects()})"
