"""Tissue and tiles of one slide: Stroma beside HistoPrep, on a TIFF of JPEG tiles made here.

HistoPrep reads one slide in one process, so its wall time is that of one core; ours reads in one thread and writes
in others. Both find tissue at the same level of at most 4,096 px and keep tiles of 512 px with a quarter of tissue.
"""

import tempfile
from pathlib import Path

from benchmarks.inputs.repeated_slide import make_slide
from benchmarks.peer import Comparison, Side, compare_measures

SIZE_PX = 12_288
MEMORY_SIZES_PX = (5_120, 20_480, 61_440)
PACKAGES = ("histoprep==2.0.5", "numpy<2", "openslide-bin")

_OURS = """
import shutil
from pathlib import Path
from stroma.prepare.tile_options import TileOptions
from stroma.prepare.tiles import tile
def run(slide, output):
    shutil.rmtree(output + "-stroma", ignore_errors=True)
    options = TileOptions(inputs=(Path(slide),), output=Path(output + "-stroma"), save_images={save})
    if tile(options).exit_code:
        raise RuntimeError("the slide failed")
"""
_THEIRS = """
import shutil
from histoprep import SlideReader
def run(slide, output):
    shutil.rmtree(output + "-histoprep", ignore_errors=True)
    reader = SlideReader(slide)
    threshold, tissue = reader.get_tissue_mask(level=reader.level_from_max_dimension(4096), sigma=1.0)
    tiles = reader.get_tile_coordinates(tissue, width=512, max_background=0.75)
    {then}
"""
IMAGES = Side("stroma", _OURS.format(save=True))
COORDINATES = Side("stroma", _OURS.format(save=False))
PEER = Side(
    "HistoPrep",
    _THEIRS.format(then='reader.save_regions(output + "-histoprep", tiles, threshold=threshold)'),
    PACKAGES,
)
PEER_COORDINATES = Side("HistoPrep", _THEIRS.format(then="return tiles"), PACKAGES)
REPEATS = 3


def run() -> list[Comparison]:
    """One slide: images saved, coordinates only; then memory at three sizes."""
    with tempfile.TemporaryDirectory() as folder:
        slide, output = make_slide(Path(folder) / "slide.tiff", SIZE_PX), f"{folder}/out"
        arguments, time = [str(slide), output], ("seconds", "cpu_seconds")
        case = f"slide of {SIZE_PX:,} px, tiles of 512"
        result = compare_measures(
            f"{case}, saved as JPEG", IMAGES, PEER, arguments, measures=time, repeats=REPEATS,
            note="wall: two cores against HistoPrep's one; 4:2:0, quality 80",
        )  # fmt: skip
        result += compare_measures(
            f"{case}, coordinates only", COORDINATES, PEER, arguments, measures=time, repeats=REPEATS,
            note="beside HistoPrep's whole run; ours writes tables, mask, thumbnail",
        )  # fmt: skip
        for size in MEMORY_SIZES_PX:
            slide = make_slide(Path(folder) / f"{size}.tiff", size)
            result += compare_measures(
                f"slide of {size:,} px", IMAGES, PEER_COORDINATES, [str(slide), output], measures=("peak_mib",),
                repeats=1, warm_up=False, note="ours with tiles saved, HistoPrep coordinates only",
            )  # fmt: skip
            slide.unlink()
    return result
