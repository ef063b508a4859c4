from pathlib import Path

import pytest

from stroma.core.errors import InvalidData, MissingFile
from stroma.study.htc.camera_log import parse_camera_log, read_camera_log

LOG = (
    "[Camera]\r\n"
    'CamID = "0202-00118"\r\nExposure = 3,5\r\nanaloger Gain = "1"\r\nSpeed=1e3\r\n\r\n'
    '[SW]\r\nName = "TIVITA Suite"\r\nVersion = 1.5.0.1\r\nRate = 95 %\r\n'
    "[Fremdlichterkennung]\r\nFremdlicht erkannt? = FALSE\r\nBreite LED Grün = 007\r\n"
    '[Temperaturen]\r\nHSI-Sensor Temp. vor Scan = "-3,25"\r\n'
    "[Aufnahme]\r\nAufnahmemodus=Reflexion: nah\r\n"
).encode("cp1252")


def test_values_are_what_htc_reads(tmp_path: Path) -> None:
    path = tmp_path / "2021_04_15_09_22_02_meta.log"
    path.write_bytes(LOG)
    assert read_camera_log(path) == {
        "Camera_CamID": "0202-00118",
        "Camera_Exposure": 3.5,
        "Camera_analoger Gain": 1,
        "Camera_Speed": 1000.0,
        "SW_Name": "TIVITA Suite",
        "SW_Version": "1.5.0.1",
        "SW_Rate": "95 %",
        "Fremdlichterkennung_Fremdlicht erkannt?": False,
        "Fremdlichterkennung_Breite LED Grün": 7,
        "Temperaturen_HSI-Sensor Temp. vor Scan": -3.25,
        "Aufnahme_Aufnahmemodus": "Reflexion: nah",
    }


def test_lines_that_are_no_pair_are_told_with_their_number() -> None:
    with pytest.raises(InvalidData, match="line 2 is neither"):
        parse_camera_log(b"[Camera]\nCamID", where="a.log")
    with pytest.raises(InvalidData, match="line 1 is neither"):
        parse_camera_log(b"CamID = 1", where="a.log")
    with pytest.raises(InvalidData, match="line 1 is neither"):
        parse_camera_log(bytes(range(128, 256)), where="a.log")
    assert parse_camera_log(b"", where="a.log") == {}


def test_a_missing_log_is_told(tmp_path: Path) -> None:
    with pytest.raises(MissingFile):
        read_camera_log(tmp_path / "none.log")
