"""How well annotators agree: overlap and border distances per class, and the NSD tolerances that follow from them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy import ndimage

from stroma.core.clock import stage
from stroma.core.errors import InvalidData, MissingFile, UsageError, nearest
from stroma.core.tables import UNREADABLE_TABLE, require_columns
from stroma.study.labels import IGNORE

Outside = Literal["background", "ignore"]
_NUMBER = re.compile(r"\d+(\.\d*)?([eE][+-]?\d+)?")
REDUCTIONS: dict[str, Callable[[NDArray[np.float64]], float]] = {
    "mean": lambda distances: float(distances.mean()),
    "median": lambda distances: float(np.median(distances)),
    "q75": lambda distances: float(np.quantile(distances, 0.75)),
    "q95": lambda distances: float(np.quantile(distances, 0.95)),
}
"""How the distances of a subject become one number."""

TOLERANCES_SCHEMA: dict[str, pl.DataType] = {
    "label_name": pl.String(),
    "label_index": pl.Int64(),
    **{
        f"tolerance_{name}{end}": pl.Float64() for name in ("mean", "median", "q75", "q95") for end in ("", "_std")
    },
    "n_subjects": pl.Int64(),
    "n_pairs": pl.Int64(),
}  # fmt: skip
"""Columns of `tolerances.csv`, in pixels; the first ten are those of htc's `nsd_thresholds_*.csv`."""


@dataclass(frozen=True)
class ClassAgreement:
    """One class in the masks of two annotators.

    Attributes:
        pixels: Of the class, by the first and by the second annotator, among the pixels that are compared.
        common: Pixels of the class by both.
        first_to_second: For each border pixel of the first, the distance to the nearest border pixel of the second
            in pixels, float32; empty where one of the two has none of the class.
        second_to_first: The other way.
    """

    pixels: tuple[int, int]
    common: int
    first_to_second: NDArray[np.float32]
    second_to_first: NDArray[np.float32]

    @property
    def dice(self) -> float:
        """2 |A ∩ B| / (|A| + |B|) (Dice, 1945); 0 where only one annotator has the class."""
        return 2 * self.common / sum(self.pixels)

    @property
    def distances(self) -> NDArray[np.float32]:
        """Of both directions."""
        return np.concatenate([self.first_to_second, self.second_to_first])

    def nsd(self, tolerance_px: float) -> float:
        """Normalised surface Dice (Nikolov et al., 2021): share of the border pixels within the tolerance.

        0 where only one annotator has the class.
        """
        distances = self.distances
        return float((distances <= tolerance_px).mean()) if distances.size else 0.0


