"""Weight files laid out as the original projects publish them, with the deterministic weights of `shared/golden`."""

import importlib.util
import json
import math
import zipfile
from pathlib import Path

import numpy as np
import torch

GOLDEN = Path(__file__).parents[3] / "shared" / "golden"
HERE = GOLDEN.is_dir()

MIA_NAMES = {
    "abdominal_linen": 0, "anorganic_artifact": 0, "background": 0, "bladder": 9, "blanket": 0, "blue_cloth": 0,
    "colon": 4, "fat_subcutaneous": 13, "foil": 0, "gallbladder": 8, "glove": 0, "heart": 1, "kidney": 16,
    "kidney_with_Gerotas_fascia": 18, "liver": 3, "lung": 2, "major_vein": 17, "metal": 0, "muscle": 15,
    "omentum": 10, "overlap": 254, "pancreas": 14, "peritoneum": 11, "skin": 12, "small_bowel": 5, "spleen": 7,
    "stomach": 6, "syringe": 0, "unsure": 255, "white_compress": 0,
}  # fmt: skip


def _weights_module():
    spec = importlib.util.spec_from_file_location("golden_weights", GOLDEN / "weights.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


if HERE:
    _module = _weights_module()
    fill, pattern = _module.fill, _module.pattern


def golden_keys(name: str) -> dict[str, tuple[int, ...]]:
    """Key → shape of an original network."""
    rows = (line.split("\t") for line in (GOLDEN / f"{name}.keys.txt").read_text().splitlines())
    return {
        key: tuple(json.loads(shape.replace("(", "[").replace(",)", "]").replace(")", "]"))) for key, shape, _ in rows
    }


def golden_state(name: str) -> dict[str, torch.Tensor]:
    """The state dict of an original network under the deterministic weights."""
    rows = (line.split("\t") for line in (GOLDEN / f"{name}.keys.txt").read_text().splitlines())
    shapes = golden_keys(name)
    empty = {key: torch.empty(shapes[key], dtype=getattr(torch, dtype)) for key, _, dtype in rows}
    return fill(empty)


def golden(file: str, name: str) -> np.ndarray:
    """An output of an original network."""
    with np.load(GOLDEN / file) as content:
        return content[name]


def relative_error(found: torch.Tensor, wanted: np.ndarray) -> float:
    """Largest difference, relative to the largest value of the whole array."""
    assert tuple(found.shape) == wanted.shape
    return float(np.abs(found.numpy() - wanted).max() / np.abs(wanted).max())


def lightning(state: dict[str, torch.Tensor]) -> dict:
    """A Lightning checkpoint as htc writes it: prefix `model.`, and one key of the loss."""
    weights = {f"model.{key}": value for key, value in state.items()}
    weights["ce_loss_weighted.weight"] = torch.ones(19)
    return {
        "epoch": 100,
        "global_step": 10100,
        "pytorch-lightning_version": "1.6.5",
        "state_dict": weights,
        "loops": {"fit_loop": {"state_dict": {}, "epoch_progress": {"total": {"ready": 101}}}},
    }


def htc_run(folder: Path, states: dict[str, dict[str, torch.Tensor]], config: dict) -> Path:
    """A run folder as it lies in a published archive: `config.json` at the top, a checkpoint in every fold."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config, indent=4, sort_keys=True))
    (folder / "data.json").write_text("[]")
    for fold, state in states.items():
        (folder / fold).mkdir()
        torch.save(lightning(state), folder / fold / "epoch=100-dice_metric=0.74.ckpt")
    return folder


def zipped(run: Path, model: str, archive: Path) -> Path:
    """The archive `<model>@<run>.zip`, whose entries begin with `<model>/<run>/`."""
    with zipfile.ZipFile(archive, "w") as target:
        for path in sorted(run.rglob("*")):
            if path.is_file():
                target.write(path, f"{model}/{run.name}/{path.relative_to(run).as_posix()}")
    return archive


def htc_config(kind: str, channels: int, *, encoder: str = "efficientnet-b5", mapping: object = None) -> dict:
    """The parts of a published configuration that describe the network."""
    preprocessing = {100: "L1", 4: "parameter_images"}.get(channels)
    config: dict = {
        "input": {"n_channels": channels, "preprocessing": preprocessing},
        "label_mapping": MIA_NAMES if mapping is None else mapping,
        "lightning_class": f"htc.models.{kind}.Lightning>Lightning",
    }
    if kind in ("image", "patch"):
        arguments = {"encoder_name": encoder, "encoder_weights": "imagenet"}
        config["model"] = {"architecture_name": "Unet", "architecture_kwargs": arguments, "model_name": "ModelImage"}
    elif kind == "superpixel_classification":
        config["model"] = {"encoder": encoder, "encoder_weights": "imagenet", "dropout": 0.1}
    else:
        config["model"] = {
            "activation_function": "elu", "channels_base": 64, "dropout": 0.1, "normalization": "BatchNorm",
        }  # fmt: skip
        if channels != 100:
            config["model"]["model_name"] = "ModelPixelRGB"
    return config


def parameters(model: torch.nn.Module) -> int:
    """Number of parameters."""
    return sum(math.prod(p.shape) for p in model.parameters())
