"""`Preparation`: the ordered per-pixel steps from stored values to what a model expects."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stroma.core.clock import stage
from stroma.core.component import Component
from stroma.core.config import Section
from stroma.core.errors import ConfigError, InvalidData
from stroma.spectra.resample import resample_spectra

_RESAMPLE = "resample"


class Preparation(Section):
    """The same object prepares pixels for stores, training and prediction, and is written in the model card.

    Attributes:
        steps: Components of `stroma.sampling`, applied in order: `zero_highlights`, `l1`, `l2`, `snv`, `absorbance`,
            `savitzky_golay`, `resample` (which alone changes the number of channels), `divide`, `mean_std`.
    """

    steps: tuple[Component, ...] = ()

    def apply(self, pixels: NDArray[Any]) -> NDArray[np.float32]:
        """Prepare pixels.

        Args:
            pixels: (..., C) stored values of any real type.

        Returns:
            (..., C) float32, C-contiguous.

        Raises:
            ConfigError: a fitted step that has not been fitted.
        """
        from stroma.sampling import registry

        with stage("transform"):
            result = pixels.astype(np.float32, copy=not self.steps)  # steps leave their input as it is
            for step in self.steps:
                if self._is_unfitted(step):
                    raise ConfigError(
                        f"the preparation step '{step.name}' has no mean and std yet",
                        next_step="Train first (they are fitted on the training images), or give both",
                    )
                if step.name == _RESAMPLE and "from_nm" not in step.parameters:
                    raise ConfigError(
                        "the preparation step 'resample' does not know the wavelengths of its input",
                        next_step="Train first (they are those of the training images), or give 'from_nm'",
                    )
                result = step.make(registry, result)
        return np.ascontiguousarray(result, dtype=np.float32)

    def after(self, done: Sequence[Component]) -> Preparation:
        """What is left to do for pixels that have gone through `done` already (`Image.prepared`).

        Raises:
            ConfigError: this preparation does not begin with those steps.
        """
        if self.steps[: len(done)] != tuple(done):
            names = [" → ".join(step.name for step in steps) or "nothing" for steps in (done, self.steps)]
            raise ConfigError(
                f"the pixels have gone through {names[0]}, where {names[1]} is wanted",
                next_step="Use the original images, or stores of another kind (raw16 fits every preparation)",
            )
        return Preparation(steps=self.steps[len(done) :]) if done else self

    def for_wavelengths(self, wavelengths_nm: Sequence[float] | None) -> Preparation:
        """The preparation for images of these wavelengths: a step `resample` learns which it starts from.

        Raises:
            ConfigError: the images have no wavelengths and a step needs them.
        """
        steps, current = list(self.steps), wavelengths_nm
        for place, step in enumerate(steps):
            if step.name != _RESAMPLE:
                continue
            if current is None and "from_nm" not in step.parameters:
                raise ConfigError("the step 'resample' needs images that tell their wavelengths")
            if "from_nm" not in step.parameters:
                steps[place] = Component(name=step.name, from_nm=[float(v) for v in current or ()], **step.parameters)
            current = _target(step)
        return Preparation(steps=tuple(steps))

    def wavelengths(self, wavelengths_nm: Sequence[float] | None) -> tuple[float, ...] | None:
        """Wavelengths of prepared pixels of images of these wavelengths."""
        wanted = [_target(step) for step in self.steps if step.name == _RESAMPLE]
        current = wanted[-1] if wanted else wavelengths_nm
        return None if current is None else tuple(float(value) for value in current)

    def channels(self, count: int) -> int:
        """Number of channels of prepared pixels of images of `count` channels."""
        wanted = [_target(step) for step in self.steps if step.name == _RESAMPLE]
        return len(wanted[-1]) if wanted else count

    @staticmethod
    def _is_unfitted(step: Component) -> bool:
        return step.name == "mean_std" and not {"mean", "std"} <= step.parameters.keys()

    def fit(self, images: Iterable[NDArray[Any]]) -> Preparation:
        """Fit `mean_std` on images and return the complete preparation.

        Sums run in float64 over all pixels of all images, so memory is that of one image. The standard
        deviation is that of the population; channels without variation get 1.

        Args:
            images: (..., C) stored values of the training side only.

        Raises:
            InvalidData: an image has values that are not finite.
            ConfigError: there are no images.
        """
        position = next((i for i, step in enumerate(self.steps) if self._is_unfitted(step)), None)
        if position is None:
            return self
        before = Preparation(steps=self.steps[:position])
        count = 0
        total = squares = np.zeros(1)
        for pixels in images:
            prepared = before.apply(pixels)
            values = prepared.reshape(-1, prepared.shape[-1]).astype(np.float64)
            count += len(values)
            total = total + values.sum(axis=0)
            squares = squares + (values**2).sum(axis=0)
            if not np.isfinite(squares).all():
                raise InvalidData(
                    f"a training image of shape {pixels.shape} has values that are no numbers or far too large",
                    next_step="Find it with 'stroma check', and repair it or leave it out",
                )
        if count == 0:
            raise ConfigError("there is no training image to fit 'mean_std' on")
        mean = np.asarray(total / count)
        std = np.sqrt(np.maximum(np.asarray(squares / count) - mean**2, 0))
        std[std == 0] = 1.0
        fitted = Component(name="mean_std", mean=mean.tolist(), std=std.tolist())
        return Preparation(steps=(*self.steps[:position], fitted, *self.steps[position + 1 :]))


def _target(step: Component) -> list[float]:
    """The wavelengths that a step `resample` leads to."""
    target = step.parameters.get("to_nm")
    if not isinstance(target, list | tuple) or not target:
        raise ConfigError("the preparation step 'resample' needs 'to_nm', the wavelengths that the model sees")
    return [float(value) for value in target]


def resample(
    pixels: NDArray[np.float32],
    to_nm: Sequence[float],
    from_nm: Sequence[float],
    fwhm_nm: float | Sequence[float] | None = None,
) -> NDArray[np.float32]:
    """Spectra at other wavelengths; see `stroma.spectra.resample_spectra`.

    Args:
        pixels: (..., C).
        to_nm: (D,) wavelengths that the model sees.
        from_nm: (C,) those of the images; training writes them into the card.
        fwhm_nm: Widths of the bands; None interpolates linearly.

    Returns:
        (..., D) float32.
    """
    return resample_spectra(pixels, from_nm, to_nm, fwhm_nm=fwhm_nm)


def divide(pixels: NDArray[np.float32], by: float = 255.0) -> NDArray[np.float32]:
    """Divide by a constant, 255 for 8-bit images: values become 0 to 1."""
    return pixels / np.float32(by)


def mean_std(pixels: NDArray[np.float32], mean: list[float], std: list[float]) -> NDArray[np.float32]:
    """Subtract the mean and divide by the standard deviation of each channel.

    Raises:
        ConfigError: the number of channels differs.
    """
    if pixels.shape[-1] != len(mean) or len(mean) != len(std):
        raise ConfigError(f"'mean_std' has {len(mean)} means and {len(std)} stds for {pixels.shape[-1]} channels")
    centre, spread = np.asarray(mean, np.float32), np.asarray(std, np.float32)
    result: NDArray[np.float32] = (pixels - centre) / spread
    return result
