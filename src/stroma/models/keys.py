"""Keys of a weight file brought to those of a network, and an account of every one of them."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

from torch import Tensor, nn

from stroma.core.errors import InvalidData
from stroma.models.weights_file import StateDict

_LOSS = re.compile(r"^(ce_loss_weighted\.weight|kl_loss_weighted\.weight|.*(^|\.)class_weights?)$")
_COUNTER = "num_batches_tracked"
_NEW_WEIGHT_NORM = (
    ("parametrizations.weight.original0", "weight_g"),
    ("parametrizations.weight.original1", "weight_v"),
)
Adapt = Callable[[str, Tensor, Tensor], tuple[Tensor, str] | None]


@dataclass
class KeyReport:
    """What became of every key.

    Attributes:
        source: The file.
        taken: Keys whose tensors were copied.
        adapted: Key → how its tensor was changed to fit.
        skipped: Key of the file → why it was left out.
        fresh: Key of the network → why it keeps its random start.
    """

    source: str
    taken: list[str] = field(default_factory=list)
    adapted: dict[str, str] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    fresh: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        lines = [
            f"{self.source}: {len(self.taken)} keys taken, {len(self.adapted)} adapted, {len(self.skipped)} skipped, "
            f"{len(self.fresh)} fresh"
        ]
        for word, table in (("adapted", self.adapted), ("skipped", self.skipped), ("fresh", self.fresh)):
            lines += [f"  {word} {key}: {why}" for key, why in table.items()]
        return "\n".join(lines)


def translate(state: Mapping[str, Tensor], wanted: Collection[str]) -> StateDict:
    """Rename the keys of a file to those of a network.

    Handled are the prefixes of DataParallel (`module.`), `torch.compile` (`_orig_mod.`) and Lightning
    (`model.`, or the attribute that the network lies in, such as `net.`), both spellings of timm encoders in
    segmentation-models-pytorch (`encoder.` and `encoder.model.`), networks of that library stored without our
    `architecture.`, and both spellings of weight normalisation.

    Args:
        state: Of the file.
        wanted: Keys of the network.
    """
    names = set(wanted)
    result = {}
    own = _own_prefix(state, names)
    state = {key.removeprefix(own): value for key, value in state.items()}
    prefixed = any(key.startswith("model.") for key in state) and not any(key.startswith("model.") for key in names)
    for key, value in state.items():
        name = _translated(key, names, strip_model=prefixed)
        result[key if name in result else name] = value  # two keys for one place: the second will be left over
    return result


def _own_prefix(state: Mapping[str, Tensor], names: Collection[str]) -> str:
    """The one prefix below which a file holds every key of a network; empty where there is none."""
    keys = [name for name in names if not name.endswith(_COUNTER)]
    for inside in ("", "architecture."):
        bare = [name.removeprefix(inside) for name in keys]
        longest = max(bare, key=len, default="")
        found = {key.removesuffix(longest) for key in state if key.endswith(f".{longest}")}
        for prefix in sorted(found):
            if all(f"{prefix}{name}" in state for name in bare):
                return prefix
    return ""


def _translated(key: str, names: Collection[str], *, strip_model: bool) -> str:
    while key.startswith(("module.", "_orig_mod.")) and key not in names:
        key = key.partition(".")[2]
    if strip_model and key not in names:
        key = key.removeprefix("model.")
    for new, old in _NEW_WEIGHT_NORM:
        if key.endswith(new) and key not in names:
            key = key.removesuffix(new) + old
    if key in names:
        return key
    for candidate in (key, f"architecture.{key}"):
        inserted = re.sub(r"(^|\.)encoder\.(?!model\.)", r"\1encoder.model.", candidate, count=1)
        removed = re.sub(r"(^|\.)encoder\.model\.", r"\1encoder.", candidate, count=1)
        for spelling in (candidate, inserted, removed):
            if spelling in names:
                return spelling
    return key


def load_state(
    model: nn.Module,
    state: Mapping[str, Tensor],
    *,
    where: str,
    heads: Collection[str] = (),
    new_head: bool = False,
    optional: Collection[str] = (),
    adapt: Adapt | None = None,
) -> KeyReport:
    """Load the tensors of a file into a network so that every tensor has its place and every place its tensor.

    Args:
        model: The network.
        state: Of the file, with any spelling that `translate` knows.
        where: The file, for messages.
        heads: Names of the modules that give the classes.
        new_head: Leave the heads as they are; those of the file are skipped.
        optional: Names of modules that the file may lack (unused heads).
        adapt: Called with key, tensor and the network's tensor where shapes differ; returns the changed tensor and
            how, or nothing.

    Returns:
        The account.

    Raises:
        InvalidData: keys are left over or missing, a shape differs, or a value is not finite; the message lists them.
    """
    target = model.state_dict()
    report = KeyReport(where)
    chosen: StateDict = {}
    left_over, shapes = [], []
    for key, value in translate(state, target).items():
        if _LOSS.match(key) and key not in target:
            report.skipped[key] = "belongs to a loss, not to the network"
        elif new_head and _below(key, heads):
            report.skipped[key] = "the head is replaced"
        elif key not in target:
            left_over.append(key)
        elif value.shape == target[key].shape:
            chosen[key] = value
            report.taken.append(key)
        else:
            adapted = adapt(key, value, target[key]) if adapt else None
            if adapted is None:
                shapes.append(f"{key} {tuple(value.shape)} instead of {tuple(target[key].shape)}")
            else:
                chosen[key], report.adapted[key] = adapted
    missing = []
    for key in target:
        if key in chosen or key.endswith(_COUNTER):
            continue
        if new_head and _below(key, heads):
            report.fresh[key] = "a new head"
        elif _below(key, optional):
            report.fresh[key] = "not in the file, and not used"
        else:
            missing.append(key)
    not_finite = [key for key, value in chosen.items() if value.is_floating_point() and not value.isfinite().all()]
    problems = [
        f"{len(keys)} {what} ({_some(sorted(keys))})"
        for what, keys in (
            ("left over", left_over),
            ("missing", missing),
            ("of another shape", shapes),
            ("not finite", not_finite),
        )
        if keys
    ]
    if problems:
        raise InvalidData(
            f"does not fit the network {type(model).__name__}: {'; '.join(problems)}",
            where=where,
            next_step="Check that the architecture, its encoder and the number of classes are those of the file",
        )
    model.load_state_dict(chosen, strict=False)  # what is absent has been accounted for above
    return report


def _below(key: str, modules: Collection[str]) -> bool:
    return any(key == name or key.startswith(f"{name}.") for name in modules)


def _some(texts: list[str], count: int = 12) -> str:
    return ", ".join(texts[:count]) + (f", and {len(texts) - count} more" if len(texts) > count else "")
