"""Paint blocks of a phantom slide: stain concentrations from the anatomy, then light through two stains."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from stroma.phantom.position import Field, organic_noise, texture
from stroma.phantom.slides_anatomy import Body, bodies_near, tissue_at
from stroma.phantom.slides_nuclei import TYPES, Nuclei, nuclei_near
from stroma.phantom.slides_plan import SlidePlan

Map = NDArray[np.float32]
COARSE_UM = 2.0
"""The anatomy varies slowly: it is computed on a grid of about this width and interpolated."""
_SURROUNDINGS_UM = 190.0
_TEXTURE_PX = 499
_BATCH_PIXELS = 1 << 21


@dataclass(frozen=True)
class Painter:
    """Paints any block of one slide; the pixels do not depend on how it is cut into blocks.

    Args:
        plan: The slide.
    """

    plan: SlidePlan

    @cached_property
    def _grain(self) -> Map:
        return texture(self.plan.key("grain"), _TEXTURE_PX, 0.5 / self.plan.mpp)

    @cached_property
    def _clumps(self) -> Map:
        return texture(self.plan.key("clumps"), _TEXTURE_PX, 1.3 / self.plan.mpp)

    @cached_property
    def _noise(self) -> Map:
        return texture(self.plan.key("noise"), _TEXTURE_PX - 8, 0.45)

    def block(self, x: int, y: int, w: int, h: int) -> tuple[NDArray[np.uint8], Nuclei]:
        """Paint a block.

        Args:
            x: Left edge in pixels.
            y: Top edge in pixels.
            w: Width in pixels.
            h: Height in pixels.

        Returns:
            (h, w, 3) uint8, and the nuclei whose centres lie in the block (left and top edge included).
        """
        mpp = self.plan.mpp
        left, top, width, height = x * mpp, y * mpp, w * mpp, h * mpp
        margin = _SURROUNDINGS_UM
        bodies = bodies_near(self.plan, left - margin, top - margin, width + 2 * margin, height + 2 * margin)
        fields = self._anatomy(bodies, x, y, w, h)
        shape = (h, w, 3)
        glass = np.asarray(self.plan.glass, dtype=np.float32)
        if fields["depth"].max() < -6:
            nuclei = nuclei_near(self.plan, bodies, left, top, 0, 0)[np.zeros(0, dtype=np.int64)]
            light = np.broadcast_to(glass, shape).copy()
        else:
            nuclei = nuclei_near(self.plan, bodies, left, top, width, height)
            haematoxylin, eosin = self._concentrations(fields, x, y)
            self._add_nuclei(haematoxylin, eosin, nuclei, x, y)
            light = self._light(haematoxylin, eosin, glass)
        light += 1.5 * self._tile(self._noise, x, y, h, w)[..., None]
        inside = (nuclei.x >= left) & (nuclei.x < left + width) & (nuclei.y >= top) & (nuclei.y < top + height)
        return np.clip(light + 0.5, 0, 255).astype(np.uint8), nuclei[inside]

    def _anatomy(self, bodies: list[Body], x: int, y: int, w: int, h: int) -> dict[str, Map]:
        """The fields of `Tissue` and some noises, interpolated to the pixels of a block."""
        plan = self.plan
        step = max(1, round(COARSE_UM / plan.mpp))
        columns = np.arange(x // step, (x + w) // step + 2)
        rows = np.arange(y // step, (y + h) // step + 2)
        px = (columns * step).astype(np.float64)[None, :] * plan.mpp
        py = (rows * step).astype(np.float64)[:, None] * plan.mpp
        depth = plan.depth_um(px, py)
        coarse: dict[str, Field] = {"depth": depth}
        if depth.max() >= -6 - COARSE_UM:
            coarse |= vars(tissue_at(plan, bodies, *np.broadcast_arrays(px, py)))
            for name, size in (
                ("loops", 7.5),
                ("loops2", 13.0),
                ("fibres", 5.0),
                ("patches", 42.0),
                ("section", 330.0),
            ):
                coarse[name] = organic_noise(px, py, size, plan.key(name))
        return {name: _enlarge(field, columns, rows, step, x, y, w, h) for name, field in coarse.items()}

    def _tile(self, pattern: Map, x: int, y: int, h: int, w: int) -> Map:
        rows = np.arange(y, y + h) % pattern.shape[0]
        columns = np.arange(x, x + w) % pattern.shape[1]
        return np.asarray(pattern[rows[:, None], columns[None, :]])

    def _concentrations(self, f: dict[str, Map], x: int, y: int) -> tuple[Map, Map]:
        """Haematoxylin and eosin of everything but the nuclei."""
        h, w = f["depth"].shape
        grain, clumps = self._tile(self._grain, x, y, h, w), self._tile(self._clumps, x + 131, y + 77, h, w)
        inner = f["wall"] - f["gap"]
        tubule = _edge(inner, 0.5)
        lumen = _edge(inner - f["epithelium"] + 1.6 * (f["loops"] - 0.5) * 4 + 0.7 * clumps, 0.7) * tubule
        epithelium = tubule - lumen
        texture_e = 1 + 0.13 * clumps + 0.10 * grain
        cytoplasm = (0.58 - 0.24 * f["distal"]) * texture_e * (1 - 0.25 * _line(inner - f["epithelium"], 2.5))
        # connective tissue between the tubules, with clefts in it
        cleft = _edge((f["fibres"] - 0.64) * 9, 0.8) * (1 - 0.6 * f["fibrosis"])
        stroma = (0.34 + 0.22 * f["fibrosis"] + 0.10 * f["inflammation"]) * texture_e * (1 - 0.8 * cleft)
        eosin = epithelium * cytoplasm + (1 - tubule) * stroma + 0.03 * lumen + 0.30 * _line(inner, 0.8)
        haematoxylin = epithelium * (0.13 - 0.03 * f["distal"]) * texture_e + (1 - tubule) * (
            0.05 + 0.10 * f["inflammation"]
        )
        eosin, haematoxylin = self._glomeruli(f, eosin, haematoxylin, texture_e)
        eosin, haematoxylin = self._arteries(f, eosin, haematoxylin, texture_e)
        tissue = _edge(f["depth"], 1.2)
        thickness = tissue * (0.86 + 0.28 * f["section"]) * (0.94 + 0.12 * f["patches"])
        return haematoxylin * thickness, eosin * thickness

    def _glomeruli(self, f: dict[str, Map], eosin: Map, haematoxylin: Map, texture_e: Map) -> tuple[Map, Map]:
        depth = f["glomerulus"]
        inside = _edge(depth, 0.5)
        tuft_depth = depth - 4 - 11 * f["patches"] + 9 * (f["loops2"] - 0.5)
        tuft = _edge(tuft_depth, 0.8)
        loop = _edge((f["loops"] - 0.55) * 11, 0.9)
        cells = tuft * (1 - 0.85 * loop)
        tuft_e = cells * 0.52 * texture_e + 0.22 * tuft * _line((f["loops"] - 0.55) * 11, 0.8)
        capsule = 0.55 * _line(depth, 1.1) * texture_e
        eosin = (1 - inside) * eosin + inside * (0.02 + tuft_e) + capsule
        haematoxylin = (1 - inside) * haematoxylin + inside * (0.22 * cells) * texture_e + 0.10 * _line(depth, 1.1)
        return eosin, haematoxylin

    def _arteries(self, f: dict[str, Map], eosin: Map, haematoxylin: Map, texture_e: Map) -> tuple[Map, Map]:
        depth = f["artery"]
        inside = _edge(depth, 0.8)
        lumen = _edge(depth - 19 - 3 * (f["loops2"] - 0.5), 0.7)
        rings = 1 + 0.22 * np.sin(depth * 1.7 + 5 * f["loops2"]).astype(np.float32)
        red_cells = lumen * _edge((f["loops"] - 0.52) * 12, 0.8) * _edge((f["patches"] - 0.45) * 20, 0.8)
        wall_e = (1 - lumen) * 0.78 * rings * texture_e + 1.1 * red_cells
        eosin = (1 - inside) * eosin + inside * wall_e + 0.35 * _line(depth - 19, 0.8) * inside
        return eosin, (1 - inside) * haematoxylin + inside * 0.07 * (1 - lumen)

    def _add_nuclei(self, haematoxylin: Map, eosin: Map, nuclei: Nuclei, x: int, y: int) -> None:
        """Lay the nuclei over the tissue: chromatin with a denser rim, and less eosin beneath."""
        height, width = haematoxylin.shape
        shade = np.zeros(haematoxylin.size, dtype=np.float32)
        cover = np.zeros(haematoxylin.size, dtype=np.float32)
        chromatin = self._tile(self._clumps, x + 31, y + 211, height, width).ravel()
        grain = self._tile(self._grain, x, y, height, width).ravel()
        for kind in range(len(TYPES)):
            some = nuclei[nuclei.type == kind]
            reach = int(np.ceil(((some.a.max() if len(some) else 0) * 1.15 + 0.8) / self.plan.mpp)) + 1
            batch = max(1, _BATCH_PIXELS // (2 * reach + 1) ** 2)
            for first in range(0, len(some), batch):
                part = some[np.arange(first, min(first + batch, len(some)))]
                where, alpha, rim, which = self._stamps(part, reach, x, y, width, height)
                fine = 0.26 * np.clip(chromatin[where], -1.4, 1.4) + 0.12 * np.clip(grain[where], -1.4, 1.4)
                value = part.dark[which].astype(np.float32) * alpha * (0.84 + fine + 0.42 * rim)
                np.maximum.at(shade, where, value)
                np.maximum.at(cover, where, alpha)
        cover2 = cover.reshape(haematoxylin.shape)
        haematoxylin *= 1 - 0.8 * cover2
        haematoxylin += shade.reshape(haematoxylin.shape)
        eosin *= 1 - 0.55 * cover2

    def _stamps(
        self, nuclei: Nuclei, reach: int, x: int, y: int, width: int, height: int
    ) -> tuple[NDArray[np.int64], Map, Map, NDArray[np.int64]]:
        """Pixels under nuclei: flat index, opacity 0-1, rim 0-1, and which nucleus."""
        mpp = self.plan.mpp
        offsets = np.arange(-reach, reach + 1)
        column = np.floor(nuclei.x / mpp).astype(np.int64)[:, None, None] + offsets[None, None, :]
        row = np.floor(nuclei.y / mpp).astype(np.int64)[:, None, None] + offsets[None, :, None]
        dx = (column + 0.5) * mpp - nuclei.x[:, None, None]
        dy = (row + 0.5) * mpp - nuclei.y[:, None, None]
        cos, sin = np.cos(nuclei.angle)[:, None, None], np.sin(nuclei.angle)[:, None, None]
        a, b = nuclei.a[:, None, None], nuclei.b[:, None, None]
        u, v = (dx * cos + dy * sin) / a, (dy * cos - dx * sin) / b
        q = np.hypot(u, v)
        q = q / (1 + nuclei.wave[:, None, None] * np.cos(3 * np.arctan2(v, u) + nuclei.phase[:, None, None]))
        edge_um = (1 - q) * np.sqrt(a * b)
        visible = (edge_um > -0.45) & (column >= x) & (column < x + width) & (row >= y) & (row < y + height)
        which = np.nonzero(visible)[0]
        flat = ((row - y) * width + (column - x))[visible]
        alpha = np.clip(edge_um[visible] / 0.9 + 0.5, 0, 1).astype(np.float32)
        rim = np.exp(-(((edge_um[visible] - 0.45) / 0.45) ** 2)).astype(np.float32)
        return flat, alpha, rim, which

    def _light(self, haematoxylin: Map, eosin: Map, glass: Map) -> Map:
        """Light behind two stains (law of Beer and Lambert)."""
        density = (self.plan.stains * np.asarray(self.plan.strength)[:, None]).astype(np.float32)
        result = np.empty((*haematoxylin.shape, 3), dtype=np.float32)
        for channel in range(3):
            absorbed = density[0, channel] * haematoxylin + density[1, channel] * eosin
            result[..., channel] = glass[channel] * np.exp(-absorbed)
        return result


def _enlarge(
    field: Field, columns: NDArray[np.int64], rows: NDArray[np.int64], step: int, x: int, y: int, w: int, h: int
) -> Map:
    """Interpolate a field, known at pixel corners that are multiples of `step`, at the centres of pixels."""
    small = field.astype(np.float32)
    row, down = _weights(y, h, rows[0], step)
    column, right = _weights(x, w, columns[0], step)
    wide = small[:, column] * (1 - right) + small[:, column + 1] * right
    down = down[:, None]
    return np.asarray(wide[row] * (1 - down) + wide[row + 1] * down)


def _weights(start: int, count: int, first: int, step: int) -> tuple[NDArray[np.int64], Map]:
    position = (np.arange(start, start + count) + 0.5) / step
    index = np.floor(position).astype(np.int64)
    return index - first, (position - index).astype(np.float32)


def _edge(value: Map, width: float) -> Map:
    """0 where negative, 1 where positive, a ramp of 2 · `width` between."""
    return np.asarray(np.clip(value * np.float32(0.5 / width) + np.float32(0.5), 0, 1))


def _line(value: Map, width: float) -> Map:
    """1 where zero, falling off like a Gaussian."""
    return np.asarray(np.exp(-((value / np.float32(width)) ** 2)))
