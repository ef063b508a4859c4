"""First layers that know wavelengths: weights learned on some bands, carried over to others by nanometre."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stroma.core.errors import ConfigError, UsageError


def band_matrix(trained_nm: Sequence[float], wanted_nm: Sequence[float]) -> NDArray[np.float64]:
    """The linear interpolation from values at `trained_nm` to values at `wanted_nm`.

    Args:
        trained_nm: Wavelengths of the values there are, in any order, all different.
        wanted_nm: Wavelengths of the values to find; outside the trained range the nearest value holds.

    Returns:
        (wanted, trained), rows sum to 1.

    Raises:
        UsageError: two of the trained wavelengths are equal.
    """
    trained = np.asarray(trained_nm, dtype=np.float64)
    order = np.argsort(trained)
    if len(trained) > 1 and np.diff(trained[order]).min() <= 0:
        raise UsageError("two bands have the same wavelength", next_step="Give each channel a wavelength of its own")
    identity = np.eye(len(trained))
    columns = [np.interp(wanted_nm, trained[order], identity[order, i]) for i in range(len(trained))]
    return np.stack(columns, axis=1)


def resampling(
    channels: int,
    wavelengths_nm: Sequence[float] | None,
    trained_nm: Sequence[float] | None,
    *,
    keep_sum: bool = True,
) -> Tensor | None:
    """The matrix that interpolates spectra to the wavelengths of training.

    Args:
        channels: Channels of the spectra that come in.
        wavelengths_nm: One for each of them.
        trained_nm: Wavelengths wanted.
        keep_sum: Scale by the ratio of their numbers, as spectra that are normalised to the sum 1 need; other spectra
            keep their values.

    Returns:
        (channels, trained), or none where one of the two is not known and nothing is to be done.

    Raises:
        ConfigError: the wavelengths are not one per channel.
    """
    if trained_nm is None or wavelengths_nm is None:
        return None
    if len(wavelengths_nm) != channels:
        raise ConfigError(f"{len(wavelengths_nm)} wavelengths were given for {channels} channels")
    scale = len(wavelengths_nm) / len(trained_nm) if keep_sum else 1.0
    return torch.from_numpy(band_matrix(wavelengths_nm, trained_nm).T * scale).float()


def adapt_first_layer(
    weight: Tensor,
    channels: int,
    *,
    trained_nm: Sequence[float] | None,
    wanted_nm: Sequence[float] | None,
    relative: bool,
) -> tuple[Tensor, str]:
    """Carry the weights of a first layer over to other channels.

    With wavelengths on both sides, the weight of a new band is interpolated between those of its neighbours by nm.
    Without, every new channel gets the mean of the old ones, since there is no order to go by. The weights are then
    scaled by old / new number of channels, so that the layer answers a flat spectrum as before, unless spectra are
    normalised to the sum 1: then more bands mean smaller values, and the scale is right already.

    Args:
        weight: (outputs, channels, …) of the trained layer, image channels only.
        channels: Number of channels wanted.
        trained_nm: Wavelengths it was trained on.
        wanted_nm: Wavelengths of the channels wanted.
        relative: Whether spectra are normalised to the sum 1.

    Returns:
        (outputs, new channels, …) and how it was made.

    Raises:
        UsageError: the wavelengths are not one per channel.
    """
    old = weight.shape[1]
    if wanted_nm is not None and len(wanted_nm) != channels:
        raise UsageError(f"{len(wanted_nm)} wavelengths were given for {channels} channels")
    if trained_nm is not None and wanted_nm is not None:
        matrix = torch.from_numpy(band_matrix(trained_nm, wanted_nm)).to(weight.dtype)
        adapted = torch.einsum("nc,oc...->on...", matrix, weight)
        outside = sum(not min(trained_nm) <= nm <= max(trained_nm) for nm in wanted_nm)
        how = f"{old} bands interpolated to {channels} by nm"
        how += f", {outside} outside {min(trained_nm):g} to {max(trained_nm):g} nm" if outside else ""
    else:
        adapted = weight.mean(dim=1, keepdim=True).expand(-1, channels, *weight.shape[2:])
        how = f"mean of {old} channels for each of {channels}, since wavelengths are not known"
    scale = 1.0 if relative else old / channels
    return (adapted * scale).contiguous(), how
