"""The camera of the hyperspectral phantom: light, gloss, noise; from a scene to a cube of reflectance."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from stroma.phantom.hsi_scene import Scene
from stroma.phantom.shapes import Canvas, Map, smooth_field
from stroma.spectra.optics import TissueOptics

_BLOCK_PIXELS = 20_000


@dataclass(frozen=True)
class Light:
    """How the surfaces are lit; all maps are (height, width).

    Attributes:
        diffuse: Factor on the reflectance of the tissue.
        gloss: Light mirrored by the wet surface, added to it, as reflectance.
    """

    diffuse: Map
    gloss: Map


def make_light(rng: Generator, canvas: Canvas, scene: Scene) -> Light:
    """Light the surface with a lamp beside the camera.

    Diffuse light follows Lambert's cosine, gloss J. F. Blinn's half-vector model (SIGGRAPH 1977).
    """
    down, right = scene.slope_down, scene.slope_right
    lamp = np.array([rng.normal(0, 0.22), rng.normal(0, 0.22), 1.0])
    lamp /= np.linalg.norm(lamp)
    half = lamp + np.array([0, 0, 1.0])
    half /= np.linalg.norm(half)
    length = np.sqrt(1 + right**2 + down**2)
    cosine = 0.25 + 0.75 * np.clip((lamp[2] - lamp[0] * right - lamp[1] * down) / length, 0, 1)
    mirror = np.clip((half[2] - half[0] * right - half[1] * down) / length, 0, 1)
    middle = (canvas.aspect / 2 + rng.normal(0, 0.2), 0.5 + rng.normal(0, 0.15))
    spot = np.exp(-((canvas.x - middle[0]) ** 2 + (canvas.y - middle[1]) ** 2) / 1.1)
    uneven = rng.uniform(0.85, 1.05) * (0.45 + 0.6 * spot) * np.exp(0.05 * smooth_field(rng, canvas, 0.35))
    diffuse = uneven * cosine * scene.shade
    sheen = 0.05 * mirror**8 + 0.8 * np.clip(mirror**600 - 0.55, 0, None) / 0.45
    broken = np.clip(0.5 + 0.6 * smooth_field(rng, canvas, 0.03), 0, 1.5)
    gloss = uneven * scene.shade * scene.wet * (0.02 + sheen * broken)
    return Light(diffuse.astype(np.float32), gloss.astype(np.float32))


def cloth_reflectance(wavelengths_nm: NDArray[np.float64], hue: float) -> NDArray[np.float32]:
    """Reflectance (C,) of a surgical cloth: a dip in the red, bright in the infrared.

    Args:
        wavelengths_nm: (C,).
        hue: 0 green to 1 blue.
    """
    nm = np.asarray(wavelengths_nm, dtype=np.float64)
    green = 0.28 * np.exp(-(((nm - (520 - 35 * hue)) / 45) ** 2))
    infrared = 0.55 / (1 + np.exp(-(nm - 715) / 18))
    return (0.05 + green + infrared).astype(np.float32)


def take_cube(
    rng: Generator, canvas: Canvas, scene: Scene, light: Light, wavelengths_nm: NDArray[np.float64]
) -> NDArray[np.float32]:
    """Measure the scene.

    Reflectance is tissue optics times the diffuse light plus gloss, in a camera whose white reference has drifted
    a little; noise is that of a sensor that sees least at both ends of its range.

    Returns:
        (height, width, C) float32; mostly 0-1, above it in highlights, and below 0 where noise exceeds the signal.
    """
    optics, bands = TissueOptics(wavelengths_nm), len(wavelengths_nm)
    cloth = cloth_reflectance(wavelengths_nm, scene.cloth)
    drift = _drift(rng, wavelengths_nm)
    read, shot = _noise(wavelengths_nm)
    cube = np.empty((canvas.height, canvas.width, bands), dtype=np.float32)
    rows = max(1, _BLOCK_PIXELS // canvas.width)
    for top in range(0, canvas.height, rows):
        part = slice(top, top + rows)
        inside = scene.tissue[part]
        block = np.broadcast_to(cloth, (*inside.shape, bands)).copy()
        composition = {name: values[part][inside] for name, values in scene.composition.items()}
        block[inside] = optics.reflectance(**composition)
        block *= light.diffuse[part][..., None]
        block += light.gloss[part][..., None]
        block *= drift
        noise = rng.standard_normal(block.shape, dtype=np.float32)
        noise *= np.sqrt(read**2 + shot**2 * np.clip(block, 0, None))
        cube[part] = block + noise
    return cube


def _drift(rng: Generator, wavelengths_nm: NDArray[np.float64]) -> NDArray[np.float32]:
    """Slow multiplicative error over the wavelengths, as of a lamp that has aged since the white reference."""
    t = np.linspace(-1, 1, len(wavelengths_nm))
    slope, bow = rng.normal(0, 0.01, 2)
    return np.asarray(np.exp(slope * t + bow * (t**2 - 1 / 3)), dtype=np.float32)


def _noise(wavelengths_nm: NDArray[np.float64]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Standard deviation of read noise, and of photon noise at reflectance 1."""
    nm = np.asarray(wavelengths_nm, dtype=np.float64)
    sensitivity = np.exp(-(((nm - 680) / 240) ** 2))
    return (0.0018 / sensitivity).astype(np.float32), (0.009 / np.sqrt(sensitivity)).astype(np.float32)
