"""Reading a Tivita cube: Stroma beside `imsy-htc`'s own reader, on the same file."""

import tempfile
from pathlib import Path

import numpy as np

from benchmarks.peer import Comparison, Side, compare

OURS = Side("stroma", "stroma.images:read_cube")
PEER = Side(
    "imsy-htc",
    "from htc.tivita.hsi import read_tivita_hsi\nfrom pathlib import Path\ndef run(path):\n"
    "    return read_tivita_hsi(Path(path))\n",
    ("imsy-htc==0.0.23", "torch==2.9.0"),  # its extension is bound to one torch release
)


def run() -> list[Comparison]:
    """A cube of 640 × 480 × 100 in the page cache."""
    from stroma.images import write_cube

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "2021_01_01_00_00_00_SpecCube.dat"
        cube = np.random.default_rng(0).random((480, 640, 100), dtype=np.float32)
        write_cube(path, cube)
        return [compare("cube 480 × 640 × 100", OURS, PEER, [str(path)], note="warm page cache")]
