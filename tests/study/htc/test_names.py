import pytest

from stroma.core.errors import UsageError
from stroma.study.htc.identifiers import is_identifying
from stroma.study.htc.names import ImageName, parse_timestamp


@pytest.mark.parametrize(
    ("text", "image_id", "annotations"),
    [
        ("P086#2021_04_15_09_22_02", "P086#2021_04_15_09_22_02", ()),
        ("P086#2021_04_15_09_22_02@polygon#annotator1", "P086#2021_04_15_09_22_02", ("polygon#annotator1",)),
        ("P041#t#overlap@semantic#b&semantic#a", "P041#t#overlap", ("semantic#b", "semantic#a")),
        ("sepsis#S1#None#palm#t", "sepsis#S1#None#palm#t", ()),
    ],
)
def test_names_are_read_and_written_in_the_order_given(
    text: str, image_id: str, annotations: tuple[str, ...]
) -> None:
    name = ImageName.parse(text)
    assert (name.image_id, name.annotations) == (image_id, annotations)
    assert str(name) == text


@pytest.mark.parametrize("text", ["", "P086##x", "a#b@", "a#b@polygon", "a#b@x#y@x#z", "a#b@x#y&", "@x#y"])
def test_other_texts_are_no_names(text: str) -> None:
    with pytest.raises(UsageError):
        ImageName.parse(text)


def test_a_timestamp_is_a_time_or_none() -> None:
    assert str(parse_timestamp("2021_04_15_09_22_02")) == "2021-04-15 09:22:02"
    for text in (
        "2021_13_15_09_22_02",
        "2021_04_15_24_00_00",
        "2021_04_15_09_22",
        "2021-04-15 09:22:02",
        "٢021_04_15_09_22_02",
    ):
        assert parse_timestamp(text) is None


def test_keys_of_the_patient_file_are_identifying_however_written() -> None:
    assert all(map(is_identifying, ["PatientName", "patient_birth_date", "Admission ID", "AccessionNumber"]))
    assert not any(map(is_identifying, ["Camera_CamID", "SW_Name", "perfusion_state", "situs", "species_name"]))
