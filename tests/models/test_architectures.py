"""Architectures: sizes, frozen parts and features, independent of any weights."""

import pytest
import torch

from stroma.core.component import Component
from stroma.core.errors import ConfigError
from stroma.models.build import build_model
from stroma.models.deepcmorph import DeepCMorph
from stroma.models.spectra import SpectrumCNN, SpectrumMLP, halved
from stroma.models.tabular import ImageTableNetwork, TableNetwork
from stroma.models.xcit import BlockFeatures, xcit


def test_a_cube_is_classified_like_its_spectra() -> None:
    model = SpectrumCNN(channels=100, classes=5).eval()
    cube = torch.rand(2, 100, 3, 4)
    with torch.no_grad():
        dense, rows = model(cube), model(cube.permute(0, 2, 3, 1).reshape(-1, 100))
    torch.testing.assert_close(dense.permute(0, 2, 3, 1).reshape(-1, 5), rows)


def test_pairs_are_halved_as_average_pooling_does() -> None:
    for length in (8, 97):
        spectra = torch.rand(2, 3, length)
        assert torch.equal(halved(spectra), torch.nn.AvgPool1d(2)(spectra))


def test_one_spectrum_is_enough() -> None:
    assert SpectrumMLP(channels=3, classes=4).eval()(torch.rand(1, 3)).shape == (1, 4)


def test_spectra_of_another_length_are_pooled_and_too_short_ones_refused() -> None:
    assert SpectrumCNN(channels=100, classes=5).eval()(torch.rand(2, 60)).shape == (2, 5)
    with pytest.raises(ConfigError, match="at least 36 bands, not 20"):
        SpectrumCNN(channels=20, classes=5)


def test_parameter_counts_of_the_sheet() -> None:
    assert sum(p.numel() for p in SpectrumCNN(channels=100, classes=19).parameters()) == 34_275
    assert sum(p.numel() for p in SpectrumMLP(channels=3, classes=19).parameters()) == 27_619


@pytest.mark.parametrize("size", [(32, 32), (33, 47)])
def test_classifier_takes_any_size(size: tuple[int, int]) -> None:
    component = Component.model_validate({"name": "encoder_classifier", "encoder": "timm-resnest14d"})
    model = build_model(component, channels=7, classes=2).eval()
    assert model(torch.rand(1, 7, *size)).shape == (1, 2)


def test_table_networks() -> None:
    assert TableNetwork(channels=6, classes=2).eval()(torch.rand(3, 6)).shape == (3, 2)
    model = ImageTableNetwork(channels=4, classes=2, columns=6).eval()
    assert model(torch.rand(2, 4, 32, 32), torch.rand(2, 6)).shape == (2, 2)


@pytest.fixture(scope="module")
def deepcmorph() -> DeepCMorph:
    return DeepCMorph(classes=5)


def test_frozen_modules_keep_their_statistics_while_training(deepcmorph: DeepCMorph) -> None:
    model = deepcmorph.train()
    assert not model.model_preprocessing.training
    assert model.encoder.training
    assert sum(p.numel() for p in model.parameters() if p.requires_grad) == 63_791_440 + 2561 * (5 + 41 + 32 + 9)
    model.freeze(segmentation=True, classification=True)
    assert not model.encoder.training
    assert sum(p.numel() for p in model.parameters() if p.requires_grad) == 2561 * (5 + 41 + 32 + 9)


def test_deepcmorph_takes_any_size_and_gives_maps_of_that_size(deepcmorph: DeepCMorph) -> None:
    image = torch.rand(1, 3, 47, 65)
    with torch.no_grad():
        maps = deepcmorph.eval().nuclei(image)
        assert (maps.nuclei.shape, maps.classes.shape) == ((1, 1, 47, 65), (1, 7, 47, 65))
        assert deepcmorph.features(image).shape == (1, 2560)


def test_deepcmorph_heads_have_their_own_number_of_classes() -> None:
    with pytest.raises(ConfigError, match="'output_9' has 9 classes, not 4"):
        DeepCMorph(classes=4, head="output_9")


def test_features_of_xcit_blocks() -> None:
    encoder = xcit(encoder="xcit_nano_12_p16_224").eval()
    image = torch.rand(2, 3, 50, 70)
    with torch.no_grad():
        one = BlockFeatures(encoder)(image)
        torch.testing.assert_close(one, encoder(image))
        three = BlockFeatures(encoder, 3, avg_pool=True)
        assert three.width == 4 * 128 == three(image).shape[1]
        torch.testing.assert_close(three(image)[:, 2 * 128 : 3 * 128], one)
        mean = BlockFeatures(encoder, 3, without_class_token="mean")(image)
        assert not torch.allclose(mean[:, :128], three(image)[:, :128])
        assert BlockFeatures(encoder, 99)(image).shape == (2, 14 * 128)
    with pytest.raises(ConfigError, match="num_blocks is 0"):
        BlockFeatures(encoder, 0)
