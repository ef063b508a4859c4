"""`load_model`: from a name to a network with its weights, ready to predict or to be trained further."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from stroma.core.component import Component
from stroma.core.errors import ConfigError, UsageError
from stroma.core.files import sha256
from stroma.models.bands import adapt_first_layer
from stroma.models.build import build_model
from stroma.models.describe import Description
from stroma.models.ensemble import Ensemble
from stroma.models.heads import head_names
from stroma.models.keys import KeyReport, load_state, translate
from stroma.models.locate import Member, choose, locate
from stroma.models.shapes import input_layers, shapes
from stroma.models.timm_weights import load_timm_weights
from stroma.models.weights_file import StateDict

_DOMAIN_HEAD = re.compile(r"(?:^|\.)heads\.heads\.(?!class\.)(\w+)\.weight$")


@dataclass(frozen=True)
class Loaded:
    """What `load_model` knows about a network it returns, in its attribute `loaded`.

    Attributes:
        name: As given.
        description: What the network is and expects, with changed channels and classes.
        reports: Per member, what became of every key.
        folds: Per member, its fold or file name.
        sha256: Per member, the hash of its file.
    """

    name: str
    description: Description
    reports: tuple[KeyReport, ...]
    folds: tuple[str, ...]
    sha256: tuple[str, ...]

    def __str__(self) -> str:
        return "\n".join(str(report) for report in self.reports)


def load_model(
    name: str | Path,
    *,
    channels: int | None = None,
    classes: int | None = None,
    wavelengths_nm: Sequence[float] | None = None,
    fold: str | None = None,
    architecture: Component | Mapping[str, Any] | str | None = None,
    weights_dir: str | Path | None = None,
    accept_licence: bool = False,
) -> nn.Module:
    """Load a network with its weights.

    Without `channels` and `classes` it is the network as published or trained, and several folds are averaged. With
    one of them it is a start for training of one's own: one fold (the first by name, or `fold`), a first layer
    carried over to the other channels by nm, and a new head with random weights.

    Args:
        name: A name of the catalogue (`stroma models list`; `*-2` stands for all nested runs 0 to 2), a run folder,
            an archive, a folder of weight files (an ensemble), or a file.
        channels: Channels of your images, if they are not those of the weights.
        classes: Number of your classes; leave it out to keep the classes of the weights.
        wavelengths_nm: Wavelength of each of your channels.
        fold: One network of several.
        architecture: The component that builds the network, for files that do not tell: `{"name": "segmentation",
            "encoder": "resnet34"}`.
        weights_dir: Where fetched weights lie (default: `STROMA_WEIGHTS_DIR`, or the user's cache).
        accept_licence: Accept a non-commercial licence; it is remembered in `weights_dir`.

    Returns:
        A plain module in eval mode on the CPU, which gives logits (or feature vectors). Its attribute `loaded` tells
        what it expects and which keys were taken, skipped and adapted.

    Raises:
        MissingFile: no such file, or it cannot be fetched.
        UsageError: an unknown name, a licence to be accepted, or channels that cannot be adapted.
        InvalidData: a damaged or unsafe file, or weights that do not fit.
    """
    given = None if architecture is None else Component.model_validate(architecture)
    folder = None if weights_dir is None else Path(weights_dir)
    found = locate(name, architecture=given, weights_dir=folder, accept_licence=accept_licence)
    members = choose(found, fold)
    if wavelengths_nm is not None and channels is None:
        channels = len(wavelengths_nm)
    if channels is not None or classes is not None:
        members = members[:1]
    parts = [load_member(m, channels=channels, classes=classes, wavelengths_nm=wavelengths_nm) for m in members]
    folds = tuple(member.fold for member in members)
    hashes = tuple(sha256(member.path) for member in members)
    if len(parts) == 1:
        network, description, report = parts[0]
        return _with(network, Loaded(str(name), description, (report,), folds, hashes))
    description = parts[0][1]
    _check_alike([part[1] for part in parts], name)
    ensemble = Ensemble([part[0] for part in parts], description.activation).eval()
    return _with(ensemble, Loaded(str(name), description, tuple(part[2] for part in parts), folds, hashes))


def load_member(
    member: Member,
    *,
    channels: int | None = None,
    classes: int | None = None,
    wavelengths_nm: Sequence[float] | None = None,
) -> tuple[nn.Module, Description, KeyReport]:
    """Load one network; parameters and errors as in `load_model`.

    Returns:
        The network in eval mode, its description after the changes, and the account of its keys.
    """
    state = member.read()
    description = _complete(member.description, state)
    wanted = _changed(description, channels, classes, wavelengths_nm)
    adapted: dict[str, str] = {}
    same_bands = wanted.wavelengths_nm == description.wavelengths_nm and wanted.channels == description.channels
    if not same_bands and not _along_spectrum(wanted.model):
        state, adapted = _adapt_input(state, description, wanted)
    network = build_model(wanted.model, channels=wanted.channels, classes=wanted.classes)
    heads = head_names(network)
    unused = [name for name in getattr(network, "unused_names", ()) if name != getattr(network, "head", "")]
    new_head = classes is not None
    where = member.path.name if member.fold == member.path.stem else f"{member.fold}/{member.path.name}"
    if wanted.model.name == "timm":
        report = load_timm_weights(network, state, where=where, new_head=new_head)
    else:
        report = load_state(network, state, where=where, heads=heads, new_head=new_head, optional=unused)
    if member.calibration is not None and not new_head:
        layer = member.calibration.fold_into(network)
        adapted |= {f"{layer}.{name}": "scaled and shifted by its calibration" for name in ("weight", "bias")}
    for key, how in adapted.items():
        report.taken.remove(key)
        report.adapted[key] = how
    return network.eval(), wanted, report


def _complete(description: Description, state: StateDict) -> Description:
    """What only the tensors tell: the width of a table, further heads, and the width of a head that is not used."""
    domains = {match[1]: len(value) for key, value in state.items() if (match := _DOMAIN_HEAD.search(key))}
    if domains and description.model.name in ("spectrum_cnn", "spectrum_mlp"):
        model = {"name": description.model.name, **description.model.parameters, "domains": domains}
        return replace(description, model=Component.model_validate(model))
    columns = next((value for key, value in state.items() if key.endswith("input_normalization.weight")), None)
    if columns is not None and description.model.name in ("table", "image_table"):
        return description.with_table(len(columns))
    own = next((value for key, value in state.items() if key.removeprefix("module.") == "output.weight"), None)
    if description.model.name == "deepcmorph" and own is not None:
        parameters = description.model.parameters
        if parameters.get("head", "output") != "output":
            model = {"name": "deepcmorph", **parameters, "unused_classes": len(own)}
            return replace(description, model=Component.model_validate(model))
    return description


def _changed(
    description: Description, channels: int | None, classes: int | None, wavelengths_nm: Sequence[float] | None
) -> Description:
    """The description of the network that the user wants."""
    wanted = description
    if channels is not None:
        if wavelengths_nm is not None and len(wavelengths_nm) != channels:
            raise UsageError(f"{len(wavelengths_nm)} wavelengths were given for {channels} channels")
        keeps = wavelengths_nm is None and channels == description.channels
        nm = description.wavelengths_nm if keeps else tuple(wavelengths_nm) if wavelengths_nm is not None else None
        wanted = replace(wanted, channels=channels, wavelengths_nm=nm)
        if _along_spectrum(wanted.model) and not keeps:
            wanted = replace(wanted, model=_resampling_spectra(description, nm))
    if classes is not None:
        model = wanted.model
        if model.name == "deepcmorph":
            parameters = {k: v for k, v in model.parameters.items() if k not in ("head", "unused_classes")}
            model = Component.model_validate({"name": "deepcmorph", **parameters})
        output = "class" if wanted.output == "features" else wanted.output
        activation = "softmax" if wanted.output == "features" else wanted.activation
        wanted = replace(wanted, model=model, classes=classes, class_names=(), output=output, activation=activation)
    return wanted


def _along_spectrum(model: Component) -> bool:
    """Whether a network convolves along the channels, so that spectra rather than weights have to be interpolated."""
    return model.name == "spectrum_cnn" or "channel_preprocessing" in model.parameters


def _resampling_spectra(description: Description, wavelengths_nm: Sequence[float] | None) -> Component:
    if wavelengths_nm is None or description.wavelengths_nm is None:
        raise UsageError(
            "convolves along the spectrum, and needs the wavelengths of your channels to take another number of them",
            where=description.model.name,
            next_step="Give wavelengths_nm, one per channel",
        )
    bands = {
        "wavelengths_nm": list(wavelengths_nm),
        "trained_nm": list(description.wavelengths_nm),
        "keep_sum": description.sums_to_one,
    }
    parameters = description.model.parameters
    before = parameters.get("channel_preprocessing")
    more = bands if before is None else {"channel_preprocessing": {**before, **bands}}
    return Component.model_validate({"name": description.model.name, **parameters, **more})


def _adapt_input(state: StateDict, description: Description, wanted: Description) -> tuple[StateDict, dict[str, str]]:
    """Carry the first layers over to other channels."""
    if description.model.name == "table":
        raise UsageError(
            f"the {description.channels} columns of a table cannot be carried over to {wanted.channels} others",
            next_step="Give the columns that it was trained on, in their order",
        )
    old = description.channels
    found = input_layers(description.model, channels=old, classes=description.classes)
    keys = translate(state, shapes(description.model, channels=old, classes=description.classes))
    present = [key for key in found if key in keys and keys[key].ndim > 1]
    if not present:
        raise ConfigError(f"the first layer of '{description.model.name}' cannot be adapted to other channels")
    how: dict[str, str] = {}
    for key in present:
        before = found[key]
        weight, how[key] = adapt_first_layer(
            keys[key][:, before:],
            wanted.channels,
            trained_nm=description.wavelengths_nm,
            wanted_nm=wanted.wavelengths_nm,
            relative=description.sums_to_one,
        )
        keys[key] = torch.cat([keys[key][:, :before], weight], dim=1)
    return keys, how


def _check_alike(descriptions: Sequence[Description], name: str | Path) -> None:
    first = descriptions[0]
    for other in descriptions[1:]:
        if (other.channels, other.classes, other.class_names) != (first.channels, first.classes, first.class_names):
            raise UsageError(
                "holds networks with different channels or classes, which cannot be averaged",
                where=name,
                next_step="Load one of them: give fold=… or the file",
            )


def load_descriptions(members: Sequence[Member], name: str | Path) -> Description:
    """What the networks of an ensemble have in common, completed from the tensors of the first.

    Raises:
        UsageError: they have other channels or classes than one another.
    """
    _check_alike([member.description for member in members], name)
    first = members[0].description
    if first.model.name in ("table", "image_table", "deepcmorph"):
        return _complete(first, members[0].read())
    return first


def loaded(network: nn.Module) -> Loaded:
    """What `load_model` knows about a network that it returned.

    Raises:
        UsageError: the network comes from elsewhere.
    """
    found: Any = getattr(network, "loaded", None)
    if not isinstance(found, Loaded):
        raise UsageError(f"this {type(network).__name__} does not come from stroma.load_model")
    return found


def _with(network: nn.Module, known: Loaded) -> nn.Module:
    network.loaded = known  # type: ignore[assignment]
    return network
