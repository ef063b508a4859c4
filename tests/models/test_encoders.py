"""timm encoders: the features are timm's own, weights either fit or are an error, and nobody waits for a network."""

import socket
from pathlib import Path

import huggingface_hub.constants
import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file
from torchvision.transforms.v2.functional import InterpolationMode, resize

from stroma.core.errors import InvalidData, MissingFile, UsageError
from stroma.models import hub
from stroma.models.encoders import load_encoder

MEAN = torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1)
STD = torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1)


def tiles(count: int, size: int, seed: int = 0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return list(rng.integers(0, 256, size=(count, size, size, 3), dtype=np.uint8))


def network(name: str, seed: int = 0, classes: int = 0) -> torch.nn.Module:
    torch.manual_seed(seed)
    return timm.create_model(name, num_classes=classes).eval()


def timm_features(model: torch.nn.Module, images: list[np.ndarray]) -> np.ndarray:
    x = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2) / 255
    with torch.no_grad():
        return model((x - MEAN) / STD).numpy()


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty cache of the Hub, and an error for whoever opens a connection; returns the cache."""

    def refuse(*_: object, **__: object) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    return tmp_path / "hub"


def in_cache(cache: Path, repository: str, name: str) -> Path:
    """Where the cache of the Hub keeps a file."""
    folder = cache / f"models--{repository.replace('/', '--')}"
    (folder / "refs").mkdir(parents=True, exist_ok=True)
    (folder / "refs" / "main").write_text("0123abcd")
    path = folder / "snapshots" / "0123abcd" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def test_features_are_those_of_timm():
    images = tiles(3, 64)
    encoder = load_encoder("resnet10t", weights="random", seed=3, device="cpu", precision="float32")
    found = encoder(images)
    assert found.shape == (3, encoder.dim) and found.dtype == np.float32
    np.testing.assert_allclose(found, timm_features(network("resnet10t", seed=3), images), atol=1e-5)


def test_a_tile_has_the_same_features_alone_as_in_a_batch():
    images = tiles(5, 64)
    encoder = load_encoder("resnet10t", weights="random", device="cpu", precision="float32")
    together = encoder(images)
    for image, row in zip(images, together, strict=True):
        np.testing.assert_allclose(encoder([image])[0], row, atol=1e-5)


def test_tiles_of_different_sizes_keep_their_places():
    images = [*tiles(1, 64), *tiles(1, 96), *tiles(1, 64, seed=1)]
    model = network("resnet10t")
    encoder = load_encoder("resnet10t", weights="random", device="cpu", precision="float32")
    for image, row in zip(images, encoder(images), strict=True):
        np.testing.assert_allclose(row, timm_features(model, [image])[0], atol=1e-5)
    assert encoder([]).shape == (0, encoder.dim)


def test_a_network_of_fixed_size_gets_tiles_of_its_size():
    images = tiles(1, 256)
    encoder = load_encoder("vit_tiny_patch16_224", weights="random", device="cpu", precision="float32")
    x = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2) / 255
    smaller = resize(x, [224, 224], InterpolationMode.BICUBIC, antialias=True).clamp(0, 1)
    data = timm.data.resolve_model_data_config(network("vit_tiny_patch16_224"))
    mean, std = (torch.tensor(data[key]).view(1, 3, 1, 1) for key in ("mean", "std"))
    with torch.no_grad():
        expected = network("vit_tiny_patch16_224")((smaller - mean) / std).numpy()
    np.testing.assert_allclose(encoder(images), expected, atol=1e-4)
    assert encoder.identity["input_px"] == 224


def test_input_px_moves_a_network_of_fixed_size():
    encoder = load_encoder("vit_tiny_patch16_224", weights="random", input_px=96, device="cpu", precision="float32")
    assert encoder(tiles(2, 64)).shape == (2, 192)
    assert encoder.identity["input_px"] == 96


def test_an_impossible_size_is_explained():
    with pytest.raises(UsageError, match="cannot take tiles of 8 px"):
        load_encoder("vit_tiny_patch16_224", weights="random", input_px=8, device="cpu", precision="float32")


def test_the_seed_of_random_weights_is_part_of_the_identity():
    image = tiles(1, 64)
    first, again, other = (
        load_encoder("resnet10t", weights="random", seed=s, device="cpu", precision="float32") for s in (1, 1, 2)
    )
    np.testing.assert_array_equal(first(image), again(image))
    assert np.abs(first(image) - other(image)).max() > 1e-3
    assert first.identity == again.identity != other.identity
    assert first.identity["weights"] == "random" and first.identity["seed"] == 1


def test_random_weights_leave_the_random_numbers_of_others_alone():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    load_encoder("resnet10t", weights="random", seed=1, device="cpu", precision="float32")
    torch.testing.assert_close(torch.rand(3), expected)


@pytest.mark.parametrize("form", ["safetensors", "pth", "wrapped"])
def test_a_weight_file_gives_its_features(tmp_path: Path, form: str):
    """With a classifier that the encoder does not have, and the prefix of DataParallel."""
    model = network("resnet10t", seed=7, classes=5)
    state = {f"module.{key}": value for key, value in model.state_dict().items()}
    path = tmp_path / ("w ä#.safetensors" if form == "safetensors" else "w ä#.pth")
    if form == "safetensors":
        save_file(state, path)
    else:
        torch.save({"state_dict": state, "epoch": 3} if form == "wrapped" else state, path)
    encoder = load_encoder("resnet10t", weights=path, device="cpu", precision="float32")
    model.reset_classifier(0)
    images = tiles(2, 64)
    np.testing.assert_allclose(encoder(images), timm_features(model, images), atol=1e-5)
    assert encoder.identity["weights"] == "file" and len(encoder.identity["weights_sha256"]) == 64


def test_two_weight_files_have_two_identities(tmp_path: Path):
    found = []
    for seed in (0, 1):
        save_file(network("resnet10t", seed=seed).state_dict(), tmp_path / f"{seed}.safetensors")
        found.append(
            load_encoder(
                "resnet10t", weights=tmp_path / f"{seed}.safetensors", device="cpu", precision="float32"
            ).identity
        )
    assert found[0] != found[1]


def test_a_weight_file_of_another_network_is_an_error_that_lists_keys(tmp_path: Path):
    save_file(network("resnet18").state_dict(), tmp_path / "w.safetensors")
    with pytest.raises(InvalidData, match=r"left over \(.*layer1\.1\.bn1\.bias.*missing \(conv1\.0\.weight"):
        load_encoder("resnet10t", weights=tmp_path / "w.safetensors", device="cpu", precision="float32")


def test_a_weight_file_that_lacks_a_layer_is_an_error(tmp_path: Path):
    state = network("resnet10t").state_dict()
    del state["bn1.weight"]
    save_file(state, tmp_path / "w.safetensors")
    with pytest.raises(InvalidData, match=r"1 missing \(bn1\.weight\)"):
        load_encoder("resnet10t", weights=tmp_path / "w.safetensors", device="cpu", precision="float32")


class Harmful:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.path,)


def test_a_weight_file_cannot_run_code(tmp_path: Path):
    torch.save({"conv1.weight": torch.zeros(1), "extra": Harmful(tmp_path / "ran")}, tmp_path / "w.pth")
    with pytest.raises(InvalidData, match="holds more than tensors"):
        load_encoder("resnet10t", weights=tmp_path / "w.pth", device="cpu", precision="float32")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("name", ["w.pth", "w.safetensors"])
def test_damaged_weight_files(tmp_path: Path, name: str):
    (tmp_path / name).write_bytes(b"\x80\x02not weights at all" * 10)
    with pytest.raises(InvalidData):
        load_encoder("resnet10t", weights=tmp_path / name, device="cpu", precision="float32")


def test_other_weight_files(tmp_path: Path):
    with pytest.raises(MissingFile, match="no such weight file"):
        load_encoder("resnet10t", weights=tmp_path / "w.pth", device="cpu", precision="float32")
    (tmp_path / "w.npz").touch()
    with pytest.raises(UsageError, match=r"suffix '\.npz'"):
        load_encoder("resnet10t", weights=tmp_path / "w.npz", device="cpu", precision="float32")
    torch.save({"epoch": 3}, tmp_path / "empty.pth")
    with pytest.raises(InvalidData, match="holds no tensors"):
        load_encoder("resnet10t", weights=tmp_path / "empty.pth", device="cpu", precision="float32")


def test_without_a_network_one_line_names_the_weights_and_the_ways_out(no_network: Path):
    with pytest.raises(MissingFile) as caught:
        load_encoder("resnet18", device="cpu", precision="float32")
    text = str(caught.value)
    for part in ("'resnet18'", "timm/resnet18.a1_in1k", "no route to host", "--weights FILE", "--weights random"):
        assert part in text
    with pytest.raises(MissingFile, match="the description of the encoder 'hf-hub:owner/name'"):
        load_encoder("hf-hub:owner/name", device="cpu", precision="float32")


def test_a_hub_that_is_switched_off_is_not_asked(no_network: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(hub, "why_unreachable", lambda url: pytest.fail("asked"))
    with pytest.raises(MissingFile, match="HF_HUB_OFFLINE"):
        load_encoder("resnet18", device="cpu", precision="float32")


def test_weights_in_the_cache_need_no_network(no_network: Path):
    model = network("resnet18", seed=4, classes=1000)
    save_file(model.state_dict(), in_cache(no_network, "timm/resnet18.a1_in1k", "model.safetensors"))
    encoder = load_encoder("resnet18", device="cpu", precision="float32")
    model.reset_classifier(0)
    images = tiles(1, 64)
    np.testing.assert_allclose(encoder(images), timm_features(model, images), atol=1e-5)
    assert encoder.identity["weights"] == "pretrained"


def test_a_network_of_the_hub_comes_with_its_own_description(no_network: Path):
    description = (
        '{"architecture": "vit_tiny_patch16_224", "model_args": {"img_size": 32, "init_values": 1.0},'
        ' "pretrained_cfg": {"input_size": [3, 32, 32], "fixed_input_size": true, "mean": [0.7, 0.5, 0.7],'
        ' "std": [0.2, 0.2, 0.2], "classifier": "head", "field_of_tomorrow": 1}}'
    )
    in_cache(no_network, "lab/pathology", "config.json").write_text(description)
    torch.manual_seed(1)
    model = timm.create_model("vit_tiny_patch16_224", num_classes=0, img_size=32, init_values=1.0).eval()
    save_file(model.state_dict(), in_cache(no_network, "lab/pathology", "model.safetensors"))
    images = tiles(2, 32)
    x = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2) / 255
    with torch.no_grad():
        expected = model((x - torch.tensor([0.7, 0.5, 0.7]).view(1, 3, 1, 1)) / 0.2).numpy()
    np.testing.assert_allclose(
        load_encoder("hf-hub:lab/pathology", device="cpu", precision="float32")(images), expected, atol=1e-5
    )


def test_mistyped_names_are_explained():
    with pytest.raises(UsageError, match="Did you mean 'resnet18'"):
        load_encoder("resnett18", weights="random", device="cpu", precision="float32")
    with pytest.raises(UsageError, match="Did you mean 'colour-texture'"):
        load_encoder("color-texture", device="cpu", precision="float32")
    with pytest.raises(UsageError, match="cannot be made"):
        load_encoder("resnet18.no_such_tag", weights="random", device="cpu", precision="float32")
    with pytest.raises(UsageError, match="hf-hub:owner/name"):
        load_encoder("huggingface:owner/name", device="cpu", precision="float32")


def test_an_unreachable_address_is_found_out():
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # bound, but nobody listens
        assert "refused" in hub.why_unreachable(f"http://127.0.0.1:{unused.getsockname()[1]}")


@pytest.mark.parametrize("name", ["lunit-dino-16"])
def test_published_transformers_of_one_size_get_tiles_of_that_size(name: str):
    """224 px, also for tiles of 256: their position embedding fits no other size."""
    encoder = load_encoder(name, weights="random", device="cpu", precision="float32")
    tiles = [np.full((256, 256, 3), 90, np.uint8)]
    assert encoder.identity["input_px"] == 224
    assert encoder(tiles).shape == (1, 384)
