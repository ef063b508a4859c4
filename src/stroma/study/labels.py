"""`LabelMapping`: names ↔ indices ↔ colours, and which labels count as not annotated."""

from __future__ import annotations

import colorsys
from collections.abc import Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from pydantic import Field, model_validator

from stroma.core.config import Section, dump_yaml, load_config, to_plain
from stroma.core.errors import InvalidData, UsageError, nearest
from stroma.core.files import write_text

if TYPE_CHECKING:  # names of labels are needed without pixels: by `stroma info`
    import numpy as np
    from numpy.typing import NDArray

IGNORE = 255
"""Index of pixels that are not annotated in every label array of Stroma (uint8)."""


class LabelMapping(Section):
    """The classes of a study or a run.

    Attributes:
        names: Class names; the position is the index, 0 to n - 1.
        colours: Name → `#rrggbb`; missing ones are filled in, the same for the same names.
        sources: Index in the mask files → class name, for masks whose values are not 0 to n - 1. Values that
            are neither here nor in `ignore` are an error, never a guess.
        aliases: Name in the annotation files → class name, for annotations that carry names (one file a label,
            class folders). Several names may stand for one class.
        ignore: Values and names in the annotation files that mean "not annotated".
        exclusive: Whether a pixel has one label; otherwise classes are judged by `thresholds`.
        thresholds: Name → probability from which a non-exclusive class is present (default 0.5).
    """

    names: tuple[str, ...] = Field(min_length=1, max_length=255)
    colours: Mapping[str, str] = Field(default_factory=dict)
    sources: Mapping[int, str] = Field(default_factory=dict)
    aliases: Mapping[str, str] = Field(default_factory=dict)
    ignore: tuple[int | str, ...] = (IGNORE,)
    exclusive: bool = True
    thresholds: Mapping[str, float] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if len(set(self.names)) != len(self.names):
            raise ValueError(f"the label names {self.names} are not unique")
        for table, what in ((self.colours, "colours"), (self.thresholds, "thresholds")):
            unknown = [name for name in table if name not in self.names]
            if unknown:
                raise ValueError(f"{what} names the unknown label '{unknown[0]}'. {nearest(unknown[0], self.names)}")
        for what, mapping in (("sources", self.sources), ("aliases", self.aliases)):
            for value, name in mapping.items():
                if name not in self.names:
                    raise ValueError(
                        f"{what} maps {value} to the unknown label '{name}'. {nearest(name, self.names)}"
                    )
                if value in self.ignore:
                    raise ValueError(f"{what} maps {value}, which is also in ignore")
        return self

    def __len__(self) -> int:
        """Number of classes."""
        return len(self.names)

    def index(self, name: str) -> int:
        """Index of the class `name`.

        Raises:
            UsageError: there is no such label.
        """
        if name not in self.names:
            raise UsageError(f"there is no label '{name}'", next_step=nearest(name, self.names))
        return self.names.index(name)

    def from_name(self, name: str, *, where: Any = None) -> int:
        """Index of the class that a name in the annotation files stands for, `IGNORE` if not annotated.

        Args:
            name: A class, one of `aliases`, or one of `ignore`.
            where: The file, for the message.

        Raises:
            InvalidData: a name that the mapping does not know.
        """
        if name in self.ignore:
            return IGNORE
        if name in self.names or name in self.aliases:
            return self.names.index(self.aliases.get(name, name))
        raise InvalidData(
            f"is labelled '{name}', which is outside the label mapping",
            where=where,
            next_step="Add it to labels.names, labels.aliases or labels.ignore in study.yaml. "
            + nearest(name, [*self.names, *self.aliases]),
        )

    @cached_property
    def palette(self) -> NDArray[np.uint8]:
        """(256, 3) RGB colours by index; unused indices and `IGNORE` are grey."""
        import numpy as np

        table = np.full((256, 3), 190, dtype=np.uint8)
        given = {**dict(zip(self.names, distinct_colours(len(self)), strict=True)), **self.colours}
        for position, name in enumerate(self.names):
            table[position] = [int(given[name].lstrip("#")[i : i + 2], 16) for i in (0, 2, 4)]
        return table

    def colour(self, name: str) -> str:
        """Colour of the class `name` as `#rrggbb`."""
        red, green, blue = self.palette[self.index(name)]
        return f"#{red:02x}{green:02x}{blue:02x}"

    def from_source(self, mask: NDArray[Any], *, where: Any = None) -> NDArray[np.uint8]:
        """Translate the values of a mask file into class indices, `IGNORE` where not annotated.

        Args:
            mask: Integer array of any shape.
            where: The file, for the message.

        Raises:
            InvalidData: a value that the mapping does not know.
        """
        import numpy as np

        small = mask.dtype in (np.uint8, np.uint16)
        values = np.flatnonzero(np.bincount(mask.ravel())) if small else np.unique(mask)
        known = dict(self.sources) or dict(enumerate(self.names))
        unknown = [int(v) for v in values if int(v) not in known and int(v) not in self.ignore]
        if unknown:
            raise InvalidData(
                f"holds the value {unknown[0]}, which is outside the label mapping",
                where=where,
                next_step=f"Add it to labels.sources or labels.ignore in study.yaml (known: {sorted(known)})",
            )
        indices = np.array([self.names.index(known[v]) if v in known else IGNORE for v in values.tolist()], np.uint8)
        if not small:
            return np.asarray(indices[np.searchsorted(values, mask)])
        table = np.full(int(values.max(initial=0)) + 1, IGNORE, dtype=np.uint8)
        table[values] = indices
        return np.asarray(table[mask])

    def plain(self) -> dict[str, Any]:
        """As plain values for a YAML file, without empty tables."""
        values = to_plain(self)
        for key in ("colours", "sources", "aliases", "thresholds"):
            if not values[key]:
                del values[key]
        if self.sources:
            values["sources"] = dict(self.sources)
        return values

    def save(self, path: Path) -> Path:
        """Write the mapping as `labels.yaml` and return the path."""
        return write_text(path, dump_yaml(self.plain()))

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what `save` wrote.

        Raises:
            MissingFile: there is no such file.
            ConfigError: it holds no label mapping.
        """
        return load_config(path, cls)

    @classmethod
    def of(cls, names: Iterable[str], **more: Any) -> Self:
        """A mapping of `names` in the given order.

        Raises:
            InvalidData: more names than a mask of 8 bits can hold.
        """
        given = tuple(names)
        if len(given) > IGNORE:
            raise InvalidData(
                f"{len(given):,} classes ({', '.join(given[:3])}, …) are more than the {IGNORE} that a mask can hold",
                next_step="If these are names of single objects, give those that belong together one class",
            )
        return cls(names=given, **more)


def distinct_colours(count: int) -> list[str]:
    """`count` colours `#rrggbb` that are easy to tell apart: hues by the golden angle, lightness alternating."""
    colours = []
    for i in range(count):
        lightness, saturation = (0.52, 0.68) if i % 2 == 0 else (0.40, 0.85)
        rgb = colorsys.hls_to_rgb((0.02 + i * 0.61803398875) % 1.0, lightness, saturation)
        colours.append("#" + "".join(f"{round(255 * value):02x}" for value in rgb))
    return colours
