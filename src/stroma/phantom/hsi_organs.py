"""The organs of the hyperspectral phantom: what they are made of, how they vary, how they look."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Literal

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

Form = Literal["blob", "bean", "coil", "tube", "frame", "sheet"]
Texture = Literal["vessels", "stripes", "bands", "lobules", "mottle", "trabeculae", "rays", "creases"]


@dataclass(frozen=True)
class Composition:
    """What tissue consists of; fractions of volume 0-1.

    Attributes:
        blood: Blood volume fraction.
        oxygenation: Share of oxygenated haemoglobin.
        water: Water volume fraction.
        fat: Fat volume fraction.
        scattering_per_cm: Reduced scattering coefficient at 500 nm.
        scattering_power: How fast scattering falls with the wavelength.
        melanin: Melanosome volume fraction.
    """

    blood: float
    oxygenation: float
    water: float
    fat: float
    scattering_per_cm: float
    scattering_power: float
    melanin: float = 0.0

    @classmethod
    def names(cls) -> tuple[str, ...]:
        """Its fields, which are also the arguments of `TissueOptics.reflectance`."""
        return tuple(entry.name for entry in fields(cls))


@dataclass(frozen=True)
class Organ:
    """One class of the phantom.

    Attributes:
        name: As in HeiPorSPECTRAL.
        colour: For overlays, `#rrggbb`.
        tissue: Its mean composition.
        form: Its outline.
        texture: The pattern on its surface.
        radius: Size of its outline in scene units.
    """

    name: str
    colour: str
    tissue: Composition
    form: Form
    texture: Texture
    radius: float


# Within the ranges of S. L. Jacques, Physics in Medicine and Biology 58:R37, 2013, tables 1 to 3. Hollow organs
# resemble each other, parenchymatous ones too; what tells them apart (water, fat, the power of scattering, and the
# texture) is small beside the variation of blood and oxygenation within each.
ORGANS: tuple[Organ, ...] = (
    Organ("stomach", "#e6a817", Composition(0.033, 0.71, 0.69, 0.11, 16.0, 1.04), "blob", "vessels", 0.27),
    Organ("small_bowel", "#d1495b", Composition(0.037, 0.68, 0.80, 0.03, 14.5, 1.38), "coil", "stripes", 0.25),
    Organ("colon", "#7b4fa3", Composition(0.031, 0.67, 0.58, 0.23, 17.0, 0.78), "tube", "bands", 0.11),
    Organ("liver", "#8a3b12", Composition(0.100, 0.60, 0.60, 0.17, 11.5, 0.68), "blob", "mottle", 0.30),
    Organ("kidney", "#c2185b", Composition(0.090, 0.63, 0.84, 0.02, 14.5, 1.80), "bean", "rays", 0.19),
    Organ("spleen", "#4a148c", Composition(0.120, 0.54, 0.74, 0.03, 10.0, 1.14), "bean", "trabeculae", 0.22),
    Organ("omentum", "#ffd54f", Composition(0.008, 0.70, 0.22, 0.65, 18.4, 0.75), "sheet", "lobules", 0.28),
    Organ("skin", "#f2b8a0", Composition(0.016, 0.66, 0.60, 0.20, 30.0, 1.38, 0.0015), "frame", "creases", 0.0),
)

MESENTERY = Composition(0.030, 0.66, 0.45, 0.35, 17.0, 0.95)
"""What is seen between the organs; it has no label."""


@dataclass(frozen=True)
class Spread:
    """Standard deviations of a random change of composition.

    Attributes:
        blood: Of the natural logarithm of the blood fraction.
        oxygenation: Of the oxygenation.
        content: Of water and fat, in the logit.
        scattering: Of the natural logarithm of the scattering coefficient.
        power: Of the scattering power.
    """

    blood: float
    oxygenation: float
    content: float
    scattering: float
    power: float


SUBJECT = Spread(blood=0.14, oxygenation=0.04, content=0.05, scattering=0.06, power=0.02)
"""Between subjects, the same change for all organs of one."""
SUBJECT_ORGAN = Spread(blood=0.12, oxygenation=0.03, content=0.04, scattering=0.05, power=0.015)
"""Between the same organ of different subjects."""
IMAGE_ORGAN = Spread(blood=0.18, oxygenation=0.06, content=0.03, scattering=0.05, power=0.015)
"""Between images of the same organ of a subject: perfusion, pressure, angle."""
PIXEL = Spread(blood=0.48, oxygenation=0.15, content=0.07, scattering=0.08, power=0.02)
"""Within an organ, smoothly over its surface."""


def vary(tissue: Composition, spread: Spread, z: NDArray[np.float64]) -> Composition:
    """A composition near `tissue`, `z` (6,) standard deviations away in each of its properties."""
    return Composition(
        blood=float(tissue.blood * np.exp(spread.blood * z[0])),
        oxygenation=float(np.clip(tissue.oxygenation + spread.oxygenation * z[1], 0.05, 0.98)),
        water=_shifted(tissue.water, spread.content * z[2]),
        fat=_shifted(tissue.fat, spread.content * z[3]),
        scattering_per_cm=float(tissue.scattering_per_cm * np.exp(spread.scattering * z[4])),
        scattering_power=float(tissue.scattering_power + spread.power * z[5]),
        melanin=tissue.melanin,
    )


def _shifted(fraction: float, shift: float) -> float:
    return float(1 / (1 + (1 - fraction) / fraction * np.exp(-shift)))


@dataclass(frozen=True)
class Subject:
    """One animal.

    Attributes:
        tissues: Organ name → composition in this subject.
        mesentery: What lies between the organs.
        order: Names of the inner organs; image after image shows the next of them.
        cloth: Hue of the surgical cloth, 0 green to 1 blue.
    """

    tissues: dict[str, Composition] = field(repr=False)
    mesentery: Composition = field(repr=False)
    order: tuple[str, ...]
    cloth: float


def make_subject(rng: Generator) -> Subject:
    """Draw a subject: a change that all its organs share, and one of each organ."""
    shared = rng.standard_normal(6)

    def own(tissue: Composition) -> Composition:
        return vary(vary(tissue, SUBJECT, shared), SUBJECT_ORGAN, rng.standard_normal(6))

    tissues = {organ.name: own(organ.tissue) for organ in ORGANS}
    mesentery = own(MESENTERY)
    inner = [organ.name for organ in ORGANS if organ.form != "frame"]
    order = tuple(inner[i] for i in rng.permutation(len(inner)))
    return Subject(tissues, mesentery, order, float(rng.uniform()))
