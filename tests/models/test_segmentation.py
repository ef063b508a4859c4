"""Segmentation networks: any size, any architecture, errors that name the mistake."""

import pytest
import torch

from stroma.core.component import Component
from stroma.core.errors import ConfigError, UsageError
from stroma.models.build import build_model
from stroma.models.segmentation import segmentation_model


@pytest.mark.parametrize("size", [(32, 32), (33, 47), (1, 5), (50, 31)])
def test_output_has_the_size_of_the_input(size: tuple[int, int]) -> None:
    model = build_model(Component(name="unet"), channels=5, classes=4).eval()
    with torch.no_grad():
        assert model(torch.rand(2, 5, *size)).shape == (2, 4, *size)


def test_a_size_that_fits_is_not_changed_by_padding() -> None:
    model = segmentation_model(channels=3, classes=2, depth=3).eval()
    image = torch.rand(1, 3, 16, 24)
    with torch.no_grad():
        torch.testing.assert_close(model(image), model.architecture(image), rtol=0, atol=0)


@pytest.mark.parametrize("architecture", ["Unet", "FPN", "DeepLabV3Plus", "PSPNet", "Segformer", "Linknet"])
def test_architectures_share_their_arguments(architecture: str) -> None:
    model = segmentation_model(channels=4, classes=3, architecture=architecture).eval()
    with torch.no_grad():
        assert model(torch.rand(1, 4, 65, 70)).shape == (1, 3, 65, 70)


def test_any_timm_encoder() -> None:
    model = segmentation_model(channels=6, classes=3, encoder="tu-mobilenetv3_small_050").eval()
    with torch.no_grad():
        assert model(torch.rand(1, 6, 40, 50)).shape == (1, 3, 40, 50)


def test_mistyped_names_are_explained() -> None:
    with pytest.raises(ConfigError, match="Did you mean 'Unet'"):
        segmentation_model(channels=3, classes=2, architecture="Unett")
    with pytest.raises(ConfigError, match="efficientnet-b5"):
        segmentation_model(channels=3, classes=2, encoder="efficientnet-b55")
    with pytest.raises(ConfigError, match="has no parameter 'encodr'"):
        build_model(Component.model_validate({"name": "unet", "encodr": "resnet18"}), channels=3, classes=2)
    with pytest.raises(UsageError, match="Did you mean 'unet'"):
        build_model(Component(name="unett"), channels=3, classes=2)
    with pytest.raises(ConfigError, match="decoder_atention_type"):
        segmentation_model(channels=3, classes=2, options={"decoder_atention_type": "scse"})


@pytest.mark.parametrize("size", [(5, 9), (45, 51), (130, 64)])
def test_networks_that_need_a_smallest_size_take_smaller_images(size: tuple[int, int]) -> None:
    network = segmentation_model(channels=4, classes=2, architecture="PAN", encoder="resnet18").eval()
    with torch.no_grad():
        assert network(torch.rand(1, 4, *size)).shape == (1, 2, *size)
