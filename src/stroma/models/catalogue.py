"""The catalogue of published models, and names with wildcards for sets of them."""

from __future__ import annotations

import fnmatch
import itertools
import re
from collections.abc import Mapping
from functools import cache

from stroma.core.errors import UsageError, nearest
from stroma.models.card import PublishedModel
from stroma.models.catalogue_histology import histology_models
from stroma.models.catalogue_htc import htc_models

_FORMS = (
    "Give a path, a name of 'stroma models list' (wildcards in quotes), or a network of timm: resnet18.a1_in1k, "
    "hf-hub:owner/name"
)
_NUMBERED = re.compile(r"\*-(\d+)")


@cache
def catalogue() -> Mapping[str, PublishedModel]:
    """Name → card, for all published models."""
    return {model.name: model for model in (*htc_models(), *histology_models())}


def find(name: str) -> list[PublishedModel]:
    """The published models that a name stands for.

    Args:
        name: A name of the catalogue, in any case. `*-2` stands for each of `0-2`, `1-2`, `2-2`, as in the nested
            runs of htc (`image@2025-03-09_19-38-10_baseline_pig_nested-*-2`); a lone `*` for any text.

    Returns:
        At least one, in the order of the catalogue.

    Raises:
        UsageError: the name is unknown, with the nearest one.
    """
    known = catalogue()
    lowered = {entry.lower(): entry for entry in known}
    patterns = [candidate.lower() for candidate in _numbered(name)]
    wanted = {entry for pattern in patterns for entry in fnmatch.filter(lowered, _only_stars(pattern))}
    if not wanted:
        close = nearest(name, known)
        hint = f"{close} See: stroma models list" if close.startswith("Did") else _FORMS
        if name.startswith("hf-hub:"):
            hint = f"Networks of the Hub are encoders, fetched on first use: stroma embed TILES --encoder {name}"
        raise UsageError(f"there is no published model '{name}'", next_step=hint)
    return [known[original] for entry, original in lowered.items() if entry in wanted]


def by_file(name: str) -> PublishedModel | None:
    """The published model whose file has this name, if there is one."""
    return next((card for card in catalogue().values() if card.file.name == name), None)


def is_published(name: str) -> bool:
    """Whether `find` knows the name."""
    try:
        return bool(find(name))
    except UsageError:
        return False


def _numbered(name: str) -> list[str]:
    """`a-*-2_b` → `a-0-2_b`, `a-1-2_b`, `a-2-2_b`; several of them are combined, the first varying slowest."""
    counts = [int(count) for count in _NUMBERED.findall(name)]
    result = []
    for numbers in itertools.product(*(range(count + 1) for count in counts)):
        following = iter(numbers)
        result.append(_NUMBERED.sub(lambda match, n=following: f"{next(n)}-{match.group(1)}", name))  # type: ignore[misc]
    return result


def _only_stars(pattern: str) -> str:
    """Brackets and question marks stand for themselves; `*` does not."""
    return re.sub(r"([\[\]?])", r"[\1]", pattern)
