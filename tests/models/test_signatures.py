"""Keys, shapes and outputs measured on the original networks, without any file (their fact sheet, part F)."""

import hashlib
import zlib
from collections.abc import Iterable

import numpy as np
import pytest
import torch

from stroma.models.deepcmorph import DeepCMorph
from stroma.models.unext101 import UneXt101
from stroma.models.xcit import BlockFeatures, xcit


def signature(state: Iterable[tuple[str, torch.Tensor]]) -> tuple[int, str]:
    """Number of keys, and SHA-256 of the sorted lines `key:2x3x…`."""
    lines = sorted(f"{key}:{'x'.join(map(str, value.shape))}" for key, value in state)
    return len(lines), hashlib.sha256("\n".join(lines).encode()).hexdigest()


def test_xcit_and_unext101() -> None:
    with torch.device("meta"):
        found = [
            signature(model.state_dict().items())
            for model in (xcit(encoder="xcit_small_12_p16_224"), xcit(encoder="xcit_medium_24_p16_224"), UneXt101())
        ]
    assert found == [
        (389, "b5d9f41bd57bf282a40aeefb346a048e9b42bf0e295b7a58eeea4c2e4ea9dbcc"),
        (713, "625f6c9ca963be0cd6b09b1fa3b33cd1a59d21fd8deebb1acba9e2058a00371d"),
        (753, "79057906c14c19a95e324376ffcc06485a8965cbe24f005ada1654a32af21591"),
    ]


def test_deepcmorph() -> None:
    with torch.device("meta"):
        items = list(DeepCMorph(classes=41).state_dict().items())
    assert signature(items) == (2085, "3e10dbe03583eda85353a8d633da1a7189cb786deb6cd0bc51716131be0d649d")
    without = [(key, value) for key, value in items if not key.startswith("output")]
    assert signature(without) == (2077, "6093e1d8aeeb7ac7ea8464f90133276128e3feb6bf85eab1235d9094549fe99c")
    nuclei = [(key, value) for key, value in items if key.startswith("model_preprocessing.")]
    assert signature(nuclei) == (884, "dfca5cd0525ad537087e9a781f96a15eab5289963d7ff41d9d88ba583029e5af")


def filled(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The deterministic weights of part F."""
    result = {}
    for key, value in state.items():
        if not value.is_floating_point():
            result[key] = torch.zeros_like(value)
            continue
        noise = np.random.default_rng(zlib.crc32(key.encode())).standard_normal(tuple(value.shape))
        if key.endswith("running_var"):
            noise = 1 + 0.25 * np.tanh(noise)
        elif key.endswith(("running_mean", "bias")):
            noise = 0.05 * noise
        elif value.ndim >= 2 and key.endswith(("weight", "weight_v")):
            noise = noise * np.sqrt(2 / np.prod(value.shape[1:]))
        elif key == "cls_token":
            noise = 0.02 * noise
        else:
            noise = 1 + 0.1 * noise
        result[key] = torch.from_numpy(np.asarray(noise, dtype=np.float32))
    return result


@pytest.mark.parametrize(
    ("blocks", "pool", "mean", "std", "first"),
    [
        (2, True, -0.001373, 0.931138, (-0.41222, -0.67249, -0.58173, -0.36446, 0.37063)),
        (1, False, 0.000299, 1.010043, (-1.86904, -1.48997, -0.05748, -0.01791, 0.74909)),
        (3, False, -0.003705, 1.014017, (1.15016, -0.18373, -0.24312, 0.19011, -0.37446)),
    ],
)
def test_features_of_histoencoder(blocks: int, pool: bool, mean: float, std: float, first: tuple[float, ...]) -> None:
    model = xcit(encoder="xcit_small_12_p16_224").eval()
    model.load_state_dict(filled(model.state_dict()))
    image = torch.from_numpy(np.random.default_rng(7).random((2, 3, 64, 64)).astype(np.float32))
    with torch.inference_mode():
        found = BlockFeatures(model, blocks, avg_pool=pool)(image)
    assert found.mean().item() == pytest.approx(mean, abs=2e-6)
    assert found.std().item() == pytest.approx(std, rel=1e-4)
    np.testing.assert_allclose(found[0, :5], first, atol=2e-5)
