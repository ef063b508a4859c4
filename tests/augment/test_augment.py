import pytest
import torch

from stroma.augment import registry


def batch():
    labels = torch.arange(2 * 8 * 8).reshape(2, 8, 8) % 5
    return {"image": labels[:, None].float().repeat(1, 3, 1, 1) + 1, "labels": labels, "valid": labels != 4}


@pytest.mark.parametrize("parameters", [(1.0, 0.0), (0.0, 1.0), (1.0, 1.0), (0.5, 0.5)])
def test_flip_moves_image_labels_and_annotated_pixels_together(parameters):
    torch.manual_seed(0)
    moved = registry.get("flip")(*parameters)(batch())
    assert torch.equal(moved["image"][:, 0] - 1, moved["labels"].float())
    assert torch.equal(moved["valid"], moved["labels"] != 4)


def test_a_certain_horizontal_flip_mirrors_left_and_right():
    moved = registry.get("flip")(1.0, 0.0)(batch())
    assert torch.equal(moved["labels"], batch()["labels"].flip(-1))


def test_rotation_brings_in_pixels_that_are_not_annotated():
    torch.manual_seed(1)
    everything = {**batch(), "valid": torch.ones(2, 8, 8, dtype=torch.bool)}
    moved = registry.get("rotate")(degrees=45, scale=(1.0, 1.0), probability=1.0)(everything)
    assert not moved["valid"].all()
    assert moved["valid"][:, 3:5, 3:5].all()
    assert set(moved["labels"].unique().tolist()) <= set(range(5))


@pytest.mark.parametrize("name", ["flip", "rotate", "gain", "noise"])
def test_a_seed_decides_everything_and_inputs_stay(name):
    original, results = batch(), []
    for _ in range(2):
        torch.manual_seed(3)
        results.append(registry.get(name)()(original))
    assert all(torch.equal(results[0][key], results[1][key]) for key in original)
    assert all(torch.equal(original[key], batch()[key]) for key in original)


def test_gain_multiplies_each_sample_by_one_factor():
    torch.manual_seed(0)
    factors = registry.get("gain")(1.5)(batch())["image"] / batch()["image"]
    assert torch.allclose(factors.amax(dim=(1, 2, 3)), factors.amin(dim=(1, 2, 3)))
    assert ((factors > 1 / 1.5) & (factors < 1.5)).all()
    assert factors[0, 0, 0, 0] != factors[1, 0, 0, 0]
