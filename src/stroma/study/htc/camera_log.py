"""`<timestamp>_meta.log`: what the camera wrote about a recording."""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path

from stroma.core.clock import stage
from stroma.core.errors import InvalidData, MissingFile
from stroma.study.htc.identifiers import without_identifiers

LogValue = str | int | float | bool
_SECTION = re.compile(r"\[(.+)\]")
_INT = re.compile(r"[+-]?\d{1,18}")
_FLOAT = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_SIGN = re.compile("[=:]")
_COMMA = re.compile(r"-?\d+,\d+")
_BOOLEANS = {"1": True, "yes": True, "true": True, "on": True, "0": False, "no": False, "false": False, "off": False}
_STRAY_LIGHT = "Fremdlichterkennung_Fremdlicht erkannt?"


def read_camera_log(path: Path | str) -> dict[str, LogValue]:
    """Read the log beside a cube.

    It is an INI file in code page 1252. `[Camera]` with `CamID = "0202-00118"` becomes `Camera_CamID`; decimal
    commas become points; `Fremdlichterkennung_Fremdlicht erkannt?` (was stray light noticed) a truth value.

    Returns:
        `<section>_<key>` → text or number, in the order of the file; keys that could name a patient are left out.

    Raises:
        MissingFile: there is no such file.
        InvalidData: a line is neither a section nor `key = value`.
    """
    try:
        with stage("read"):
            content = Path(path).read_bytes()
    except FileNotFoundError as error:
        raise MissingFile("there is no such file", where=path) from error
    return without_identifiers(parse_camera_log(content, where=path))


def parse_camera_log(content: bytes, *, where: Path | str) -> dict[str, LogValue]:
    """As `read_camera_log`, from the bytes of the file, with all keys."""
    values: dict[str, LogValue] = {}
    section = ""
    for number, line in enumerate(content.splitlines(), start=1):
        heading, name, value = _parse(section, line)
        if heading:
            section = heading
        elif name:
            values[name] = value
        elif value:
            raise InvalidData(f"line {number} is neither a section nor 'key = value'", where=where)
    return values


@lru_cache(maxsize=1 << 14)
def _parse(section: str, line: bytes) -> tuple[str, str, LogValue]:
    """Read a line below a heading; most lines are the same in all logs of a camera.

    Returns:
        A new heading; the name of a value; the value, or the text of a line that is neither. Others are empty.
    """
    text = line.decode("cp1252", "replace").strip()
    if not text or text[0] in "#;":
        return "", "", ""
    heading = _SECTION.fullmatch(text)
    if heading:
        return heading[1], "", ""
    sign = _SIGN.search(text)
    key = text[: sign.start()].rstrip() if sign else ""
    if not section or sign is None or not key:
        return "", "", text
    name = f"{section}_{key}"
    return "", name, _value(name, text[sign.end() :].lstrip())


def _value(name: str, text: str) -> LogValue:
    text = text.strip('"')
    if name == _STRAY_LIGHT and text.lower() in _BOOLEANS:
        return _BOOLEANS[text.lower()]
    if not text or text[0] not in "+-.0123456789":
        return text
    if _COMMA.fullmatch(text):
        text = text.replace(",", ".")
    if _INT.fullmatch(text):
        return int(text)
    return float(text) if _FLOAT.fullmatch(text) else text
