"""Weight files of every kind are read, and none of them can run anything."""

import json
import os
import pickle
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import stroma
from stroma.core.errors import InvalidData, MissingFile
from stroma.models.archive import unpack
from stroma.models.spectra import SpectrumMLP
from stroma.models.weights_file import read_weights

MLP = {"name": "spectrum_mlp"}


class Evil:
    """Writes a file when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple:
        return os.mkdir, (str(self.marker),)


@pytest.fixture
def mlp() -> SpectrumMLP:
    torch.manual_seed(0)
    return SpectrumMLP(channels=4, classes=3).eval()


def same(first: nn.Module, second: nn.Module) -> bool:
    return all(
        torch.equal(a, b) for a, b in zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    )


def test_every_kind_of_file_gives_the_same_network(tmp_path: Path, mlp: SpectrumMLP) -> None:
    state = mlp.state_dict()
    parallel = {f"module.{key}": value for key, value in state.items()}
    checkpoint = {f"model.{key}": value for key, value in state.items()} | {"kl_loss_weighted.weight": torch.ones(3)}
    contents = {
        "bare.pth": state,
        "parallel.pth": parallel,
        "compiled.pt": {f"_orig_mod.{key}": value for key, value in state.items()},
        "learn.pth": {"model": state, "opt": {"hypers": [{"lr": 0.1}]}},
        "both.bin": {"model": parallel},
        "epoch=1.ckpt": {"pytorch-lightning_version": "2.0", "loops": {}, "state_dict": checkpoint},
    }
    for name, content in contents.items():
        torch.save(content, tmp_path / name)
        assert same(stroma.load_model(tmp_path / name), mlp), name
    save_file(state, tmp_path / "plain.safetensors")
    assert same(stroma.load_model(tmp_path / "plain.safetensors"), mlp)
    torch.save(state, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    assert same(stroma.load_model(tmp_path / "old.pth"), mlp)
    assert read_weights(tmp_path / "learn.pth").kind == "fastai"
    assert read_weights(tmp_path / "epoch=1.ckpt").kind == "lightning"


@pytest.mark.parametrize("kind", ["torch", "pickle", "old"])
def test_a_malicious_file_is_refused_and_runs_nothing(tmp_path: Path, kind: str) -> None:
    marker = tmp_path / "ran"
    file = tmp_path / "weights.pth"
    content = {"state_dict": {"fc1.weight": torch.zeros(2, 2)}, "extra": Evil(marker)}
    if kind == "pickle":
        file.write_bytes(pickle.dumps(content))
    else:
        torch.save(content, file, _use_new_zipfile_serialization=kind == "torch")
    with pytest.raises(InvalidData, match="nothing in it was run"):
        stroma.load_model(file)
    assert not marker.exists()
    torch.load(file, weights_only=False) if kind != "pickle" else pickle.loads(file.read_bytes())  # noqa: S301
    assert marker.exists()  # the file is really malicious


def test_an_exported_learner_is_refused_with_the_lines_that_convert_it(tmp_path: Path, mlp: SpectrumMLP) -> None:
    torch.save(mlp, tmp_path / "export.pkl")
    with pytest.raises(InvalidData, match=r"load_learner\(FILE\); torch.save\(learn.model.state_dict\(\)"):
        stroma.load_model(tmp_path / "export.pkl")


@pytest.mark.parametrize("length", [0, 3, 700, 5_000, -20])
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_truncated_files_are_refused(tmp_path: Path, mlp: SpectrumMLP, length: int, suffix: str) -> None:
    whole, cut = tmp_path / f"whole{suffix}", tmp_path / f"cut{suffix}"
    if suffix == ".pth":
        torch.save(mlp.state_dict(), whole)
    else:
        save_file(mlp.state_dict(), whole)
    cut.write_bytes(whole.read_bytes()[:length])
    with pytest.raises(InvalidData, match="not a whole"):
        stroma.load_model(cut, architecture=MLP)


def test_a_flipped_bit_is_noticed(tmp_path: Path, mlp: SpectrumMLP) -> None:
    file = tmp_path / "w.pth"
    torch.save(mlp.state_dict(), file)
    content = bytearray(file.read_bytes())
    position = content.find(mlp.fc1.weight.detach().numpy().tobytes()[:64])
    content[position + 3] ^= 1
    file.write_bytes(bytes(content))
    with pytest.raises(InvalidData, match="checksum"):
        stroma.load_model(file)


def test_weights_of_another_network_are_refused_with_their_keys(tmp_path: Path, mlp: SpectrumMLP) -> None:
    torch.save(mlp.state_dict() | {"stranger.weight": torch.zeros(3)}, tmp_path / "more.pth")
    with pytest.raises(InvalidData, match=r"1 left over \(stranger.weight\)"):
        stroma.load_model(tmp_path / "more.pth")
    less = {key: value for key, value in mlp.state_dict().items() if key != "fc2.bias"}
    torch.save(less, tmp_path / "less.pth")
    with pytest.raises(InvalidData, match=r"1 missing \(fc2.bias\)"):
        stroma.load_model(tmp_path / "less.pth")
    torch.save(mlp.state_dict() | {"fc2.bias": torch.zeros(7)}, tmp_path / "shape.pth")
    with pytest.raises(InvalidData, match=r"fc2.bias \(7,\) instead of \(100,\)"):
        stroma.load_model(tmp_path / "shape.pth")
    torch.save(mlp.state_dict() | {"fc2.bias": torch.full((100,), torch.nan)}, tmp_path / "nan.pth")
    with pytest.raises(InvalidData, match=r"1 not finite \(fc2.bias\)"):
        stroma.load_model(tmp_path / "nan.pth")
    with pytest.raises(InvalidData, match="does not hold the first layer of 'unet'"):
        stroma.load_model(tmp_path / "shape.pth", architecture="unet")


def test_unknown_architectures_have_to_be_named(tmp_path: Path) -> None:
    component = {"name": "unet"}
    torch.manual_seed(1)
    from stroma.models.segmentation import unet

    model = unet(channels=5, classes=4)
    torch.save(model.architecture.state_dict(), tmp_path / "unet.pth")  # as the library itself would save it
    with pytest.raises(InvalidData, match="of an architecture that its keys do not tell"):
        stroma.load_model(tmp_path / "unet.pth")
    loaded = stroma.load_model(tmp_path / "unet.pth", architecture=component)
    assert (loaded.loaded.description.channels, loaded.loaded.description.classes) == (5, 4)
    assert same(loaded, model)


def test_files_without_tensors_are_refused(tmp_path: Path) -> None:
    torch.save({"epoch": 3}, tmp_path / "empty.pth")
    with pytest.raises(InvalidData, match="no tensors by name"):
        stroma.load_model(tmp_path / "empty.pth")
    with pytest.raises(MissingFile, match=r"Did you mean 'empty.pth'"):
        stroma.load_model(tmp_path / "emty.pth")


def test_an_archive_cannot_write_outside_its_folder(tmp_path: Path) -> None:
    for name in ("../evil.ckpt", "/evil.ckpt", "a/../../evil.ckpt", "..\\evil.ckpt"):
        archive = tmp_path / "model.zip"
        with zipfile.ZipFile(archive, "w") as target:
            target.writestr("image/run/config.json", json.dumps({}))
            target.writestr(name, b"x")
        with pytest.raises(InvalidData, match="leads outside"):
            unpack(archive, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    (tmp_path / "cut.zip").write_bytes(archive.read_bytes()[:-30])
    with pytest.raises(InvalidData, match="not a whole zip"):
        stroma.load_model(tmp_path / "cut.zip")


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_what_a_download_leaves_in_place_of_weights_is_named(tmp_path: Path, suffix: str) -> None:
    file = tmp_path / f"model{suffix}"
    file.write_text("<!DOCTYPE html>\n<html>404 not found</html>")
    with pytest.raises(InvalidData, match="a text that begins with '<!DOCTYPE html> <html>404 not found"):
        read_weights(file)
    file.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n")
    with pytest.raises(InvalidData, match="a pointer of Git LFS") as caught:
        read_weights(file)
    assert "git lfs pull" in str(caught.value)


def test_the_class_that_a_pickle_asks_for_is_named(tmp_path: Path) -> None:
    torch.save(nn.Sequential(nn.Linear(2, 2)), tmp_path / "whole.pth")
    with pytest.raises(InvalidData, match="it asks for 'torch.nn.modules.container.Sequential'") as caught:
        read_weights(tmp_path / "whole.pth")
    assert "torch.save(model.state_dict()" in str(caught.value)
