"""Networks of timm by name: as encoders, and as a start for classifiers of one's own."""

from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file

import stroma
from stroma.core.errors import MissingFile, UsageError
from stroma.models import hub


@pytest.fixture
def published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> torch.nn.Module:
    """A network whose weights the Hub would give."""
    torch.manual_seed(0)
    network = timm.create_model("resnet18", num_classes=1000).eval()
    save_file(network.state_dict(), tmp_path / "model.safetensors")
    monkeypatch.setattr(hub, "fetch", lambda *_, **__: tmp_path / "model.safetensors")
    return network


def test_a_timm_name_is_an_encoder_without_classifier(published: torch.nn.Module) -> None:
    model = stroma.load_model("resnet18.a1_in1k")
    image = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(model(image), published.forward_head(published.forward_features(image), True))
    report = model.loaded.reports[0]
    assert report.skipped == {"fc.weight": "the head is replaced", "fc.bias": "the head is replaced"}
    assert model.loaded.description.prepare.steps[1].parameters["mean"] == [0.485, 0.456, 0.406]


def test_it_starts_a_classifier_on_other_bands(published: torch.nn.Module) -> None:
    model = stroma.load_model("resnet18", classes=4, wavelengths_nm=[464, 549, 580, 611, 700])
    assert model(torch.rand(2, 5, 64, 64)).shape == (2, 4)
    assert (
        "3 bands interpolated to 5 by nm, 1 outside 464 to 611 nm" in model.loaded.reports[0].adapted["conv1.weight"]
    )
    green = published.conv1.weight[:, 1] * 3 / 5
    torch.testing.assert_close(model.conv1.weight[:, 1], green)


def test_without_weights_and_with_mistyped_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(MissingFile, match="the pretrained weights of 'resnet14t'"):
        stroma.load_model("resnet14t")
    with pytest.raises(UsageError, match="no published model 'resnet1888'"):
        stroma.load_model("resnet1888")
