"""The index of a data set of 5,000 recordings: Stroma beside `imsy-htc`'s public way to a table of images.

The builder of htc's own index (`…@meta.feather`) is not public. What is public is `DataPath.iterate` and
`generate_metadata_table`, which make one row an image from names and camera logs; Stroma's index has the same columns
and also the files' sizes, the annotation meta files and one row for each annotation.
"""

import io
import json
import tempfile
from pathlib import Path

import numpy as np
import PIL.Image

from benchmarks.cube_read import PEER as CUBE_PEER
from benchmarks.peer import Comparison, Side, compare

IMAGES = 5_000
_OPEN = (
    "import shutil\nfrom pathlib import Path\nfrom stroma.study.datasets import open_dataset\ndef run(path):\n"
    "    cache = Path(path + ' cache')\n{0}    return len(open_dataset(Path(path), cache=cache))\n"
)
FRESH = Side("stroma, from nothing", _OPEN.format("    shutil.rmtree(cache, ignore_errors=True)\n"))
AGAIN = Side("stroma, opened again", _OPEN.format(""))
PEER = Side(
    "imsy-htc",
    "from pathlib import Path\nfrom htc.tivita.DataPath import DataPath\n"
    "from htc.tivita.metadata import generate_metadata_table\ndef run(path):\n"
    "    return len(generate_metadata_table(list(DataPath.iterate(Path(path) / 'data'))))\n",
    CUBE_PEER.packages,
)
_LOG = (
    '[Camera]\nCamID = "0202-00118"\nExposure = 3,5\nanaloger Gain = 1\n[SW]\nName = "TIVITA"\nVersion = 1.5\n'
    "[Fremdlichterkennung]\nFremdlicht erkannt? = FALSE\nPixelmitFremdlicht = 0\n"
    "[Aufnahme]\nAufnahmemodus = Reflexion\n"
)


def run() -> list[Comparison]:
    """Index 5,000 recordings of 11 subjects; the page cache is warm."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "HeiPorSPECTRAL"
        make_tree(root, IMAGES)
        case = f"index of {IMAGES:,} recordings"
        return [
            compare(case, FRESH, PEER, [str(root)], repeats=3, note="ours has annotations and sizes as well"),
            compare(case, AGAIN, PEER, [str(root)], repeats=3, note="ours checks that no file has changed"),
        ]


def make_tree(root: Path, images: int) -> None:
    """Write a data set in the layout of HeiPorSPECTRAL with cubes of 4 × 6 × 3."""
    labels = {f"label_{i:02d}": i for i in range(20)}
    settings = {
        "dataset_name": "HeiPorSPECTRAL",
        "data_path_class": "htc.tivita.DataPathMultiorgan>DataPathMultiorgan",
        "shape": [4, 6, 3],
        "shape_names": ["height", "width", "channels"],
        "label_mapping": {**labels, "overlap": 254, "unlabeled": 255},
        "last_valid_label_index": 19,
    }
    (root / "data").mkdir(parents=True)
    (root / "data" / "dataset_settings.json").write_text(json.dumps(settings))
    cube = np.array([6, 4, 3], ">i4").tobytes() + np.full(72, 0.5, ">f4").tobytes()
    buffer = io.BytesIO()
    PIL.Image.fromarray(np.ones((4, 6), bool)).save(buffer, "PNG")
    for i in range(images):
        stamp = f"2021_04_{1 + i // 1440:02d}_{i // 60 % 24:02d}_{i % 60:02d}_00"
        annotations = root / "data" / "subjects" / f"P{86 + i % 11:03d}" / stamp / "annotations"
        annotations.mkdir(parents=True)
        (annotations.parent / f"{stamp}_SpecCube.dat").write_bytes(cube)
        (annotations.parent / f"{stamp}_RGB-Image.png").write_bytes(buffer.getvalue())
        (annotations.parent / f"{stamp}_meta.log").write_text(_LOG)
        label = f"label_{i % 20:02d}"
        meta = {"label_meta": {label: {"situs": 1, "angle": 25, "repetition": i % 3}}, "image_labels": [label]}
        (annotations / f"{stamp}_meta.json").write_text(json.dumps(meta))
        for annotator in (1, 2, 3) if i % 10 == 0 else (1,):
            name = f"{stamp}#polygon#annotator{annotator}#{label}#binary.png"
            (annotations / name).write_bytes(buffer.getvalue())
