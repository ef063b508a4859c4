"""Which DICOM files are parts of one slide: by the series in their headers, without opening them as slides."""

from __future__ import annotations

from pathlib import Path

from stroma.core.errors import UnreadableImage

_HEADER = 256 * 1024
_SLIDE_MICROSCOPY = b"\x08\x00\x60\x00CS\x02\x00SM"  # (0008,0060) Modality, explicit VR
_SERIES = b"\x20\x00\x0e\x00UI"  # (0020,000E) SeriesInstanceUID


def dicom_slide_series(path: Path) -> str:
    """The series of a DICOM file of slide microscopy; empty for any other file. It is compared, never kept.

    Raises:
        UnreadableImage: the file cannot be opened.
    """
    try:
        with path.open("rb") as handle:
            header = handle.read(_HEADER)
    except OSError as error:
        raise UnreadableImage(f"cannot be opened ({error.strerror or error})", where=path) from error
    start = header.find(_SERIES)
    if header[128:132] != b"DICM" or _SLIDE_MICROSCOPY not in header or start < 0:
        return ""
    length = int.from_bytes(header[start + 6 : start + 8], "little")
    return header[start + 8 : start + 8 + length].rstrip(b"\0 ").decode("ascii", "replace")
