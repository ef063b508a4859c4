"""Label mappings in the configurations of htc: by name, as names and indices, or with all their settings."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stroma.core.errors import ConfigError, nearest
from stroma.study.labels import IGNORE, LabelMapping

_LIMIT = 100
"""Indices from here on are no classes unless the mapping says otherwise."""

_SEMANTIC = (
    "background,blue_cloth,blanket,foil,metal,white_compress,anorganic_artifact,syringe,glove,abdominal_linen",
    *"heart lung liver colon small_bowel stomach spleen gallbladder bladder omentum peritoneum skin".split(),  # noqa: SIM905
    *"fat_subcutaneous pancreas muscle kidney major_vein kidney_with_Gerotas_fascia".split(),  # noqa: SIM905
)
_ATLAS = (
    *"stomach small_bowel colon liver gallbladder pancreas kidney lung heart cartilage bile_fluid".split(),  # noqa: SIM905
    *"kidney_with_Gerotas_fascia major_vein peritoneum muscle skin bone omentum bladder spleen".split(),  # noqa: SIM905
)
_SPECIES = (
    "background,metal,abdominal_linen,blue_cloth,blanket,white_compress,white_compress_dry,anorganic_artifact,"
    "silicone_gloves_light_blue,silicone_gloves_blue,silicone_gloves_white,glove,foil,syringe,stapler,magnets,sutures",
    "stomach",
    "small_bowel,meso",
    *"colon liver pancreas kidney spleen omentum lung skin peritoneum".split(),  # noqa: SIM905
)
BUILT_IN: dict[str, tuple[str, ...]] = {
    "settings_seg>label_mapping": _SEMANTIC,
    "settings_atlas>label_mapping": _ATLAS,
    "settings_species>label_mapping": _SPECIES,
}
"""End of `module>variable` → the names of each index, divided by commas; the first of them is the class."""


def mapping_from_htc(value: str | Mapping[str, Any], *, where: Path | None = None) -> LabelMapping:
    """The label mapping that a configuration of htc means.

    Args:
        value: `htc.settings_seg>label_mapping`; `{liver: 0, …}`; or the full form with `mapping_name_index`,
            `last_valid_label_index`, `zero_is_invalid` and perhaps `mapping_index_name`.
        where: The file, for messages.

    Returns:
        The classes in the order of their indices (`sources` has the indices); names that share an index are
        aliases of the first, and invalid ones are not annotated.

    Raises:
        ConfigError: an unknown variable, an index that is no whole number, or no valid label.
    """
    if isinstance(value, str):
        names = next((table for ending, table in BUILT_IN.items() if value.endswith(ending)), None)
        if names is None:
            raise ConfigError(
                f"the label mapping '{value}' is a variable that Stroma does not have",
                where=where,
                next_step=f"Write its names and indices into the configuration. {nearest(value, BUILT_IN)}",
            )
        indices = {name: index for index, group in enumerate(names) for name in group.split(",")}
        return _mapping(indices, {}, None, False, where)
    if "mapping_name_index" not in value:
        # written configurations are sorted by key; the name of several labels with index 0 is background
        first = {"background": value["background"]} if "background" in value else {}
        return _mapping({**first, **value}, {}, None, False, where)
    return _mapping(
        value["mapping_name_index"],
        value.get("mapping_index_name") or {},
        value.get("last_valid_label_index"),
        _is_true(value.get("zero_is_invalid", False)),
        where,
    )


def mapping_to_htc(labels: LabelMapping) -> dict[str, Any]:
    """The full form, as htc reads it: classes with their indices in the mask files, ignored labels after them.

    Indices that are not annotated but have no name are called `invalid_<index>`.
    """
    sources = {name: index for index, name in labels.sources.items()} or {n: i for i, n in enumerate(labels.names)}
    indices = dict(sorted(sources.items(), key=lambda item: item[1]))
    indices |= {alias: indices[name] for alias, name in labels.aliases.items() if name in indices}
    last = max(indices.values())
    for value in labels.ignore:
        if isinstance(value, int) and value != IGNORE:
            indices[f"invalid_{value}"] = value
    indices["unlabeled"] = IGNORE
    return {
        "mapping_name_index": indices,
        "last_valid_label_index": last,
        "zero_is_invalid": 0 in labels.ignore,
        "unknown_invalid": False,
    }


def _mapping(
    given: Any, by_index: Mapping[str, str], last: int | None, zero_is_invalid: bool, where: Path | None
) -> LabelMapping:
    if not isinstance(given, Mapping) or not given:
        raise ConfigError(f"the label mapping {given!r} is no table from names to indices", where=where)
    for name, index in given.items():
        if type(index) is not int or not 0 <= index <= IGNORE:
            raise ConfigError(f"the label '{name}' has the index {index!r}, no whole number up to 255", where=where)
    if not isinstance(by_index, Mapping) or not all(str(index).isdecimal() for index in by_index):
        raise ConfigError(f"mapping_index_name is {by_index!r}, no table from indices to names", where=where)
    if last is not None and type(last) is not int:
        raise ConfigError(f"last_valid_label_index is {last!r}, no whole number", where=where)
    if last is None:
        last = max((index for index in given.values() if index < _LIMIT), default=-1)
    valid = {name: index for name, index in given.items() if index <= last and (index > 0 or not zero_is_invalid)}
    if not valid:
        raise ConfigError(f"the label mapping has no label up to the index {last}", where=where)
    canonical = {index: name for name, index in reversed(valid.items())}
    canonical |= {int(index): name for index, name in by_index.items() if valid.get(name) == int(index)}
    names = [canonical[index] for index in sorted(canonical)]
    invalid = [name for name in given if name not in valid]
    return LabelMapping(
        names=tuple(names),
        sources={index: canonical[index] for index in sorted(canonical)},
        aliases={name: canonical[index] for name, index in valid.items() if name != canonical[index]},
        ignore=tuple(sorted({given[name] for name in invalid} | {IGNORE})) + tuple(invalid),
    )


def _is_true(value: Any) -> bool:
    return value is True or str(value).lower() == "true"
