"""The descriptors of `colour-texture`, against values that can be worked out by hand."""

import math
import subprocess
import sys

import numpy as np
import pytest
from skimage.color import hed2rgb

from stroma.core.errors import InvalidData, UsageError
from stroma.models.colour_texture import FEATURE_NAMES, ColourTexture, describe
from stroma.models.encoders import load_encoder


def described(tile: np.ndarray) -> dict[str, float]:
    return dict(zip(FEATURE_NAMES, describe(tile).tolist(), strict=True))


def flat(red: int, green: int, blue: int, size: int = 32) -> np.ndarray:
    return np.full((size, size, 3), (red, green, blue), dtype=np.uint8)


def noise(seed: int, size: int = 48) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, size=(size, size, 3), dtype=np.uint8)


def test_a_flat_tile_has_its_optical_density_and_no_texture():
    found = described(flat(255, 100, 10))
    for channel, value in (("red", 255), ("green", 100), ("blue", 10)):
        density = -math.log10(value / 255)
        for statistic in ("mean", "q05", "q25", "q50", "q75", "q95"):
            assert found[f"od_{channel}_{statistic}"] == pytest.approx(density, abs=1e-6)
        assert found[f"od_{channel}_std"] == pytest.approx(0, abs=1e-6)
    assert found["lbp_p8_r1_8"] == 1  # every neighbour is as bright as the centre: 8 of 8 points set
    assert found["lbp_p16_r2_16"] == 1
    assert found["edge_1px_mean"] == found["edge_4px_std"] == 0


def test_black_has_a_finite_density():
    assert described(flat(0, 0, 0))["od_red_mean"] == pytest.approx(math.log10(255), abs=1e-6)


def test_tissue_is_the_fraction_of_dense_pixels():
    tile = flat(255, 255, 255)
    tile[:8] = (120, 60, 120)
    assert described(tile)["tissue"] == 0.25


def test_a_brightness_ramp_has_the_gradient_of_its_slope():
    ramp = np.repeat(np.arange(0, 250, dtype=np.uint8)[None, :, None], 250, axis=0).repeat(3, axis=2)
    found = described(ramp)
    for scale in (1, 2):
        assert found[f"edge_{scale}px_mean"] == pytest.approx(1 / 255, rel=0.02)


@pytest.mark.parametrize("index, stain", [(0, "haematoxylin"), (1, "eosin"), (2, "dab")])
def test_a_pure_stain_is_found_as_itself(index: int, stain: str):
    amounts = np.zeros((16, 16, 3))
    amounts[..., index] = 0.1
    found = described(np.rint(255 * hed2rgb(amounts)).astype(np.uint8))
    assert found[f"{stain}_mean"] == pytest.approx(0.1, rel=0.05)
    others = {"haematoxylin", "eosin", "dab"} - {stain}
    assert all(found[f"{other}_mean"] < 0.01 for other in others)


def test_turning_and_tiling_a_tile_changes_nothing():
    tile = noise(0)
    np.testing.assert_allclose(describe(np.rot90(tile).copy()), describe(tile), atol=2e-3)
    mirrored = np.block([[[tile], [tile[:, ::-1]]], [[tile[::-1]], [tile[::-1, ::-1]]]])
    pixels = [i for i, name in enumerate(FEATURE_NAMES) if name.startswith(("od_", "haem", "eosin", "dab", "tissue"))]
    np.testing.assert_allclose(describe(mirrored)[pixels], describe(tile)[pixels], atol=2e-3)


def test_each_tile_is_described_by_itself():
    tiles = [noise(1), noise(2, size=20), noise(3)]
    encoder = ColourTexture()
    together = encoder(tiles)
    assert together.shape == (3, encoder.dim) and together.dtype == np.float32
    for row, tile in zip(together, tiles, strict=True):
        np.testing.assert_array_equal(row, encoder([tile])[0])
    assert encoder([]).shape == (0, encoder.dim)


def test_histograms_of_patterns_sum_to_one():
    found = described(noise(4))
    for prefix in ("lbp_p8_r1_", "lbp_p16_r2_"):
        assert sum(value for name, value in found.items() if name.startswith(prefix)) == pytest.approx(1)


def test_only_rgb_of_8_bit_is_described():
    with pytest.raises(InvalidData, match="RGB images of 8 bit"):
        describe(np.zeros((8, 8, 3), dtype=np.uint16))
    with pytest.raises(InvalidData, match="RGB images of 8 bit"):
        describe(np.zeros((8, 8, 4), dtype=np.uint8))


def test_weights_for_it_are_an_error():
    with pytest.raises(UsageError, match="has no weights"):
        load_encoder("colour-texture", weights="random")


def test_it_needs_no_torch():
    code = "import sys; from stroma.models.encoders import load_encoder as load; load('colour-texture');"
    subprocess.run([sys.executable, "-c", f"{code} assert 'torch' not in sys.modules"], check=True)