def border_of(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Pixels of a mask with a neighbour (of four) outside it; beyond the image is outside.

    Args:
        mask: (h, w).
    """
    return np.asarray(mask & ~ndimage.binary_erosion(mask, border_value=0))


def border_distances(
    first: NDArray[np.bool_], second: NDArray[np.bool_]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Euclidean distances in pixels from each border pixel of one mask to the nearest of the other.

    Args:
        first: (h, w).
        second: (h, w).

    Returns:
        From the first to the second, and back; both empty where a mask is.
    """
    if not first.any() or not second.any():
        return np.empty(0, np.float32), np.empty(0, np.float32)
    both = np.argwhere(first | second)
    inside = tuple(slice(int(low), int(high) + 1) for low, high in zip(both.min(0), both.max(0), strict=True))
    borders = border_of(first)[inside], border_of(second)[inside]
    to_second, to_first = (ndimage.distance_transform_edt(~border) for border in borders[::-1])
    return to_second[borders[0]].astype(np.float32), to_first[borders[1]].astype(np.float32)


def compare_masks(
    first: NDArray[np.uint8], second: NDArray[np.uint8], *, outside: Outside = "background"
) -> dict[int, ClassAgreement]:
    """Compare two masks of one image, class by class.

    Args:
        first: (h, w) class indices, `IGNORE` where not annotated.
        second: The same by the other annotator.
        outside: What a pixel is that only one of them annotated: `background` (the other drew the outline of his
            region elsewhere), or `ignore` (it is left out, and what borders on it is border, as in htc).

    Returns:
        Class index → agreement, for every class that at least one of them gave to a compared pixel.

    Raises:
        InvalidData: the masks differ in size.
    """
    if first.shape != second.shape:
        raise InvalidData(f"two masks of one image are {first.shape} and {second.shape} (height, width)")
    with stage("transform"):
        compared = (first != IGNORE) & (second != IGNORE) if outside == "ignore" else np.ones(first.shape, bool)
        present = np.bincount(first[compared], minlength=256) + np.bincount(second[compared], minlength=256)
        result = {}
        for index in np.flatnonzero(present[:IGNORE]):
            a, b = (first == index) & compared, (second == index) & compared
            pixels, common = (int(a.sum()), int(b.sum())), int((a & b).sum())
            result[int(index)] = ClassAgreement(pixels, common, *border_distances(a, b))
    return result


def tolerances(
    distances: Mapping[int, Mapping[str, Sequence[NDArray[np.float32]]]], names: Sequence[str]
) -> pl.DataFrame:
    """NSD tolerances from the border distances between annotators.

    The distances of a subject, in both directions and over all its pairs of masks, are pooled and reduced to one
    number; the tolerance is the mean over subjects, beside it stands their standard deviation (of the population).
    So an organ on which annotators differ by 5 px forgives a model 5 px (Seidlitz et al., 2022,
    doi 10.1016/j.media.2022.102488).

    Args:
        distances: Class index → subject → distances of each pair of masks; empty ones count as no data.
        names: Class names by index.

    Returns:
        Rows of `TOLERANCES_SCHEMA`, one a class that has distances.
    """
    rows = []
    for index in sorted(distances):
        pooled = {subject: np.concatenate(list(parts)) for subject, parts in sorted(distances[index].items())}
        kept = [values.astype(np.float64) for values in pooled.values() if values.size]
        if not kept:
            continue
        row: dict[str, str | int | float] = {"label_name": names[index], "label_index": index}
        for name, reduce in REDUCTIONS.items():
            values = np.array([reduce(subject) for subject in kept])
            row |= {f"tolerance_{name}": float(values.mean()), f"tolerance_{name}_std": float(values.std())}
        pairs = sum(part.size > 0 for parts in distances[index].values() for part in parts)
        rows.append({**row, "n_subjects": len(kept), "n_pairs": pairs})
    return pl.DataFrame(rows, schema=TOLERANCES_SCHEMA)


def read_tolerances(path: Path | str, *, reduction: str = "mean") -> dict[str, float]:
    """NSD tolerances by class from `tolerances.csv`, or from a table of thresholds of htc.

    Args:
        path: CSV with the columns `label_name` and `tolerance_<reduction>`.
        reduction: One of `REDUCTIONS`.

    Returns:
        Class → tolerance in pixels.

    Raises:
        MissingFile: there is no such file.
        UsageError: an unknown reduction.
        InvalidData: it lacks these columns, names a class twice, or a tolerance is no number of at least 0.
    """
    if reduction not in REDUCTIONS:
        raise UsageError(f"there is no reduction '{reduction}'", next_step=nearest(reduction, REDUCTIONS))
    path, column = Path(path), f"tolerance_{reduction}"
    if not path.is_file():
        raise MissingFile("there is no such file", where=path)
    try:
        table = pl.read_csv(path, infer_schema_length=None, glob=False)
    except UNREADABLE_TABLE as error:
        raise InvalidData(f"is not a readable CSV table ({error})", where=path) from error
    require_columns(table, ["label_name", column], where=path)
    found: dict[str, float] = {}
    for name, text in table.select("label_name", pl.col(column).cast(pl.String)).iter_rows():
        value = float(text) if text is not None and _NUMBER.fullmatch(text) else -1.0
        if name is None or name in found or not value >= 0:
            raise InvalidData(f"has the {column} {text!r} of '{name}', or names it twice", where=path)
        found[name] = value
    return found
