"""Patient files: read on request; names, birth dates and ids only when they are asked for."""

import pytest

from stroma.core.errors import InvalidData, MissingFile
from stroma.study import read_patient_file

XML = """<?xml version="1.0" encoding="utf-8"?>
<dicom>
  <element name="PatientID">0815</element>
  <element name="PatientName">Mustermann^Märta</element>
  <element name="PatientBirthDate">19500101</element>
  <element name="Patient Comments">asks for Dr. Who</element>
  <element name="AdmissionID" />
  <element name="Acquisition Date">20210415</element>
  <element name="Modality">XC</element>
  <element name="Something New">Mustermann</element>
</dicom>
"""


def test_only_what_cannot_name_a_patient(tmp_path):
    path = tmp_path / "Märta #1.xml"
    path.write_text(XML, encoding="utf-8")
    assert read_patient_file(path) == {"Acquisition Date": "20210415", "Modality": "XC"}


def test_everything_on_request(tmp_path):
    path = tmp_path / "a.xml"
    path.write_text(XML, encoding="utf-8")
    found = read_patient_file(path, with_identifiers=True)
    assert list(found)[:2] == ["PatientID", "PatientName"]
    assert found["PatientName"] == "Mustermann^Märta"
    assert found["AdmissionID"] is None


@pytest.mark.parametrize(
    "content",
    ["", "Mustermann", "<a><b>Mustermann</b></a>", "<a><b name='x'>Mustermann</b>",
     "<!DOCTYPE a [<!ENTITY b 'Mustermann'>]><a><c name='Modality'>&b;</c></a>"],
)  # fmt: skip
def test_errors_show_nothing_of_it(content, tmp_path):
    path = tmp_path / "a.xml"
    path.write_text(content)
    with pytest.raises(InvalidData) as caught:
        read_patient_file(path)
    assert "Mustermann" not in str(caught.value)
    with pytest.raises(MissingFile):
        read_patient_file(tmp_path / "b.xml")
