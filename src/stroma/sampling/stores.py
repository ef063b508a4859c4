"""Where prepared stores lie, and from (image_id, modality, preparation) to the store that fits."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from stroma.core.component import Component
from stroma.core.done import done_path
from stroma.core.errors import ConfigError, InvalidData, MissingFile
from stroma.core.files import id_to_name, read_json
from stroma.images.htc_cube import HtcCubeImage
from stroma.images.image import Image
from stroma.images.store import StoreImage
from stroma.sampling.preparation import Preparation

L1_STEP = Component(name="l1")
KINDS: dict[str, tuple[Component, ...]] = {
    "l1": (L1_STEP,),
    "raw16": (),
    "rgb": (),
    "superpixels": (),
    "parameters": (),
}
"""Kinds of stores, and the steps of a `Preparation` that their pixels have gone through."""

HTC_FOLDERS = {"l1": "L1", "raw16": "raw16"}
"""Kinds that htc prepares as well, and the name of their folder in `intermediates/preprocessing`."""


@dataclass(frozen=True)
class Stores:
    """Stores of one kind in a folder that `stroma prepare` made, or in htc's `intermediates/preprocessing`.

    Attributes:
        folder: With a subfolder for each kind.
        kind: One of `KINDS`.
    """

    folder: Path
    kind: str

    @property
    def place(self) -> Path:
        """The folder of this kind."""
        return self.folder / self.kind

    def path(self, image_id: str) -> Path:
        """The store of an image, whether it is there or not."""
        return self.place / f"{id_to_name(image_id)}.b2nd"

    def pointer(self, image_id: str) -> Path:
        """The file that is there instead of a store where a file of htc is used as it is."""
        return self.place / f"{id_to_name(image_id)}.htc.json"

    def record(self, image_id: str) -> Path:
        """The done record of an image: without it a store is not complete."""
        return done_path(self.place, image_id)

    def open(self, image_id: str) -> Image:
        """Open the store of an image.

        Raises:
            MissingFile: there is none, or it was not completed.
            InvalidData: a file of another kind lies there.
            UnreadableImage: it is damaged.
        """
        image = self._open(image_id)
        if image.prepared != KINDS[self.kind]:
            raise InvalidData(f"is no store of the kind '{self.kind}'", where=image.path)
        return image

    def _open(self, image_id: str) -> Image:
        if self.record(image_id).is_file():
            pointer = self.pointer(image_id)
            if not pointer.is_file():
                return StoreImage(self.path(image_id))
            target = Path(os.path.normpath(self.place / str(read_json(pointer)["path"])))
            return HtcCubeImage(target, prepared=KINDS[self.kind])
        htc = htc_file(self.folder, self.kind, image_id)
        if htc is not None:
            return HtcCubeImage(htc, prepared=KINDS[self.kind])
        raise MissingFile(
            f"has no complete store '{self.kind}' of the image '{image_id}'",
            where=self.folder,
            next_step=f"Make it: stroma prepare STUDY -o '{self.folder}' --kind {self.kind}",
        )


def htc_file(folder: Path, kind: str, image_id: str) -> Path | None:
    """The file of an image in htc's folder `preprocessing`, if there is one."""
    if kind not in HTC_FOLDERS:
        return None
    path = folder / HTC_FOLDERS[kind] / f"{image_id.removesuffix('#overlap')}.blosc"
    return path if path.is_file() else None


def choose_stores(folder: Path, modality: str, preparation: Preparation) -> Stores:
    """The kind of store that saves most of a preparation.

    Args:
        folder: As given by `data.store`.
        modality: `image` or `rgb`.
        preparation: What the model expects.

    Raises:
        MissingFile: there is no such folder.
        ConfigError: it has no stores that fit.
    """
    if not folder.is_dir():
        raise MissingFile(
            "the folder of prepared stores does not exist",
            where=folder,
            next_step=f"Make it: stroma prepare STUDY -o '{folder}'; or remove 'data.store'",
        )
    fitting = ["rgb"] if modality == "rgb" else ["raw16"]
    if modality != "rgb" and preparation.steps[:1] == (L1_STEP,):
        fitting = ["l1", "raw16"]
    for kind in fitting:
        if (folder / kind).is_dir() or (kind in HTC_FOLDERS and (folder / HTC_FOLDERS[kind]).is_dir()):
            return Stores(folder, kind)
    raise ConfigError(
        f"has no stores '{' or '.join(fitting)}'",
        where=folder,
        next_step=f"Make them: stroma prepare STUDY -o '{folder}' --kind {fitting[0]}",
    )
