"""Run folders of htc: which networks lie in them, and with which configuration they were trained."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from stroma.core.component import Component
from stroma.core.errors import ConfigError, InvalidData, MissingFile
from stroma.models.calibration import Calibration
from stroma.models.catalogue_htc import ATLAS_ORGANS, ORGANS, SPECIES_ORGANS
from stroma.models.wavelengths import RGB_NM, TIVITA_NM

FIRST_INVALID_INDEX = 100
"""Label indices from here on are no classes in htc."""
_NAMED_MAPPINGS = {
    "settings_seg>label_mapping": ORGANS,
    "settings_atlas>label_mapping": ATLAS_ORGANS,
    "settings_species>label_mapping": SPECIES_ORGANS,
}


@dataclass(frozen=True)
class HtcRun:
    """A run folder of htc.

    Attributes:
        folder: It holds `config.json` and one `fold_*` folder per fold with a checkpoint each.
        checkpoints: Name of the fold → checkpoint, sorted by name.
        config: The configuration.
    """

    folder: Path
    checkpoints: Mapping[str, Path]
    config: Mapping[str, Any]

    @classmethod
    def open(cls, folder: Path) -> HtcRun:
        """Open a run folder.

        Raises:
            MissingFile: there is no configuration or no checkpoint in it.
            InvalidData: the configuration is no JSON, or a fold has several checkpoints.
        """
        checkpoints = {}
        for fold in sorted(entry for entry in folder.iterdir() if entry.is_dir() and entry.name.startswith("fold")):
            found = sorted(fold.glob("*.ckpt"))
            if len(found) > 1:
                names = ", ".join(path.name for path in found)
                raise InvalidData(
                    f"has {len(found)} checkpoints ({names})",
                    where=fold,
                    next_step="Give the one you want as a file, or move the others away",
                )
            if found:
                checkpoints[fold.name] = found[0]
        if not checkpoints:
            raise MissingFile("is a run folder without checkpoints (fold_*/*.ckpt)", where=folder)
        return cls(folder, checkpoints, read_config(folder / "config.json"))

    @property
    def channels(self) -> int:
        """Channels of the network's input; of a table alone, its columns."""
        if self.is_table:
            return max(1, len(self._table_columns()))
        keys = ("model/input_channels", "model/n_input_channels", "input/n_channels")
        for key in keys[1:] if get(self.config, "model/channel_preprocessing") else keys:
            value = get(self.config, key)
            if value is not None:
                return int(value)
        raise self._lacks("input/n_channels")

    @property
    def is_table(self) -> bool:
        """Whether its input is a row of numbers and no image."""
        return bool(get(self.config, "model/meta")) and not any(
            get(self.config, key) for key in ("model/encoder", "model/architecture_name")
        )

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes in the order of the outputs; `class_0` … where the configuration names none."""
        mapping = get(self.config, "label_mapping")
        names: tuple[str, ...] = ()
        if isinstance(mapping, str):
            names = next((value for key, value in _NAMED_MAPPINGS.items() if mapping.endswith(key)), ())
        elif isinstance(mapping, Mapping):
            names = mapping_names(mapping)
        count = get(self.config, "input/n_classes")
        if count is not None and len(names) != int(count):
            names = tuple(f"class_{index}" for index in range(int(count)))
        if not names:
            raise self._lacks("label_mapping")
        return names

    @property
    def model(self) -> Component:
        """The component that builds the network.

        Raises:
            ConfigError: the configuration describes a network that Stroma does not have.
        """
        config = self.config
        name = get(config, "model/architecture_name")
        if name:
            options = dict(get(config, "model/architecture_kwargs") or {})
            options.pop("encoder_weights", None)
            component: dict[str, Any] = {"name": "segmentation", "architecture": name}
            component["encoder"] = options.pop("encoder_name", "resnet34")
            depth = options.pop("encoder_depth", None)
            before = self._channel_preprocessing()
            more = {"depth": depth, "options": options, "channel_preprocessing": before}
            return Component.model_validate(component | {key: value for key, value in more.items() if value})
        encoder = get(config, "model/encoder")
        if encoder and get(config, "model/meta"):
            return Component.model_validate(
                {
                    "name": "image_table",
                    "encoder": encoder,
                    "columns": len(self._table_columns()),
                    "part": int(get(config, "model/per_model_output_size") or 10),
                    "activation": get(config, "model/activation_function"),
                    "normalisation": get(config, "model/normalization"),
                    "dropout": get(config, "model/dropout"),
                    "table": self._table(),
                }
            )
        if encoder:
            dropout = get(config, "model/dropout")
            return Component.model_validate({"name": "encoder_classifier", "encoder": encoder, "dropout": dropout})
        if self.is_table:
            return Component.model_validate({"name": "table", **self._table()})
        return self._spectral()

    def calibration(self, fold: str) -> Calibration | None:
        """What the logits of a fold are scaled and shifted by; none where its configuration names nothing.

        Raises:
            ConfigError: there is a calibration, but none for this fold.
        """
        return Calibration.of(get(self.config, "post_processing/calibration"), fold, where=self._config_path)

    def _spectral(self) -> Component:
        config = self.config
        mlp = get(config, "model/model_name") == "ModelPixelRGB"
        component: dict[str, Any] = {
            "name": "spectrum_mlp" if mlp else "spectrum_cnn",
            "activation": get(config, "model/activation_function"),
            "normalisation": get(config, "model/normalization"),
            "dropout": float(get(config, "model/dropout") or 0.0),
        }
        if not mlp:
            component["width"] = int(get(config, "model/channels_base") or 64)
        return Component.model_validate(component)

    def _channel_preprocessing(self) -> dict[str, Any] | None:
        section = get(self.config, "model/channel_preprocessing")
        if not section:
            return None
        return {
            "remaining_channels": section.get("remaining_channels", 40),
            "activation": section.get("activation_function"),
            "normalisation": section.get("normalization"),
            "channel_weights": bool(section.get("channel_weights")),
        }

    def _table(self) -> dict[str, Any]:
        section = get(self.config, "model/meta") or {}
        return {
            "hidden": [int(section.get("layer1_size") or 50), int(section.get("layer2_size") or 30)],
            "activation": section.get("activation_function"),
            "normalisation": section.get("normalization"),
            "dropout": float(section.get("dropout") or 0.0),
        }

    def _table_columns(self) -> list[Any]:
        columns: list[Any] = get(self.config, "input/meta/attributes") or []
        return columns

    @property
    def preparation(self) -> list[str]:
        """Names of the preparation steps: `l1` for normalised spectra, `divide` for RGB."""
        normalised = "L1" in str(get(self.config, "input/preprocessing")) or (
            get(self.config, "input/normalization") == "L1"
        )
        if self.is_table:
            return []
        if normalised:
            return ["l1"]
        return ["divide"] if self.channels == 3 else []

    @property
    def activation(self) -> Literal["softmax", "sigmoid"]:
        """`sigmoid` for classes that may overlap (`model/activations`)."""
        return "sigmoid" if get(self.config, "model/activations") == "sigmoid" else "softmax"

    @property
    def wavelengths_nm(self) -> tuple[float, ...] | None:
        """One per channel, for spectra of the camera and for a part of them (`input/channel_selection`)."""
        start, end = get(self.config, "input/channel_selection") or (0, len(TIVITA_NM))
        part = TIVITA_NM[start:end]
        if self.channels == len(part) and not self.is_table:
            return part
        return RGB_NM if self.channels == 3 else None

    @property
    def granularity(self) -> Component:
        """The samples it was trained on, as its class, its sections or the folder of its kind tell."""
        kind = f"{get(self.config, 'lightning_class') or ''} {self.folder.absolute().parent.name}"
        superpixels = get(self.config, "input/superpixels")
        if superpixels and self.per_sample:
            segments = superpixels.get("n_segments") if isinstance(superpixels, Mapping) else None
            return Component.model_validate({"name": "superpixel", **({"segments": segments} if segments else {})})
        if "superpixel_classification" in kind:
            return Component(name="superpixel")
        if "median_pixel" in kind:
            return Component(name="spectrum")
        return Component(name="pixel" if self.model.name.startswith("spectrum_") else "image")

    @property
    def per_sample(self) -> bool:
        """Whether the network gives one answer a sample rather than one a pixel."""
        return self.model.name != "segmentation"

    @property
    def _config_path(self) -> Path:
        return self.folder / "config.json"

    def _lacks(self, key: str) -> ConfigError:
        return ConfigError(f"lacks the key '{key}'", where=self._config_path)


def is_htc_run(folder: Path) -> bool:
    """Whether a folder looks like a run of htc: `config.json` beside `fold*` folders."""
    return (folder / "config.json").is_file() and any(entry.is_dir() for entry in folder.glob("fold*"))


def read_config(path: Path) -> Mapping[str, Any]:
    """Read an htc configuration: JSON with `//` comments on lines of their own.

    Raises:
        MissingFile: there is none.
        InvalidData: it is not JSON, or no mapping.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise MissingFile(
            "there is no config.json, which tells the architecture of its networks",
            where=path.parent,
            next_step="Copy it from the published archive, or name the architecture",
        ) from error
    except UnicodeDecodeError as error:
        raise InvalidData(f"is not valid JSON ({error})", where=path) from error
    try:
        content = json.loads(re.sub(r"^\s*//.*$", "", text, flags=re.MULTILINE))
    except json.JSONDecodeError as error:
        raise InvalidData(f"is not valid JSON ({error})", where=path) from error
    if not isinstance(content, dict):
        raise InvalidData("is not an htc configuration", where=path)
    return content


