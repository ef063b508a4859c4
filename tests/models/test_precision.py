"""Precisions change speed, not answers beyond their tolerance."""

import copy

import pytest
import torch

from stroma.core.errors import UsageError
from stroma.models.precision import at_precision
from stroma.models.segmentation import unet
from stroma.models.xcit import xcit


@pytest.mark.parametrize("make", [lambda: unet(channels=4, classes=3), lambda: xcit(encoder="xcit_nano_12_p16_224")])
def test_float32_gives_the_same_and_bfloat16_nearly(make) -> None:
    torch.manual_seed(0)
    network = make().eval()
    before = copy.deepcopy(network.state_dict())
    channels = 4 if hasattr(network, "architecture") else 3
    image = torch.rand(2, channels, 64, 64)
    with torch.inference_mode():
        wanted = network(image)
        same, near = at_precision(network, "float32")(image), at_precision(network, "bfloat16")(image)
    torch.testing.assert_close(same, wanted, rtol=1e-4, atol=1e-5)
    assert near.dtype is torch.float32
    assert (near - wanted).norm() / wanted.norm() < 0.02
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())
    with pytest.raises(UsageError, match="no precision 'float8'"):
        at_precision(network, "float8")
