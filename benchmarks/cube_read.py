"""Reading Tivita files: Stroma beside `imsy-htc`'s own readers, on the same files.

The peer has no partial reads: for a region or some channels it reads the whole cube and cuts. Its cube keeps the
order of the file in memory (it is not C-contiguous), for which those pay who go on with it: a case adds that.
"""

import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.peer import Comparison, Side, compare

PACKAGES = ("imsy-htc==0.0.23", "torch==2.9.0")  # its extension is bound to one torch release
OURS = Side("stroma", "stroma.images:read_cube")
_PEER = (
    "import numpy as np\nfrom htc.tivita.hsi import read_tivita_hsi\nfrom pathlib import Path\n"
    "def run(path):\n    cube = read_tivita_hsi(Path(path){0})\n    return {1}\n"
)


def _peer(result: str = "cube", more: str = "") -> Side:
    return Side("imsy-htc", _PEER.format(more, result), PACKAGES)


PEER = _peer()
_BOX = {"x": 200, "y": 150, "w": 202, "h": 152}  # 30,704 of 307,200 pixels
_OURS_PART = "from stroma.images import read_cube\ndef run(path):\n    return read_cube(path, {0})\n"
_OURS_L1 = (
    "from stroma.images import read_cube\nfrom stroma.spectra import l1\n"
    "def run(path):\n    return l1(read_cube(path))\n"
)
_OURS_CHECK = (
    "from stroma.images import check_cube\ndef run(path):\n    problems = check_cube(path)\n"
    "    assert not any(p.is_fatal for p in problems)\n"
)
_PEER_CHECK = (
    "from htc import DataPath\nfrom pathlib import Path\n"
    "def run(path):\n    assert DataPath(Path(path).parent).is_cube_valid()\n"
)
_OURS_RGB = "stroma.images:read_tivita_rgb"
_PEER_RGB = (
    "from htc.tivita.rgb import read_tivita_rgb\nfrom pathlib import Path\n"
    "def run(path):\n    return read_tivita_rgb(Path(path))\n"
)
_OURS_BLOSC = (
    "from pathlib import Path\nfrom stroma.images.htc_blosc import read_htc_blosc\n"
    "def run(path):\n    return read_htc_blosc(Path(path))\n"
)
_PEER_BLOSC = (
    "from pathlib import Path\nfrom htc.utils.blosc_compression import decompress_file\n"
    "def run(path):\n    return decompress_file(Path(path))\n"
)


def run() -> list[Comparison]:
    """A cube of 640 × 480 × 100, its picture, and its stored L1 form, all in the page cache."""
    from stroma.images import read_cube, write_cube
    from stroma.spectra import l1
    from stroma.study import write_htc_blosc

    with tempfile.TemporaryDirectory() as parent:
        folder = Path(parent) / "data" / "subjects" / "P001" / "2021_01_01_00_00_00"
        folder.mkdir(parents=True)
        (Path(parent) / "data" / "dataset_settings.json").write_text('{"shape": [480, 640, 100]}')
        path = folder / "2021_01_01_00_00_00_SpecCube.dat"
        rng = np.random.default_rng(0)
        smooth = np.linspace(0.2, 0.8, 100, dtype=np.float32)
        write_cube(path, smooth + 0.1 * rng.random((480, 640, 100), dtype=np.float32))
        picture = np.full((550, 680, 3), 15, np.uint8)
        picture[50:530, 20:660] = (255 * read_cube(path, channels=[60, 30, 10])).astype(np.uint8)
        Image.fromarray(picture).save(folder / "2021_01_01_00_00_00_RGB-Image.png")
        stored = write_htc_blosc(folder / "l1.blosc", l1(read_cube(path)).astype(np.float16))
        box = ", ".join(f"{name}={value}" for name, value in _BOX.items())
        crop = f"cube[{_BOX['y']}:{_BOX['y'] + _BOX['h']}, {_BOX['x']}:{_BOX['x'] + _BOX['w']}]"
        cube, warm = [str(path)], "warm page cache"
        part, channels = Side("stroma", _OURS_PART.format(box)), "channels=slice(40, 50)"
        return [
            compare("cube 480 × 640 × 100", OURS, PEER, cube, note=warm),
            compare("the same, C-contiguous", OURS, _peer("np.ascontiguousarray(cube)"), cube, note=warm),
            compare("a tenth of the pixels (202 × 152)", part, _peer(f"{crop}.copy()"), cube, note="peer reads all"),
            compare(
                "10 of 100 channels",
                Side("stroma", _OURS_PART.format(channels)),
                _peer("cube[:, :, 40:50].copy()"),
                cube,
                note="peer reads all",
            ),
            compare(
                "cube, L1-normalised", Side("stroma", _OURS_L1), _peer(more=", normalization=1"), cube, note=warm
            ),
            compare(
                "read and check a cube", Side("stroma", _OURS_CHECK), Side("imsy-htc", _PEER_CHECK, PACKAGES), cube
            ),
            compare(
                "RGB picture 550 × 680, frame checked and cut",
                Side("stroma", _OURS_RGB),
                Side("imsy-htc", _PEER_RGB, PACKAGES),
                [str(folder / "2021_01_01_00_00_00_RGB-Image.png")],
            ),
            compare(
                "stored L1 cube (blosc, float16)",
                Side("stroma", _OURS_BLOSC),
                Side("imsy-htc", _PEER_BLOSC, PACKAGES),
                [str(stored)],
                note="peer decompresses with all cores",
            ),
        ]
