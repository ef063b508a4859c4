"""Spectrometer measurements in text files of Ocean Optics (`<label>_HRC…txt`), as HeiPorSPECTRAL ships them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stroma.core.clock import stage
from stroma.core.errors import InvalidData, MissingFile, UnreadableImage, UsageError, nearest

_BEGIN = ">>>>>Begin"
_END = ">>>>>End"
_LABEL = re.compile(r"(\w+)_HRC.*\.txt", re.IGNORECASE)
_LARGEST_BYTES = 16 * 2**20
WHITE, DARK = "white_calibration", "dark_calibration"


@dataclass(frozen=True)
class Spectra:
    """Measurements of one thing.

    Attributes:
        wavelengths_nm: (n,) increasing.
        values: (files, n) counts, or reflectance once calibrated.
        paths: The file of each row.
    """

    wavelengths_nm: NDArray[np.float64]
    values: NDArray[np.float64]
    paths: tuple[Path, ...]

    @property
    def median(self) -> NDArray[np.float64]:
        """(n,) median over the files."""
        return np.asarray(np.median(self.values, axis=0))

    @property
    def std(self) -> NDArray[np.float64]:
        """(n,) standard deviation over the files (n, not n - 1)."""
        return np.asarray(self.values.std(axis=0))

    def between(self, low_nm: float, high_nm: float) -> Spectra:
        """The wavelengths from `low_nm` to `high_nm`, both included."""
        kept = (self.wavelengths_nm >= low_nm) & (self.wavelengths_nm <= high_nm)
        return Spectra(self.wavelengths_nm[kept], self.values[:, kept], self.paths)

    def tivita_channels(self) -> Spectra:
        """Mean over bins of 5 nm from 500 to 1000 nm, as htc compares a spectrometer with a Tivita camera.

        Bin i holds the wavelengths from 500 + 5i to below 505 + 5i; it is reported at the i-th of
        `tivita_wavelengths()`, which lies 0 to 5 nm above the beginning of the bin. Empty bins are 0.
        """
        bins = np.floor((self.wavelengths_nm - 500) / 5).astype(int)
        inside = (bins >= 0) & (bins < 100)
        counts = np.bincount(bins[inside], minlength=100)
        sums = [np.bincount(bins[inside], weights=row[inside], minlength=100) for row in self.values]
        return Spectra(np.linspace(500, 1000, 100), np.array(sums) / np.maximum(counts, 1), self.paths)


def is_spectrometer_name(name: str) -> bool:
    """Whether a file is called `<label>_HRC….txt`."""
    return _LABEL.fullmatch(name) is not None


def read_spectrometer(path: Path | str) -> Spectra:
    """Read one file.

    Args:
        path: Text with a line `>>>>>Begin…`, after which each line has a wavelength in nm and a value. Wavelengths
            that do not increase are left out, as htc does; decimal commas are read.

    Raises:
        MissingFile: there is no such file.
        UnreadableImage: it has no such line, or a line after it holds something else.
    """
    path = Path(path)
    if not path.is_file():
        raise MissingFile("there is no such file", where=path)
    with stage("read"):
        if path.stat().st_size > _LARGEST_BYTES:
            raise UnreadableImage(f"is {path.stat().st_size:,} bytes, too large for a spectrum", where=path)
        lines = path.read_bytes().decode("cp1252", "replace").splitlines()
    begin = next((number for number, line in enumerate(lines, start=1) if _BEGIN in line), None)
    if begin is None:
        raise UnreadableImage(f"is no file of a spectrometer: it has no line {_BEGIN}", where=path)
    wavelengths: list[float] = []
    values: list[float] = []
    for number, line in enumerate(lines[begin:], start=begin + 1):
        if not line.strip() or line.startswith(_END):
            continue
        nm, value = _two_numbers(line, number, path)
        if not wavelengths or nm > wavelengths[-1]:
            wavelengths.append(nm)
            values.append(value)
    if not wavelengths:
        raise UnreadableImage(f"has no values after the line {_BEGIN}", where=path)
    return Spectra(np.array(wavelengths), np.array([values]), (path,))


def _two_numbers(line: str, number: int, path: Path) -> tuple[float, float]:
    parts = line.replace(",", ".").split()
    try:
        nm, value = (float(part) for part in parts)
    except ValueError as error:
        raise UnreadableImage(
            f"has '{line.strip()[:40]}' in line {number}, where a wavelength and a value should be", where=path
        ) from error
    if not np.isfinite([nm, value]).all():
        raise UnreadableImage(f"has '{line.strip()[:40]}' in line {number}, which is not finite", where=path)
    return nm, value


class SpectrometerFolder:
    """A folder of measurements: several files of each label, and of `white_calibration` and `dark_calibration`.

    Args:
        path: The folder.

    Raises:
        MissingFile: there is no such folder, or no such file in it.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        if not self.path.is_dir():
            raise MissingFile("there is no such folder", where=self.path)
        self._files: dict[str, list[Path]] = {}
        for file in sorted(self.path.iterdir()):
            match = _LABEL.fullmatch(file.name)
            if match and file.is_file():
                self._files.setdefault(match[1], []).append(file)
        if not self._files:
            raise MissingFile("holds no spectrometer files <label>_HRC….txt", where=self.path)

    @property
    def labels(self) -> tuple[str, ...]:
        """What was measured, sorted."""
        return tuple(sorted(self._files))

    def read(self, label: str, *, calibrate: bool = False) -> Spectra:
        """All measurements of a label.

        Args:
            label: One of `labels`.
            calibrate: Give reflectance, (counts - dark) / (white - dark), with the medians of the two calibrations;
                what is not finite is 0.

        Raises:
            UsageError: there is no such label.
            InvalidData: the files of the label, or of a calibration, have different wavelengths.
        """
        if label not in self._files:
            raise UsageError(f"has no files of '{label}'", where=self.path, next_step=nearest(label, self.labels))
        spectra = _joined([read_spectrometer(file) for file in self._files[label]])
        if not calibrate:
            return spectra
        white, dark = self._calibrations
        for reference in (white, dark):
            if not np.array_equal(reference.wavelengths_nm, spectra.wavelengths_nm):
                raise InvalidData("has other wavelengths than its calibration", where=spectra.paths[0])
        with np.errstate(divide="ignore", invalid="ignore"):
            reflectance = (spectra.values - dark.median) / (white.median - dark.median)
        reflectance[~np.isfinite(reflectance)] = 0
        return Spectra(spectra.wavelengths_nm, reflectance, spectra.paths)

    @cached_property
    def _calibrations(self) -> tuple[Spectra, Spectra]:
        return self.read(WHITE), self.read(DARK)


def _joined(parts: Sequence[Spectra]) -> Spectra:
    for part in parts[1:]:
        if not np.array_equal(part.wavelengths_nm, parts[0].wavelengths_nm):
            raise InvalidData(f"has other wavelengths than {parts[0].paths[0].name}", where=part.paths[0])
    paths = tuple(part.paths[0] for part in parts)
    return Spectra(parts[0].wavelengths_nm, np.concatenate([part.values for part in parts]), paths)
