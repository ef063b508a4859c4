"""Path patterns such as `masks/{class}/{id}`, and the suffixes of image files."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property

from stroma.core.errors import ConfigError, nearest
from stroma.images.czi import CziImage
from stroma.images.picture import PictureImage
from stroma.images.slide import SlideImage
from stroma.images.tiff import TiffImage

FIELDS = ("id", "folder", "class", "split", "annotator")
PICTURE_SUFFIXES = frozenset(PictureImage.suffixes)
TIFF_SUFFIXES = frozenset(TiffImage.suffixes)
SLIDE_SUFFIXES = frozenset(SlideImage.suffixes) | frozenset(CziImage.suffixes)
IMAGE_SUFFIXES = PICTURE_SUFFIXES | TIFF_SUFFIXES | SLIDE_SUFFIXES
CUBE_SUFFIXES = frozenset({".hdr", ".mat", ".h5", ".hdf5", ".npy", ".npz"})
"""Of hyperspectral cubes with masks beside them; elsewhere most files with these suffixes hold other things."""
_BEFORE_TIFF = (".ome", ".qptiff")
_AFTER_FORMAT = TIFF_SUFFIXES | {".zarr"}


@dataclass(frozen=True)
class Pattern:
    """A path below the root, without suffix, in which `{id}`, `{class}`, `{split}`, `{annotator}` stand for text.

    `{id}`, and `{folder}` for folders above, which become part of the id, may contain `/`, the others not.

    Raises:
        ConfigError: an unknown field, a field twice, or no `{id}`.
    """

    text: str

    def __post_init__(self) -> None:
        for name in self.fields:
            if name not in FIELDS:
                raise ConfigError(
                    f"the pattern '{self.text}' has the unknown field '{name}'", next_step=nearest(name, FIELDS)
                )
            if self.fields.count(name) > 1:
                raise ConfigError(f"the pattern '{self.text}' has '{{{name}}}' twice")
        if "id" not in self.fields:
            raise ConfigError(f"the pattern '{self.text}' lacks {{id}}")

    @cached_property
    def _parts(self) -> list[str]:
        """Literal text and field names in turn, beginning and ending with literal text."""
        return re.split(r"\{(\w+)\}", self.text)

    @cached_property
    def fields(self) -> list[str]:
        """Names of the fields, in order."""
        return self._parts[1::2]

    def matches(self, stem: str) -> Iterator[dict[str, str]]:
        """All ways to read `stem` (a path without suffix), those with the longest fields first."""
        if stem.startswith(self._parts[0]):
            yield from self._rest(stem[len(self._parts[0]) :], 1)

    def fits_any(self, stems: Iterable[str]) -> bool:
        """Whether any stem begins and ends as the pattern does: a quick test before `matches`."""
        return any(stem.startswith(self._parts[0]) and stem.endswith(self._parts[-1]) for stem in stems)

    def _rest(self, text: str, part: int) -> Iterator[dict[str, str]]:
        if part >= len(self._parts):
            if not text:
                yield {}
            return
        name, literal = self._parts[part], self._parts[part + 1]
        last = part + 2 >= len(self._parts)
        end = len(text) - len(literal) if last else len(text)
        while end > 0:
            if text.startswith(literal, end) and (name in ("id", "folder") or "/" not in text[:end]):
                for following in self._rest(text[end + len(literal) :], part + 2):
                    yield {name: text[:end], **following}
            if last:
                return
            end = text.rfind(literal, 0, end - 1 + len(literal)) if literal else end - 1


def without_suffix(path: str) -> str:
    """The path without its suffix; `.ome.tif` and `.ome.zarr` count as one suffix."""
    stem = path[: _dot(path)]
    if suffix_of(path) in _AFTER_FORMAT and stem.lower().endswith(_BEFORE_TIFF):
        stem = stem[: stem.rindex(".")]
    return stem


def suffix_of(path: str) -> str:
    """The suffix with its dot, in lower case; empty for `name`, `name.` and `.name`."""
    return path[_dot(path) :].lower()


def _dot(path: str) -> int:
    """Where the suffix begins; the length of the path when there is none."""
    dot = path.rfind(".")
    return dot if path.rfind("/") + 1 < dot < len(path) - 1 else len(path)
