"""Reading prepared cubes: our store beside the Blosc files that `imsy-htc` writes, whole and a 64-pixel patch."""

import tempfile
from pathlib import Path

from benchmarks.inputs.surgical_field import prepared_field
from benchmarks.peer import Comparison, Side, compare_measures

OURS = Side(
    "stroma",
    "import numpy as np\nfrom stroma.images import open_image\nopened = {}\nrng = np.random.default_rng(0)\n"
    "def run(store, array, size):\n"
    "    image = opened.setdefault(store, open_image(store))\n"
    "    if not size:\n        return image.read()\n"
    "    for _ in range(20):\n"
    "        image.read(int(rng.integers(640 - size)), int(rng.integers(480 - size)), size, size)\n",
)
PEER = Side(
    "Blosc 1, settings of imsy-htc",
    "import blosc, numpy as np\nrng = np.random.default_rng(0)\nframes = {}\n"
    "def read(array):\n"
    "    if array not in frames:\n"
    "        cube = np.load(array)\n"
    "        packed = blosc.compress_ptr(cube.ctypes.data, cube.size, 2, 9, 1, 'zstd')\n"
    "        open(array + '.blosc', 'wb').write(packed)\n"
    "        frames[array] = cube.shape\n"
    "    result = np.empty(frames[array], np.float16)\n"
    "    blosc.decompress_ptr(open(array + '.blosc', 'rb').read(), result.ctypes.data)\n"
    "    return result\n"
    "def run(store, array, size):\n"
    "    if not size:\n        return read(array)\n"
    "    for _ in range(20):\n"
    "        x, y = int(rng.integers(640 - size)), int(rng.integers(480 - size))\n"
    "        read(array)[y:y + size, x:x + size].copy()\n",
    ("blosc==1.11.2", "numpy"),
)


def run() -> list[Comparison]:
    """The L1 cube of a phantom, 480 × 640 × 100 float16, in the page cache."""
    found: list[Comparison] = []
    with tempfile.TemporaryDirectory() as folder:
        store, array = prepared_field(Path(folder))
        measures = ("seconds", "cpu_seconds")
        for case, size, repeats in (("whole L1 cube", 0, 9), ("20 patches of 64 px", 64, 3)):
            arguments = [str(store), str(array), size]
            found += compare_measures(
                case, OURS, PEER, arguments, measures=measures, repeats=repeats, note="warm page cache"
            )
        size_ours, size_peer = store.stat().st_size, Path(f"{array}.blosc").stat().st_size
        found.append(
            Comparison(
                "size on disk", "stroma", PEER.name, [size_ours / 2**20], [size_peer / 2**20], unit="MiB", note="L1"
            )
        )
    return found
