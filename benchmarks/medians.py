"""The table of median spectra and tissue parameters of a data set: Stroma beside `imsy-htc`, one process each.

Memory is that of our verb in a process of its own, over 2 and over 8 images: it must not grow with their number.
"""

import tempfile
from pathlib import Path

from benchmarks.inputs.htc_tree import IMSY_HTC, PEER_PATHS, htc_tree
from benchmarks.peer import Comparison, Side, compare_measures

OURS = Side(
    "stroma medians",
    "import shutil\nfrom pathlib import Path\nfrom stroma.prepare.medians import MediansOptions, medians\n"
    "def run(tree):\n"
    "    folder = Path(tree).parent\n"
    "    shutil.rmtree(folder / 'medians', ignore_errors=True)\n"
    "    result = medians(MediansOptions(inputs=(folder / 'study.yaml',), output=folder / 'medians', htc=True,\n"
    "        parameters='htc'))\n"
    "    assert result.done and not result.failed, result\n",
)
PEER = Side(
    "imsy-htc",
    PEER_PATHS + "def run(tree):\n"
    "    found = paths(tree)\n"
    "    from htc.data_processing.run_median_spectra import MedianSpectra\n"
    "    job = MedianSpectra(found, '2099_Phantom', output_dir=Path(tree) / 'intermediates/tables')\n"
    "    job.finished([job.compute(index) for index in range(len(job.paths))])\n",
    IMSY_HTC,
)


def run() -> list[Comparison]:
    """Images of 480 × 640 × 100 with two annotators on the first, in the page cache; parameter maps are read."""
    found: list[Comparison] = []
    with tempfile.TemporaryDirectory() as folder:
        tree = htc_tree(Path(folder), subjects=2, images=1)
        found += compare_measures(
            "median table of 2 images", OURS, PEER, [str(tree)], measures=("seconds", "cpu_seconds"), repeats=2
        )
    peaks = []
    for images in (1, 4):
        with tempfile.TemporaryDirectory() as folder:
            tree = htc_tree(Path(folder), subjects=2, images=images)
            (entry,) = compare_measures("", OURS, OURS, [str(tree)], measures=("peak_mib",), repeats=1, warm_up=False)
            peaks.append(entry.ours_seconds)
    few, many = peaks
    note = "ours of 2 images in the place of the peer"
    found.append(Comparison("peak memory, 8 images", "stroma", "stroma", many, few, note=note, unit="MiB"))
    return found
