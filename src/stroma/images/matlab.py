"""Cubes in MATLAB files (`.mat` of version 5 to 7): variables are listed first, then only the image is decoded."""

from __future__ import annotations

import warnings
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from stroma.core.clock import stage
from stroma.core.errors import InvalidData, UnreadableImage
from stroma.images.array_file import ArrayFileImage, upright_shape
from stroma.images.cache import DECODED, file_key
from stroma.images.guard import check_plausible, foreign_bytes
from stroma.images.matlab_array import is_complex, read_matlab_array
from stroma.images.variables import Variable, choose_image, find_wavelengths

_REAL = {
    "int8": "i1", "uint8": "u1", "int16": "i2", "uint16": "u2", "int32": "i4", "uint32": "u4", "int64": "i8",
    "uint64": "u8", "single": "f4", "double": "f8", "logical": "?",
}  # fmt: skip
"""MATLAB's classes of numbers → NumPy's."""

_HDF5 = b"\x89HDF\r\n\x1a\n"


class MatlabImage(ArrayFileImage):
    """A numeric array of a MATLAB file. Structures, cells and objects are never loaded.

    The array is decoded whole at the first read (MATLAB compresses it as one piece) and kept in the cache of
    decoded blocks.

    Args:
        path: The file.
        variable: Name of the array; needed when several have three dimensions.
        wavelengths: Name of the variable with one wavelength a channel (default: the only one of that length that is
            called like it), or the wavelengths themselves; nm, or µm when all are below 100.
        channel_axis: Which axis counts the channels: 2 for (height, width, channels).
        mpp: Size of a pixel in µm where it is known from elsewhere.

    Raises:
        UnreadableImage: the file is damaged, or of version 7.3.
        InvalidData: it has no, or several arrays that may be the image; the message lists all.
        UsageError: there is no such variable.
    """

    suffixes: ClassVar[tuple[str, ...]] = (".mat",)

    def __init__(
        self,
        path: Path | str,
        *,
        variable: str | None = None,
        wavelengths: str | Sequence[float] | None = None,
        channel_axis: int = 2,
        mpp: float | None = None,
    ) -> None:
        path = Path(path)
        variables = list_variables(path)
        self.variable = choose_image(variables, variable, path)
        chosen = variables[self.variable]
        _refuse_complex(path, self.variable)
        dtype = np.dtype(_REAL[chosen.kind])
        shape = upright_shape(chosen.shape, channel_axis, path)
        check_plausible(path, *shape, dtype.itemsize, path.stat().st_size)
        stated = find_wavelengths(
            variables, shape[2], wavelengths, path, lambda name: (_load(path, name, variables[name]), "")
        )
        self._chosen = chosen
        self._set_form(path, chosen.shape, dtype, channel_axis, stated, mpp)

    @staticmethod
    def accepts(path: Path) -> bool:
        """Whether `path` is called `.mat`."""
        return path.suffix.lower() == ".mat" and path.is_file()

    def close(self) -> None:
        """Let go of the decoded array."""
        DECODED.forget(self.path)

    def _part(self, wanted: tuple[slice, ...]) -> NDArray[Any]:
        key = ("matlab", self.variable)
        return DECODED.get(file_key(self.path), key, lambda: _load(self.path, self.variable, self._chosen))[wanted]


def list_variables(path: Path) -> dict[str, Variable]:
    """Names, shapes and classes of the variables of a MATLAB file; no values are read.

    Raises:
        UnreadableImage: it is damaged, or of version 7.3 (HDF5).
    """
    import scipy.io  # takes long, and every image asks this reader whether it is its own

    _refuse_hdf5(path)
    with stage("read"), warnings.catch_warnings(), foreign_bytes(path, *_damage()):
        warnings.simplefilter("ignore")  # about names that occur twice, as in damaged files
        listed = scipy.io.whosmat(path, appendmat=False)
        return {
            str(name): Variable(tuple(int(size) for size in shape), str(kind), kind in _REAL)
            for name, shape, kind in listed
        }


def _load(path: Path, name: str, variable: Variable) -> NDArray[Any]:
    with stage("decode"), foreign_bytes(path, zlib.error):
        return read_matlab_array(path, name, variable.shape).astype(np.dtype(_REAL[variable.kind]))


def _refuse_complex(path: Path, name: str) -> None:
    with foreign_bytes(path, zlib.error):
        found = is_complex(path, name)
    if found:
        raise InvalidData(
            f"has the variable {name}, whose numbers are complex, which is no image",
            where=path,
            next_step=f"Save its magnitude in MATLAB: {name} = abs({name}); save('new.mat', '{name}')",
        )


def _damage() -> tuple[type[Exception], ...]:
    """What SciPy raises on damaged files beyond the usual; NameError for a variable that it never set."""
    from scipy.io.matlab import MatReadError

    return MatReadError, NameError, zlib.error


def _refuse_hdf5(path: Path) -> None:
    try:
        with path.open("rb") as handle:
            head = handle.read(520)
    except OSError as error:
        raise UnreadableImage(f"cannot be opened ({error.strerror or error})", where=path) from error
    if head.startswith(_HDF5) or head[512:].startswith(_HDF5):
        raise UnreadableImage(
            "is a MATLAB file of version 7.3 (HDF5), which this reader does not read",
            where=path,
            next_step="Open it with reader='hdf5', or save it anew in MATLAB: save('new.mat', 'name', '-v7')",
        )
