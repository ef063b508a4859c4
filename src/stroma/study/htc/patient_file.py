"""`<name>.xml` beside a Tivita cube: the patient, and some facts about the recording."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

from stroma.core.clock import stage
from stroma.core.errors import InvalidData, MissingFile

_HARMLESS = (
    "Study Date", "Study Time", "Series Number", "Acquisition Date", "Acquisition Time", "Modality", "Manufacturer",
    "DeviceSerialNumber", "SoftwareVersions",
)  # fmt: skip
"""The keys that cannot name a patient; all others are held back."""

_LARGEST_BYTES = 4 * 2**20


def read_patient_file(path: Path | str, *, with_identifiers: bool = False) -> dict[str, str | None]:
    """Read the patient file of a recording.

    Every element below the root has a `name` (`PatientID`, `Acquisition Date`, …) and a text.

    Args:
        path: The XML.
        with_identifiers: Whether also names, birth dates, ids and free texts are returned. Without it only the keys
            that cannot name a patient are: dates and times of the recording, modality, maker, device and software.

    Returns:
        Name → text, None where it is empty, in the order of the file.

    Raises:
        MissingFile: there is no such file.
        InvalidData: it is no such XML. The message holds nothing of its content.
    """
    path = Path(path)
    if not path.is_file():
        raise MissingFile("there is no such file", where=path)
    with stage("read"):
        size = path.stat().st_size
        content = path.read_bytes() if size <= _LARGEST_BYTES else b""
    if not content or b"<!ENTITY" in content.upper():
        raise InvalidData(f"is no patient file of a camera ({size:,} bytes)", where=path)
    try:
        root = ElementTree.fromstring(content)
    except (ElementTree.ParseError, ValueError, LookupError):
        raise InvalidData("is no patient file of a camera: it is not valid XML", where=path) from None
    values = {
        element.attrib["name"]: (element.text or "").strip() or None for element in root if "name" in element.attrib
    }
    if not values:
        raise InvalidData("is no patient file of a camera: it has no named elements", where=path)
    return {name: value for name, value in values.items() if with_identifiers or name in _HARMLESS}
