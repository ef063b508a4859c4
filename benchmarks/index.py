"""The index of a data set of 5,000 recordings: Stroma beside what is public of `imsy-htc`.

The builder of htc's own index (`…@meta.feather`) is not public. What is public is `DataPath.iterate`, which lists
folders, and `generate_metadata_table`, which makes one row an image from names and camera logs. Stroma's index has
the same columns and also the sizes of cubes, the annotation meta files and one row for each annotation. It keeps its
tables, and on opening again only looks whether the names or sizes of files have changed.
"""

import compileall
import importlib.util
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
_TABLE = (
    "from pathlib import Path\nfrom htc.tivita.DataPath import DataPath\n"
    "from htc.tivita.metadata import generate_metadata_table\ndef run(path):\n"
    "    return len(generate_metadata_table(list(DataPath.iterate(Path(path) / 'data'))))\n"
)
PEER = Side("imsy-htc, metadata table", _TABLE, CUBE_PEER.packages)
PATHS = Side(
    "imsy-htc, names of folders alone",
    "from pathlib import Path\nfrom htc.tivita.DataPath import DataPath\ndef run(path):\n"
    "    return len(list(DataPath.iterate(Path(path) / 'data')))\n",
    CUBE_PEER.packages,
)
_PROCESS = (
    "import subprocess, sys\ndef run(path):\n    subprocess.run([sys.executable, '-c', {0!r}, path], check=True)\n"
)
_MAIN = "\nimport sys\nrun(sys.argv[1])\n"
AGAIN_PROCESS = Side("stroma, new process, opened again", _PROCESS.format(_OPEN.format("") + _MAIN))
PEER_PROCESS = Side("imsy-htc, new process", _PROCESS.format(_TABLE + _MAIN), CUBE_PEER.packages)
_INFO = (
    "import os, subprocess, sys\nfrom pathlib import Path\ndef run(path):\n"
    "    environment = {{**os.environ, 'PATH_Tivita_HeiPorSPECTRAL': path}}\n"
    "    command = [Path(sys.executable).with_name('{0}'), 'info']\n"
    "    subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)\n"
)
INFO = Side("stroma info", _INFO.format("stroma"))
PEER_INFO = Side("htc info", _INFO.format("htc"), CUBE_PEER.packages)
_LOG = (
    '[Camera]\nCamID = "0202-00118"\nExposure = 3,5\nanaloger Gain = 1\n[SW]\nName = "TIVITA"\nVersion = 1.5\n'
    "[Fremdlichterkennung]\nFremdlicht erkannt? = FALSE\nPixelmitFremdlicht = 0\n"
    "[Aufnahme]\nAufnahmemodus = Reflexion\n"
    "[Temperaturen]\nHSI-Sensor Temp. vor Scan = {0},{1:02d}\nHSI-Sensor Temp. nach Scan = {0},{2:02d}\n"
)


def run() -> list[Comparison]:
    """Index 5,000 recordings of 11 subjects; the page cache is warm."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "HeiPorSPECTRAL"
        make_tree(root, IMAGES)
        case = f"index of {IMAGES:,} recordings"
        place = [str(root)]
        _compile_stroma()
        return [
            compare(
                case, FRESH, PEER, place, repeats=3, note="once for a data set; with annotations and sizes as well"
            ),
            compare(case, AGAIN, PEER, place, repeats=3, note="ours checks that no file has changed"),
            compare(case, AGAIN_PROCESS, PEER_PROCESS, place, repeats=3, note="with the start of Python"),
            compare(
                case, AGAIN, PATHS, place, repeats=3, note="the peer opens no file and lists no folder of an image"
            ),
            compare(
                "the index made, beside `htc info`",
                FRESH,
                PEER_INFO,
                place,
                repeats=3,
                note="of the two only the peer's time holds the start of Python; it does not index",
            ),
            compare("information about settings and data sets", INFO, PEER_INFO, place, repeats=3),
        ]


def _compile_stroma() -> None:
    """Compile to bytecode, as pip has done for the peer; where Stroma is installed editable, nothing else does."""
    found = importlib.util.find_spec("stroma")
    for folder in (found and found.submodule_search_locations) or ():
        compileall.compile_dir(folder, quiet=1)


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
        (annotations.parent / f"{stamp}_meta.log").write_text(_LOG.format(30 + i % 17, i % 97, i % 89))
        label = f"label_{i % 20:02d}"
        meta = {"label_meta": {label: {"situs": 1, "angle": 25, "repetition": i % 3}}, "image_labels": [label]}
        (annotations / f"{stamp}_meta.json").write_text(json.dumps(meta))
        for annotator in (1, 2, 3) if i % 10 == 0 else (1,):
            name = f"{stamp}#polygon#annotator{annotator}#{label}#binary.png"
            (annotations / name).write_bytes(buffer.getvalue())
