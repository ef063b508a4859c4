"""What every registered network can do: any size, any channels, freezing, learning rates, new heads, precision."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import stroma
from stroma.core.component import Component
from stroma.core.errors import UsageError
from stroma.models import registry
from stroma.models.build import build_model
from stroma.models.finetune import freeze_blocks, parameter_groups, parameter_layers, replace_head
from stroma.models.precision import at_precision
from stroma.models.shapes import class_layers, input_layers

SMALL: dict[str, dict[str, Any]] = {
    "unet": {},
    "segmentation": {"encoder": "resnet18", "depth": 3},
    "spectrum_cnn": {},
    "spectrum_mlp": {},
    "encoder_classifier": {"encoder": "resnet18"},
    "table": {},
    "image_table": {"columns": 6, "encoder": "resnet18"},
    "xcit": {"encoder": "xcit_nano_12_p16_224"},
    "timm": {"encoder": "resnet18"},
}
LARGE: dict[str, dict[str, Any]] = {"unext101": {}, "deepcmorph": {}}
NO_NETWORK = {"load_encoder"}
TABLES = {"table"}
MODELS = [*SMALL, *(pytest.param(name, marks=pytest.mark.proof) for name in LARGE)]


def test_no_network_is_left_out() -> None:
    assert {*SMALL, *LARGE, *NO_NETWORK} == set(registry.names())


def build(name: str, *, channels: int = 40, classes: int = 4) -> nn.Module:
    """With random weights; large ones without memory, which is enough for names and shapes."""
    component = Component.model_validate({"name": name, **SMALL.get(name, LARGE.get(name, {}))})
    torch.manual_seed(0)
    with torch.device("meta" if name in LARGE else "cpu"):
        return build_model(component, channels=channels, classes=classes).eval()


def answer(name: str, network: nn.Module, channels: int = 40) -> torch.Tensor:
    device = next(network.parameters()).device
    torch.manual_seed(1)
    image = torch.rand(2, channels, 47, 65, device=device)
    with torch.no_grad():
        if name == "table":
            return network(image[:, :, 0, 0])
        if name == "image_table":
            return network(image, torch.rand(2, 6))
        return network(image)


@pytest.mark.parametrize("name", MODELS)
def test_any_size_and_number_of_channels(name: str) -> None:
    for channels in (40, 41):
        found = answer(name, build(name, channels=channels), channels)
        assert tuple(found.shape) in {(2, 4), (2, 4, 47, 65)}


@pytest.mark.parametrize("name", MODELS)
def test_layers_rise_and_rates_fall_towards_the_input(name: str) -> None:
    network = build(name)
    layers = parameter_layers(network)
    assert set(layers) == {parameter for parameter, _ in network.named_parameters()}
    assert len(set(layers.values())) >= 3
    groups = parameter_groups(network, lr=1.0, lr_decay=0.5)
    trainable = sum(p.requires_grad for p in network.parameters())  # DeepCMorph comes with a frozen part
    assert sum(len(group["params"]) for group in groups) == trainable
    assert {group["lr"] for group in groups} <= {0.5**i for i in range(max(layers.values()) + 1)}
    assert max(group["lr"] for group in groups) == 1.0
    first = min(layers[key] for key in first_layers(name))
    assert first <= 1, "the first layer is not in the stem or the first block"


def first_layers(name: str) -> list[str]:
    component = Component.model_validate({"name": name, **SMALL.get(name, LARGE.get(name, {}))})
    named = dict(build(name).named_parameters())
    if name == "spectrum_cnn":  # its convolution runs along the spectrum: any number of bands
        return ["conv1.weight"]
    return [key for key in input_layers(component, channels=40, classes=4) if key in named]


@pytest.mark.parametrize("name", MODELS)
def test_freezing_leaves_the_last_blocks_and_the_head(name: str) -> None:
    network = build(name)
    parameters = dict(network.named_parameters())
    kept = {}
    for blocks in (0, 1):
        kept[blocks] = set(freeze_blocks(network, blocks, last_mlp=False))
        assert kept[blocks] == {key for key, value in parameters.items() if value.requires_grad}
    assert kept[0] < kept[1] < set(parameters)
    heads = {key for key in class_layers_of(name) if key in parameters}
    assert heads
    assert heads <= kept[0]
    assert set(freeze_blocks(network, 10_000)) == set(parameters)


def class_layers_of(name: str) -> list[str]:
    component = Component.model_validate({"name": name, **SMALL.get(name, LARGE.get(name, {}))})
    return class_layers(component, channels=40, classes=4)


@pytest.mark.parametrize("name", MODELS)
def test_a_new_head_has_the_new_classes(name: str) -> None:
    network = build(name)
    if name in LARGE:
        with torch.device("meta"):
            replace_head(network, 7)
    else:
        replace_head(network, 7)
    assert answer(name, network.eval()).shape[1] == 7


@pytest.mark.parametrize("name", [name for name in SMALL if "table" not in name and name != "spectrum_cnn"])
def test_other_bands_and_classes_from_a_file(name: str, tmp_path: Path) -> None:
    """The first layer is carried over to six bands of a camera, and the head is new."""
    torch.save(build(name, channels=40).state_dict(), tmp_path / "weights.pth")
    component = {"name": name, **SMALL[name]}
    network = stroma.load_model(tmp_path / "weights.pth", architecture=component, channels=6, classes=3)
    assert answer(name, network, 6).shape[1] == 3
    adapted = network.loaded.reports[0].adapted
    assert adapted
    assert set(adapted.values()) == {"mean of 40 channels for each of 6, since wavelengths are not known"}


def test_spectral_networks_interpolate_spectra_and_tables_have_no_other_columns(tmp_path: Path) -> None:
    torch.save(build("spectrum_cnn", channels=100).state_dict(), tmp_path / "cnn.pth")
    with pytest.raises(UsageError, match="needs the wavelengths"):
        stroma.load_model(tmp_path / "cnn.pth", channels=6, classes=3)
    torch.save(build("table", channels=40).state_dict(), tmp_path / "table.pth")
    with pytest.raises(UsageError, match="columns of a table cannot be carried over"):
        stroma.load_model(tmp_path / "table.pth", architecture="table", channels=6, classes=3)


@pytest.mark.parametrize("name", [name for name in SMALL if name not in TABLES])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_every_network_runs_in_every_precision(name: str, precision: str) -> None:
    network = build(name)
    wanted, found = answer(name, network), answer(name, at_precision(network, precision))
    limit = 1e-5 if precision == "float32" else 0.03
    assert float((found - wanted).norm() / wanted.norm()) < limit


def test_seeds_are_repeated() -> None:
    first, second = (build("unet").state_dict() for _ in range(2))
    assert all(np.array_equal(first[key].numpy(), second[key].numpy()) for key in first)
