"""`<timestamp>_meta.log`: what the camera wrote about a recording."""

from __future__ import annotations

import re
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
        with stage("read"), open(path, "rb") as handle:  # noqa: PTH123 - thousands of files: no Path for each
            content = handle.read()
    except FileNotFoundError as error:
        raise MissingFile("there is no such file", where=path) from error
    return without_identifiers(parse_camera_log(content, where=path))


def parse_camera_log(content: bytes, *, where: Path | str) -> dict[str, LogValue]:
    """As `read_camera_log`, from the bytes of the file."""
    values: dict[str, LogValue] = {}
    section = ""
    for number, line in enumerate(content.decode("cp1252", "replace").splitlines(), start=1):
        text = line.strip()
        if not text or text[0] in "#;":
            continue
        heading = _SECTION.fullmatch(text)
        if heading:
            section = heading[1]
            continue
        key, equals, value = _pair(text)
        if not section or not equals or not key:
            raise InvalidData(f"line {number} is neither a section nor 'key = value'", where=where)
        name = f"{section}_{key}"
        values[name] = _value(name, value)
    return values


def _pair(text: str) -> tuple[str, bool, str]:
    match = _SIGN.search(text)
    if match is None:
        return text, False, ""
    return text[: match.start()].rstrip(), True, text[match.end() :].lstrip()


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
