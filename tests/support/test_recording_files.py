"""`stroma inspect` says of every file of a Tivita folder and of HeiPorSPECTRAL what it is, and how to open it."""

import json

import numpy as np
import polars as pl
import pytest
from PIL import Image

from stroma.core.errors import InvalidData, StromaError
from stroma.images import write_cube
from stroma.support.describe import describe
from tests.images.test_files_page import TIME, write_camera_folder, write_dataset

from .test_inspect import opened

KINDS = {
    "*_SpecCube.dat": "Tivita hyperspectral cube",
    "EqBinWhiteCube.dat": "white reference of a Tivita camera",
    "*_DarkPattern.dpic": "dark pattern of a Tivita camera",
    "*_HSI-RGB-Image.png": "RGB picture reconstructed from the cube of a Tivita camera",
    "*_RGB-Image.png": "picture of the RGB sensor of a Tivita camera",
    "*_RGB-Capture.png": "picture of the RGB sensor of a Tivita camera",
    "*_Oxygenation.png": "StO2 as the Tivita camera showed it",
    "*_meta.log": "log of a Tivita camera",
    "*.xml": "patient file of a Tivita camera",
    "data/dataset_settings.json": "settings of a data set of htc",
    "…/annotations/<time>#polygon#annotator1#<label>#binary.png": "mask of one label by one annotator",
    "…/annotations/<time>#polygon#annotator1#<label>#coordinates.csv": "outline of one label by one annotator",
    "…/annotations/<time>#semantic#primary.nrrd": "segmentation of MITK",
    "…/annotations/<time>#squares#automask#cc_classic.png": "mask of a colour checker",
    "data/extra_technical_validation/spectrometer/*/": "measurement of a spectrometer",
    "intermediates/segmentations/<image>.blosc": "arrays of htc (Blosc)",
    "intermediates/preprocessing/<kind>/<image>.blosc": "arrays of htc (Blosc)",
    "intermediates/tables/*@meta.feather": "index of the images of a data set (htc)",
}


def test_every_file_is_known_and_its_line_opens_it(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH_STROMA_CACHE", str(tmp_path / "cache"))
    files = write_dataset(tmp_path / "Daten ' #1 ü")
    for name, kind in KINDS.items():
        found = describe(files[name])
        assert found.kind == kind, name
        assert opened(found) is not None
    assert describe(files["*_meta.log"]).facts["camera"] == "0202-00118"
    mask = describe(files["…/annotations/<time>#polygon#annotator1#<label>#binary.png"])
    assert mask.facts["label"] == "spleen"
    assert mask.facts["marked_px"] == (opened(mask) > 0).sum() > 0
    masks = describe(files["intermediates/segmentations/<image>.blosc"])
    assert masks.facts["arrays"] == {"polygon#annotator2": "480×640 uint8"}


def test_first_generation_cameras_reconstruct_what_newer_ones_capture(tmp_path):
    folder = write_camera_folder(tmp_path / TIME)["the folder"]
    (folder / f"{TIME}_HSI-RGB-Image.png").unlink()
    assert describe(folder / f"{TIME}_RGB-Image.png").kind.startswith("RGB picture reconstructed")


def test_pictures_of_small_cubes_open_with_their_size(tmp_path):
    write_cube(tmp_path / f"{TIME}_SpecCube.dat", np.ones((3, 4, 5), np.float32))
    Image.fromarray(np.zeros((3, 4, 3), np.uint8)).save(tmp_path / f"{TIME}_RGB-Image.png")
    assert opened(describe(tmp_path / f"{TIME}_RGB-Image.png")).shape == (3, 4, 3)


def test_what_is_never_opened_says_so(tmp_path):
    (tmp_path / "a#standardization.pkl").write_bytes(b"\x80\x04.")
    (tmp_path / "a.tiv").write_bytes(b"x")
    for name, reason in (("a#standardization.pkl", "never opened"), ("a.tiv", "not read")):
        found = describe(tmp_path / name)
        assert reason in found.kind
        assert found.opens == ""


def test_links_of_data_sets(tmp_path):
    (tmp_path / "path_links.json").write_text(json.dumps({"a": ["P1#x", "P2#y@polygon#a1"]}))
    found = describe(tmp_path / "path_links.json")
    assert found.facts == {"groups": 1, "images": 2}
    assert str(opened(found)["a"][1]) == "P2#y@polygon#a1"


def test_damaged_files_are_told(tmp_path):
    for name in ("dataset_settings.json", "a.blosc", "a.nrrd", f"{TIME}_meta.log", "x@meta.feather"):
        (tmp_path / name).write_bytes(b"nonsense")
        with pytest.raises(StromaError, match=name):
            describe(tmp_path / name)


def test_tables_that_name_patients_show_no_such_column(tmp_path):
    table = pl.DataFrame({"image_name": ["P1#x"], "PatientName": ["Erika"]})
    table.write_ipc(tmp_path / "x@meta.feather")
    assert "PatientName" not in describe(tmp_path / "x@meta.feather").facts["columns"]
    table.drop("image_name").write_ipc(tmp_path / "y@meta.feather")
    with pytest.raises(InvalidData, match="image_name"):
        describe(tmp_path / "y@meta.feather")
