from pathlib import Path

import numpy as np
import pytest
import shapely

from stroma.regions.outlines import polygons_from_mask
from stroma.regions.rle import decode_runs, encode_mask
from stroma.regions.rle_csv import read_rle_csv
from stroma.regions.run_outlines import polygons_from_runs

HUBMAP = Path(__file__).parents[3] / "shared" / "data" / "glomeruli_hubmap_tiles" / "train.csv"


@pytest.mark.parametrize("seed", range(10))
def test_runs_and_masks_have_the_same_outlines(seed):
    rng = np.random.default_rng(seed)
    mask = rng.random(rng.integers(1, 30, 2)) < rng.random()
    found = polygons_from_runs(decode_runs(encode_mask(mask), *mask.shape))
    expected = polygons_from_mask(mask)[1]
    assert len(found) == len(expected)
    assert {p.normalize().wkb for p in found} == {p.normalize().wkb for p in expected}


def test_no_runs_no_outlines():
    assert len(polygons_from_runs(decode_runs("", 5, 5))) == 0


@pytest.mark.skipif(not HUBMAP.is_file(), reason="the shared data is not beside the checkout")
def test_the_glomeruli_of_a_real_slide():
    """41,688 runs on 0.8 gigapixels; the areas add up to the pixels of the runs."""
    table = read_rle_csv(HUBMAP)
    text = dict(zip(table["image_id"], table["encoding"], strict=True))["2f6ecfcdf"]
    runs = decode_runs(text, 31278, 25794)
    polygons = polygons_from_runs(runs)
    assert shapely.area(polygons).sum() == runs.pixels == 8_030_180
    large = polygons[shapely.area(polygons) > 10_000]
    assert shapely.area(large).sum() > 0.95 * runs.pixels
    assert 100 < np.median(np.sqrt(shapely.area(large) / np.pi)) < 200  # 0.5 µm a pixel: 50 to 100 µm
