"""Files of the hyperspectral phantom: image folders as in HeiPorSPECTRAL, the truth, the data set's settings."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
from numpy.typing import NDArray

from stroma.core.clock import stage
from stroma.core.files import atomic_path, id_to_name, write_bytes, write_json
from stroma.images.tivita import tivita_wavelengths, write_cube
from stroma.phantom.hsi_organs import ORGANS
from stroma.phantom.hsi_scene import Scene
from stroma.spectra.rgb import hsi_to_rgb
from stroma.study.labels import IGNORE

TRUTH_MAPS = ("blood", "oxygenation", "water", "fat", "scattering_per_cm", "scattering_power")
"""What the truth has of each pixel, as `<name>.npy` (height, width) float16, NaN on cloth."""

CAMERA = "0202-00118"
_RGB_GAIN = 1.3
_OVERLAP = 254


def subject_name(subject: int) -> str:
    """`P001` for subject 0."""
    return f"P{subject + 1:03d}"


def timestamp(subject: int, image: int) -> str:
    """A subject a day, an image every five minutes, as HeiPorSPECTRAL names its folders."""
    moment = datetime(2024, 1, 1, 8) + timedelta(days=subject, minutes=5 * image)
    return moment.strftime("%Y_%m_%d_%H_%M_%S")


def write_image(
    root: Path,
    subject: int,
    image: int,
    cube: NDArray[np.float32],
    scene: Scene,
    annotations: dict[str, NDArray[np.uint8]],
    *,
    state: str | None = None,
) -> list[Path]:
    """Write all files of an image.

    Args:
        root: Folder of the study.
        subject: Number of the subject.
        image: Number of its image.
        cube: (height, width, C) reflectance.
        scene: The truth.
        annotations: Annotator → (height, width) indices into `ORGANS`, 255 where not annotated.
        state: Written into the meta file as `perfusion_state`, if there is one.

    Returns:
        The files.
    """
    time = timestamp(subject, image)
    folder = root / "data" / "subjects" / subject_name(subject) / time
    files = [write_cube(folder / f"{time}_SpecCube.dat", cube)]
    with stage("transform"):
        rgb = hsi_to_rgb(cube, tivita_wavelengths(cube.shape[2]), gain=_RGB_GAIN)
    with stage("write"):
        files.append(_write_png(folder / f"{time}_RGB-Image.png", rgb))
        files.append(write_bytes(folder / f"{time}_meta.log", _camera_log().encode("cp1252")))
        for outdated in (folder / "annotations").glob(f"{time}#polygon#*"):  # of other settings, when replaced
            outdated.unlink()
        for annotator, labels in annotations.items():
            for index in np.unique(labels[labels != IGNORE]):
                name = f"{time}#polygon#{annotator}#{ORGANS[index].name}#binary.png"
                files.append(_write_png(folder / "annotations" / name, labels == index))
        files.append(
            write_json(folder / "annotations" / f"{time}_meta.json", _meta(scene, annotations, image, state))
        )
        files += _write_truth(root / "truth" / id_to_name(f"{subject_name(subject)}#{time}"), scene)
    return files


def _write_png(path: Path, pixels: NDArray[Any]) -> Path:
    with atomic_path(path) as temporary:
        PIL.Image.fromarray(pixels).save(temporary, format="PNG")
    return path


def _camera_log() -> str:
    """The camera's log in its own form: INI, decimal commas, German keys."""
    sections = {
        "Camera": {"CamID": CAMERA, "Exposure": "9000", "analoger Gain": "1,000000", "Speed": "4,500000"},
        "SW": {"Name": "Stroma phantom", "Version": "1"},
        "Fremdlichterkennung": {"Fremdlicht erkannt?": "False", "PixelmitFremdlicht": "0"},
        "Aufnahme": {"Aufnahmemodus": "Phantom für Prüfzwecke"},
    }
    return "\r\n".join(
        line
        for section, entries in sections.items()
        for line in (f"[{section}]", *(f"{key} = {_quoted(value)}" for key, value in entries.items()), "")
    )


def _quoted(value: str) -> str:
    """Texts and numbers stand in quotes; truth values do not, and htc reads them only so."""
    return value if value == "False" else f'"{value}"'


def _meta(scene: Scene, annotations: dict[str, NDArray[np.uint8]], image: int, state: str | None) -> dict[str, Any]:
    annotated = np.unique(np.concatenate([labels[labels != IGNORE] for labels in annotations.values()]))
    visible = np.unique(scene.labels[scene.labels != IGNORE])
    place = {"situs": 1, "angle": 0, "repetition": image + 1, "in_situ": True}
    return {
        "label_meta": {ORGANS[index].name: place for index in annotated},
        "image_labels": [ORGANS[index].name for index in visible],
        "description": "synthetic: made by stroma phantom hsi",
        **({} if state is None else {"perfusion_state": state}),
    }


def _write_truth(folder: Path, scene: Scene) -> list[Path]:
    files = [_write_png(folder / "labels.png", scene.labels)]
    for name in TRUTH_MAPS:
        values = np.where(scene.tissue, scene.composition[name], np.nan).astype(np.float16)
        with atomic_path(folder / f"{name}.npy") as temporary:
            np.save(temporary, values, allow_pickle=False)
        files.append(folder / f"{name}.npy")
    return files


def write_settings(root: Path, height: int, width: int, channels: int) -> Path:
    """Write `data/dataset_settings.json`: labels, shape, and how the folders are read."""
    names = [organ.name for organ in ORGANS]
    settings = {
        "dataset_name": "stroma_phantom",
        "data_path_class": "htc.tivita.DataPathMultiorgan>DataPathMultiorgan",
        "shape": [height, width, channels],
        "shape_names": ["height", "width", "channels"],
        "label_mapping": {
            **{name: index for index, name in enumerate(names)},
            "overlap": _OVERLAP,
            "unlabeled": IGNORE,
        },
        "last_valid_label_index": len(names) - 1,
        "label_ordering": {name: f"{index + 1:02d}" for index, name in enumerate(names)},
        "label_colors": {organ.name: organ.colour for organ in ORGANS},
        "annotation_name_default": "polygon#annotator1",
    }
    return write_json(root / "data" / "dataset_settings.json", settings)
