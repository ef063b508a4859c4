"""Which network a weight file belongs to, from its keys and shapes alone."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from stroma.core.component import Component
from stroma.models.weights_file import StateDict

_PREFIX = re.compile(r"^((module|_orig_mod)\.)+")
_XCIT = {(384, 12): "xcit_small_12_p16_224", (512, 24): "xcit_medium_24_p16_224"}
_EFFICIENTNETS = {(48, 39): "efficientnet-b5", (32, 16): "efficientnet-b0", (40, 26): "efficientnet-b3"}
_DEEPCMORPH_HEADS = ("output_41", "output_32", "output_9")


@dataclass(frozen=True)
class Recognised:
    """A network that fits the keys.

    Attributes:
        model: The component that builds it.
        channels: Channels of the image.
        classes: Number of classes; 0 for feature vectors.
    """

    model: Component
    channels: int
    classes: int


def recognise(state: Mapping[str, Tensor]) -> Recognised | None:
    """Tell the network from the keys of a file.

    Known are UneXt101, DeepCMorph, the XCiT encoders of HistoEncoder, the spectral networks, and Unets and
    classifiers on EfficientNet. Other files need their architecture named.

    Returns:
        The network, or none.
    """
    plain = {_PREFIX.sub("", key): value for key, value in state.items()}
    if all(not key.startswith("model.") or key.startswith("model.encoder") for key in plain):
        stripped = plain
    else:
        stripped = {key.removeprefix("model."): value for key, value in plain.items()}
    for guess in (_unext101, _deepcmorph, _xcit, _spectra, _efficientnet):
        found = guess(stripped)
        if found is not None:
            return found
    return None


def _make(channels: int, classes: int, **component: object) -> Recognised:
    return Recognised(Component.model_validate(component), channels, classes)


def _unext101(state: StateDict) -> Recognised | None:
    if not {"enc0.0.weight", "aspp.out_conv.0.weight", "final_conv.0.weight"} <= state.keys():
        return None
    return _make(state["enc0.0.weight"].shape[1], len(state["final_conv.0.weight"]), name="unext101")


def _deepcmorph(state: StateDict) -> Recognised | None:
    stem, head = "model_preprocessing.encoder.features.0.0.weight", "output.weight"
    if stem not in state or "encoder.features.0.weight" not in state:
        return None
    if head in state:
        classes = len(state[head])
        named = f"output_{classes}"
        return _make(
            state[stem].shape[1], classes, name="deepcmorph", head=named if named in _DEEPCMORPH_HEADS else "output"
        )
    present = [name for name in _DEEPCMORPH_HEADS if f"{name}.weight" in state]
    if not present:
        return None
    return _make(state[stem].shape[1], len(state[f"{present[0]}.weight"]), name="deepcmorph", head=present[0])


def _xcit(state: StateDict) -> Recognised | None:
    if not {"cls_token", "patch_embed.proj.0.0.weight"} <= state.keys():
        return None
    blocks = len({key.split(".")[1] for key in state if key.startswith("blocks.")})
    encoder = _XCIT.get((state["cls_token"].shape[2], blocks))
    if encoder is None:
        return None
    classes = len(state["head.weight"]) if "head.weight" in state else 0
    return _make(state["patch_embed.proj.0.0.weight"].shape[1], classes, name="xcit", encoder=encoder)


def _spectra(state: StateDict) -> Recognised | None:
    head = state.get("heads.heads.class.weight")
    if head is None:
        return None
    if "fc1_norm.weight" not in state:  # no normalisation, or one without parameters: the file does not tell
        return None
    if "conv1.weight" not in state:
        return _make(state["fc1.weight"].shape[1], len(head), name="spectrum_mlp")
    width = len(state["conv1.weight"])
    length = state["fc1.weight"].shape[1] // (width // 4)
    if (width, length) != (64, 9):  # several numbers of bands give the same length; 100 is what is published
        return None
    return _make(100, len(head), name="spectrum_cnn")


def _efficientnet(state: StateDict) -> Recognised | None:
    stems = [key for key in state if key.endswith("encoder._conv_stem.weight")]
    if len(stems) != 1:
        return None
    base = stems[0].removesuffix("encoder._conv_stem.weight")
    stem = state[stems[0]]
    blocks = {key.removeprefix(f"{base}encoder._blocks.").split(".")[0] for key in state if "encoder._blocks." in key}
    encoder = _EFFICIENTNETS.get((len(stem), len(blocks)))
    if encoder is None:
        return None
    pooled, dense = state.get(f"{base}classification_head.3.weight"), state.get(f"{base}segmentation_head.0.weight")
    if pooled is not None:
        return _make(stem.shape[1], len(pooled), name="encoder_classifier", encoder=encoder)
    if dense is not None and f"{base}decoder.blocks.4.conv1.0.weight" in state:
        return _make(stem.shape[1], len(dense), name="segmentation", encoder=encoder)
    return None
