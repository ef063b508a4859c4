"""Preparing one cube (read, L1, float16, compress, write) beside the steps of `imsy-htc` and its Blosc settings.

The peer's own command needs its whole environment (torch 2.9); here its steps are done by NumPy and python-blosc with
the settings it uses (zstd, level 9), read from our reader's equal: a memory map turned upright.
"""

import tempfile
from pathlib import Path

from benchmarks.inputs.surgical_field import surgical_field
from benchmarks.peer import Comparison, Side, compare_measures

OURS = Side(
    "stroma prepare",
    "from pathlib import Path\nfrom stroma.prepare import PrepareOptions, prepare\n"
    "def run(study, cube, folder):\n"
    "    result = prepare(PrepareOptions(study=Path(study), output=Path(folder), overwrite=True, verify=True))\n"
    "    for record in Path(folder).rglob('*.done.json'):\n        record.unlink()\n"
    "    assert result.done == 1, result\n",
)
PEER = Side(
    "NumPy + Blosc 1, settings of imsy-htc",
    "import blosc, numpy as np\nfrom pathlib import Path\n"
    "def run(study, cube, folder):\n"
    "    w, h, c = np.fromfile(cube, '>i4', 3)\n"
    "    stored = np.fromfile(cube, '>f4', offset=12).reshape(w, h, c)\n"
    "    spectra = np.ascontiguousarray(stored[:, ::-1].transpose(1, 0, 2)).astype(np.float32)\n"
    "    spectra = spectra / np.abs(spectra).sum(axis=2, keepdims=True)\n"
    "    half = np.nan_to_num(spectra).astype(np.float16)\n"
    "    packed = blosc.compress_ptr(half.ctypes.data, half.size, 2, 9, 1, 'zstd')\n"
    "    Path(folder + '.blosc').write_bytes(packed)\n",
    ("blosc==1.11.2", "numpy"),
)


def run() -> list[Comparison]:
    """A cube of the phantom, 480 × 640 × 100."""
    from stroma.prepare import InitOptions, init

    with tempfile.TemporaryDirectory() as folder:
        cube = surgical_field(Path(folder))
        study = Path(folder) / "study" / "study.yaml"
        init(InitOptions(folder=Path(folder) / "phantom", output=study))
        arguments = [str(study), str(cube), str(Path(folder) / "stores")]
        return compare_measures(
            "prepare L1 of one cube",
            OURS,
            PEER,
            arguments,
            measures=("seconds", "cpu_seconds"),
            repeats=3,
            note="warm page cache; ours with fsync, hash and record",
        )
