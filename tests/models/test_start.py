"""Trainings that start from weights by name, and what their cards keep of them."""

from pathlib import Path

import numpy as np
import pytest
import torch

from stroma.core.component import Component
from stroma.core.errors import ConfigError, UsageError
from stroma.models.segmentation import segmentation_model
from stroma.models.start import start_network
from stroma.models.superpixel import EncoderClassifier
from tests.models import originals as o


@pytest.fixture
def run(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    state = segmentation_model(channels=100, classes=19, encoder="resnet18").state_dict()
    return o.htc_run(
        tmp_path / "htc run", {"fold_0": state, "fold_1": state}, o.htc_config("image", 100, encoder="resnet18")
    )


def test_a_run_by_its_folder_gets_a_new_head_and_the_bands_of_the_study(run: Path) -> None:
    wavelengths = np.linspace(520, 900, 8).tolist()
    component = Component.model_validate({"name": str(run), "fold": "1"})
    start = start_network(component, channels=8, classes=3, wavelengths_nm=wavelengths)
    assert start.network.training
    assert start.network(torch.rand(2, 8, 32, 32)).shape == (2, 3, 32, 32)
    assert start.model.name == "segmentation"
    assert start.model.parameters["encoder"] == "resnet18"
    assert start.origin is not None
    assert ", fold fold_1, SHA-256 " in start.origin
    assert start.licence is None
    assert "100 bands interpolated to 8 by nm" in start.report
    again = start_network(start.model, channels=8, classes=3)  # what the card builds needs no weights
    again.network.load_state_dict(start.network.state_dict())


def test_names_of_architectures_stay_random_and_typing_errors_are_named() -> None:
    start = start_network(Component(name="unet"), channels=4, classes=2)
    assert (start.origin, start.report) == (None, "")
    with pytest.raises(UsageError, match="Did you mean 'unet'"):
        start_network(Component(name="unett"), channels=4, classes=2)


def test_what_cannot_be_a_start_says_why(run: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no parameter 'folds'. Did you mean 'fold'"):
        start_network(Component.model_validate({"name": str(run), "folds": "1"}), channels=100, classes=3)
    state = EncoderClassifier(channels=100, classes=19, encoder="resnet18").state_dict()
    config = o.htc_config("superpixel_classification", 100, encoder="resnet18")
    other = o.htc_run(tmp_path / "superpixels", {"fold_0": state}, config)
    with pytest.raises(UsageError, match="gives one answer an image, and a segmentation needs one for each pixel"):
        start_network(Component(name=str(other)), channels=100, classes=3)


def test_the_licence_goes_on_to_what_is_trained_from_it(tmp_path: Path) -> None:
    """A run trained from non-commercial weights says so, and so does a training that starts from that run."""
    from safetensors.torch import save_file

    from stroma.core.files import write_json
    from stroma.runs.card import ModelCard
    from stroma.sampling.preparation import Preparation
    from stroma.study.labels import LabelMapping

    model = Component.model_validate({"name": "unet"})
    start = start_network(model, channels=3, classes=2)
    fold = tmp_path / "run" / "folds" / "fold_0"
    card = ModelCard(
        model=model,
        channels=3,
        prepare=Preparation(),
        granularity=Component(name="patch"),
        labels=LabelMapping.of(("a", "b")),
        licence="CC BY-NC 4.0",
    )
    card.save(fold / "card.json")
    save_file(start.network.state_dict(), fold / "weights.safetensors")
    write_json(tmp_path / "run" / "run.json", {"format": "run/1"})
    assert start_network(Component(name=str(tmp_path / "run")), channels=3, classes=4).licence == "CC BY-NC 4.0"
