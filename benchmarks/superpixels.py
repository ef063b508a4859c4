"""SLIC of a surgical field: Stroma beside scikit-image, on 100 bands and on RGB, with the quality of both.

The notes of the table hold the quality: boundary recall (true borders with a superpixel border at most 2 px away) and
undersegmentation error (Neubert and Protzel 2012) against the phantom's organs.
"""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.inputs.surgical_field import surgical_field
from benchmarks.peer import Comparison, Side, compare_measures

_LOAD = "import numpy as np\nheld = {}\ndef load(path):\n    return held.setdefault(path, np.load(path))\n"
OURS = Side(
    "stroma",
    _LOAD + "from stroma.regions import SlicOptions, slic\ndef run(path, compactness, result):\n"
    "    np.save(result + 'ours.npy', slic(load(path), SlicOptions(1000, compactness)))\n",
)
PEER = Side(
    "scikit-image",
    _LOAD + "from skimage.segmentation import slic\ndef run(path, compactness, result):\n"
    "    found = slic(load(path), n_segments=1000, compactness=compactness, start_label=0, channel_axis=2)\n"
    "    np.save(result + 'peer.npy', found)\n",
)


def run() -> list[Comparison]:
    """480 × 640, about 1,000 superpixels."""
    from PIL import Image

    from stroma.images import read_cube
    from stroma.images.tivita_rgb import read_camera_rgb
    from stroma.spectra import l1

    found: list[Comparison] = []
    with tempfile.TemporaryDirectory() as folder:
        cube = surgical_field(Path(folder))
        truth = np.asarray(Image.open(next((Path(folder) / "phantom" / "truth").rglob("labels.png"))))
        bands, rgb = Path(folder) / "bands.npy", Path(folder) / "rgb.npy"
        np.save(bands, l1(read_cube(cube)))
        np.save(rgb, read_camera_rgb(cube, *truth.shape))
        for case, path, compactness in (("100 bands", bands, 0.3), ("100 bands", bands, 0.1), ("RGB", rgb, 10.0)):
            result = str(Path(folder) / "result_")
            timed = compare_measures(
                f"SLIC {case}, compactness {compactness:g}",
                OURS,
                PEER,
                [str(path), compactness, result],
                measures=("seconds", "cpu_seconds"),
                repeats=7,
            )
            note = "; ".join(quality(side, np.load(f"{result}{side}.npy"), truth) for side in ("ours", "peer"))
            for comparison in timed:
                comparison.note = note
            found += timed
    return found


def quality(side: str, superpixels: np.ndarray[Any, Any], truth: np.ndarray[Any, Any]) -> str:
    """Boundary recall, undersegmentation error and number of superpixels, as text."""
    from scipy import ndimage
    from skimage.segmentation import find_boundaries

    distance = ndimage.distance_transform_edt(~find_boundaries(superpixels, mode="inner"))
    recall = float((distance[find_boundaries(truth, mode="inner")] <= 2).mean())
    table = np.zeros((int(superpixels.max()) + 1, int(truth.max()) + 1), dtype=np.int64)
    np.add.at(table, (superpixels.ravel(), truth.ravel()), 1)
    error = float(np.minimum(table, table.sum(axis=1, keepdims=True) - table).sum() / truth.size)
    return f"{side} BR {recall:.3f} UE {error:.4f} n {len(table)}"
