"""Encoders of the catalogue and features of the last blocks."""

from pathlib import Path

import numpy as np
import pytest
import timm
import torch

from stroma.core.errors import MissingFile, UsageError
from stroma.models.block_features import feature_network
from stroma.models.encoders import load_encoder
from stroma.models.xcit import BlockFeatures, xcit


def test_class_tokens_and_mean_of_patches_of_a_vision_transformer() -> None:
    torch.manual_seed(0)
    network = timm.create_model("vit_tiny_patch16_224", num_classes=0, img_size=32, depth=3).eval()
    image = torch.rand(2, 3, 32, 32)
    features = feature_network(network, num_blocks=2, avg_pool=True)
    with torch.no_grad():
        found, end = features(image), network(image)
        tokens = network.forward_features(image)
    assert found.shape == (2, 3 * 192)
    torch.testing.assert_close(found[:, 192:384], end)
    torch.testing.assert_close(found[:, 384:], tokens[:, 1:].mean(1))
    assert feature_network(network) is network


def test_stages_of_a_convolutional_network() -> None:
    network = timm.create_model("resnet10t", num_classes=0).eval()
    image = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(feature_network(network, num_blocks=2)(image)[:, -512:], network(image))
    with pytest.raises(UsageError, match="has no class token"):
        feature_network(network, avg_pool=True)


def test_an_encoder_of_the_catalogue_normalises_as_its_card_says(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = xcit(encoder="xcit_small_12_p16_224").eval()
    torch.save(network.state_dict(), tmp_path / "prostate_small.pth")
    encoder = load_encoder("prostate_small", weights_dir=tmp_path, num_blocks=2, avg_pool=True, precision="float32")
    tiles = list(np.random.default_rng(0).integers(0, 256, size=(2, 48, 64, 3), dtype=np.uint8))
    x = torch.from_numpy(np.stack(tiles)).permute(0, 3, 1, 2).float() / 255
    mean, std = torch.tensor([0.662, 0.446, 0.605]), torch.tensor([0.169, 0.190, 0.155])
    with torch.no_grad():
        wanted = BlockFeatures(network, 2, avg_pool=True)((x - mean.view(3, 1, 1)) / std.view(3, 1, 1))
    assert encoder.dim == 1152
    np.testing.assert_allclose(encoder(tiles), wanted.numpy(), rtol=1e-3, atol=1e-4)
    assert encoder.identity["num_blocks"] == 2
    assert encoder.identity["name"] == "prostate_small"


def test_encoders_that_are_none_and_licences_are_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="may not be used commercially"):
        load_encoder("deepcmorph/tcga", weights_dir=tmp_path, device="cpu")
    with pytest.raises(MissingFile, match="'DeepCMorph_Pan_Cancer_32_classes_acc_8273.pth' \\(about 358 MB\\)"):
        load_encoder("deepcmorph/tcga", weights_dir=tmp_path, accept_licence=True, device="cpu")
    with pytest.raises(UsageError, match="gives classes, not feature vectors"):
        load_encoder("image@2022-02-03_22-58-44_generated_default_model_comparison", device="cpu")