def get(config: Mapping[str, Any], key: str) -> Any:
    """The value of a nested key such as `model/encoder`, or None where it is absent."""
    value: Any = config
    for part in key.split("/"):
        if not isinstance(value, Mapping):
            return None
        value = value.get(part)
    return value


def mapping_names(mapping: Mapping[str, Any]) -> tuple[str, ...]:
    """Class names from either mapping that htc stores: name → index, or with `mapping_name_index` around it.

    Several names may share an index; the first is shown. Indices from 100 on, those above `last_valid_label_index`,
    and 0 where `zero_is_invalid`, are no classes. In old runs the names are sorted, and `background` is moved to the
    front where its index is 0.
    """
    inner = mapping.get("mapping_name_index", mapping)
    pairs = [(str(name), int(index)) for name, index in inner.items() if isinstance(index, int)]
    pairs.sort(key=lambda pair: pair[0] != "background")
    last = mapping.get("last_valid_label_index", FIRST_INVALID_INDEX - 1) if inner is not mapping else None
    last = FIRST_INVALID_INDEX - 1 if last is None else min(int(last), FIRST_INVALID_INDEX - 1)
    first = 1 if inner is not mapping and mapping.get("zero_is_invalid") else 0
    names: dict[int, str] = {}
    for name, index in pairs:
        if first <= index <= last:
            names.setdefault(index, name)
    return tuple(names[index] for index in sorted(names))
