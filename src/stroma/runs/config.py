"""The configuration of a run: closed sections, complete with defaults, stored as `config.yaml`."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from stroma.core.component import Component
from stroma.core.config import Section, to_plain
from stroma.core.device import Precision
from stroma.sampling.preparation import Preparation
from stroma.study.selection import Where


class DataSection(Section):
    """Which images and annotations."""

    study: Path = Field(description="study.yaml, or its folder; relative to the configuration file")
    annotator: str | None = Field(None, description="Whose annotation is the reference (default: the study's first)")
    where: Where = None
    store: Path | None = Field(
        None, description="Read prepared stores from this folder (stroma prepare); relative to the configuration file"
    )
    splits: Path | None = Field(
        None, description="Divide the images as this file says, not study.yaml (stroma split); relative like store"
    )


class InputSection(Section):
    """What a sample is and how its pixels are prepared."""

    modality: Literal["image", "rgb"] = Field("image", description="The stored image, or its RGB rendering")
    prepare: Preparation = Preparation()
    granularity: Component = Component(name="patch")


class TaskSection(Section):
    """What is learned."""

    name: Literal["segment"] = "segment"


class SamplingSection(Section):
    """How samples are drawn in training."""

    batch_size: int = Field(8, ge=1)
    samples_per_epoch: int = Field(256, ge=1, description="Draws per epoch (granularity `patch`)")
    balance: Literal["images", "labels"] = Field(
        "labels", description="Centre patches anywhere in a random image, or on a pixel of a random label"
    )


class OptimSection(Section):
    """Optimiser and learning-rate schedule, stepped once an iteration."""

    name: Literal["adam", "adamw", "sgd"] = "adamw"
    lr: float = Field(1e-3, gt=0)
    weight_decay: float = Field(1e-4, ge=0)
    schedule: Literal["constant", "cosine", "exponential", "one-cycle"] = "cosine"
    gamma: float = Field(0.99, gt=0, le=1, description="Factor per epoch of the exponential schedule")


class TrainSection(Section):
    """How long, and which epoch is kept."""

    epochs: int = Field(20, ge=1)
    validate_every: int = Field(1, ge=1, description="Epochs between validations")
    keep: Literal["best", "last"] = Field("best", description="Weights of the best validation Dice, or the last")
    precision: Precision = "auto"
    folds: tuple[str, ...] = Field((), description="Folds to train (default: all)")


class EvaluateSection(Section):
    """How predictions are judged."""

    metrics: tuple[Literal["dice"], ...] = ("dice",)


class ExecutionSection(Section):
    """How a run is computed; outside the fingerprint, since results do not depend on it."""

    device: str = "auto"
    workers: int = Field(0, ge=0, description="Loader processes (0: read in the training process)")


class RunConfig(Section):
    """All of a training."""

    data: DataSection
    input: InputSection = InputSection()
    task: TaskSection = TaskSection()
    model: Component = Component(name="unet")
    sampling: SamplingSection = SamplingSection()
    augment: tuple[Component, ...] = (Component(name="flip"),)
    loss: Component = Component(name="dice_cross_entropy")
    optim: OptimSection = OptimSection()
    train: TrainSection = TrainSection()
    evaluate: EvaluateSection = EvaluateSection()
    execution: ExecutionSection = ExecutionSection()
    seed: int = Field(0, ge=0)

    def settings(self) -> dict[str, Any]:
        """What the trained weights depend on, as plain values: no path, no device, no worker count.

        Of stores they depend on the rounding to float16 only; those of RGB pictures hold the same values.
        """
        plain = to_plain(self, exclude={"execution"})
        plain["data"].pop("study")
        plain["data"].pop("splits")  # the division itself lies in the run
        if self.data.where is None:
            plain["data"].pop("where")
        if plain["data"].pop("store") is not None and self.input.modality != "rgb":
            plain["data"]["store"] = "float16"
        plain["train"].pop("folds")
        return plain
