"""Fine-tuning: HistoEncoder's numbers, frozen parts that stay as they are, new heads."""

import pytest
import torch

from stroma.core.errors import UsageError
from stroma.models.finetune import (
    freeze_blocks,
    parameter_groups,
    parameter_layers,
    replace_head,
    set_lr,
    set_weight_decay,
)
from stroma.models.segmentation import segmentation_model
from stroma.models.spectra import SpectrumMLP
from stroma.models.unext101 import UneXt101
from stroma.models.xcit import xcit

MEDIUM = pytest.param("xcit_medium_24_p16_224", 55, 0.000423, (2_099_712, 3_153_408, 6_306_816, 9_473_032))
SMALL = pytest.param("xcit_small_12_p16_224", 31, 0.013363, (1_181_568, 1_775_232, 3_550_464, 5_335_304))


@pytest.mark.parametrize(("encoder", "groups", "smallest", "trainable"), [SMALL, MEDIUM])
def test_groups_and_counts_of_histoencoder(
    encoder: str, groups: int, smallest: float, trainable: tuple[int, ...]
) -> None:
    with torch.device("meta"):
        model = xcit(encoder=encoder)
    found = parameter_groups(model)
    assert len(found) == groups
    assert min(group["lr_scale"] for group in found) == pytest.approx(smallest, rel=1e-3)
    assert len(parameter_groups(model, lr_decay=1)) == 2
    for liquid, count in enumerate(trainable):
        freeze_blocks(model, liquid)
        assert sum(p.numel() for p in model.parameters() if p.requires_grad) == count


def test_frozen_parts_keep_their_statistics_in_training_and_can_be_thawed() -> None:
    model = segmentation_model(channels=3, classes=2, encoder="resnet18", depth=3)
    kept = freeze_blocks(model, 2)
    assert {name.split(".")[1] for name in kept} == {"decoder", "segmentation_head"}
    before = {key: value.clone() for key, value in model.state_dict().items() if "running_mean" in key}
    model.train()(torch.rand(2, 3, 32, 32))
    changed = {key for key, value in before.items() if not torch.equal(value, model.state_dict()[key])}
    assert changed
    assert all(key.startswith(("architecture.decoder.blocks.1", "architecture.decoder.blocks.2")) for key in changed)
    assert len(freeze_blocks(model, 99)) == len(list(model.parameters()))
    model.train()(torch.rand(2, 3, 32, 32))
    key = "architecture.encoder.bn1.running_mean"
    assert not torch.equal(model.state_dict()[key], before[key])


def test_layers_rise_from_the_stem_to_the_head() -> None:
    layers = parameter_layers(segmentation_model(channels=3, classes=2, encoder="resnet18", depth=3))
    assert layers["architecture.encoder.conv1.weight"] == 0
    assert layers["architecture.encoder.layer1.0.conv1.weight"] == 1
    last = max(layers.values())
    heads = {name for name, layer in layers.items() if layer == last}
    assert heads == {"architecture.segmentation_head.0.weight", "architecture.segmentation_head.0.bias"}


def test_rates_keep_their_scale() -> None:
    optimizer = torch.optim.AdamW(parameter_groups(xcit(encoder="xcit_nano_12_p16_224"), lr=0.1, lr_decay=0.5))
    set_lr(optimizer, 1.0)
    assert max(group["lr"] for group in optimizer.param_groups) == 1.0
    assert min(group["lr"] for group in optimizer.param_groups) == pytest.approx(0.5**15)
    set_weight_decay(optimizer, 0.3)
    assert {group["weight_decay"] for group in optimizer.param_groups} == {0.0, 0.3}
    with pytest.raises(UsageError, match="lr_decay is 1.5"):
        parameter_groups(SpectrumMLP(channels=3, classes=2), lr_decay=1.5)


def test_heads_are_replaced_in_any_network() -> None:
    assert replace_head(SpectrumMLP(channels=3, classes=19).eval(), 4)(torch.rand(2, 3)).shape == (2, 4)
    unet = segmentation_model(channels=3, classes=2, depth=3)
    assert replace_head(unet, 5).eval()(torch.rand(1, 3, 32, 32)).shape == (1, 5, 32, 32)
    with torch.device("meta"):
        assert replace_head(UneXt101(), 3).final_conv[0].weight.shape == (3, 96, 1, 1)
    assert replace_head(xcit(encoder="xcit_nano_12_p16_224"), 6).eval()(torch.rand(1, 3, 32, 32)).shape == (1, 6)
    with pytest.raises(UsageError, match="does not tell which"):
        replace_head(torch.nn.Linear(2, 2), 3)
