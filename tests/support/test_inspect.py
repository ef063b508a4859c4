"""`stroma inspect`: every kind of file and folder, and nothing that names a patient."""

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import tifffile
from PIL import Image as Pillow

from stroma.cli.main import run
from stroma.core.done import done_path, write_done
from stroma.core.files import write_json
from stroma.core.provenance import Provenance
from stroma.core.tables import write_table
from stroma.images import write_cube
from stroma.support.describe import describe
from stroma.support.inspect import InspectOptions, inspect

from ..tiny import picture_study

SHARED = Path(__file__).parents[2].parent / "shared" / "data"
SETTINGS = Provenance("tiles/1", {"mpp": 0.5, "tile_px": 256})


def opened(description):
    """Run the line that opens it and return the last variable it sets."""
    scope = {}
    exec(description.opens, scope)
    return [value for name, value in scope.items() if not name.startswith("__")][-1]


def test_cube(tmp_path):
    path = write_cube(tmp_path / "ü 'x'" / "1_SpecCube.dat", np.ones((4, 5, 100)))
    found = describe(path)
    assert found.kind == "Tivita hyperspectral cube"
    assert found.facts["shape"] == [4, 5, 100]
    assert found.facts["wavelengths_nm"] == [500, 1000]
    assert found.facts["size_bytes"] == 12 + 4 * 4 * 5 * 100
    assert opened(found).shape == (4, 5, 100)
    assert describe(path.parent).kind == found.kind


def test_picture_and_tiff(tmp_path):
    Pillow.fromarray(np.zeros((3, 4, 3), np.uint8)).save(tmp_path / "a.jpg")
    assert describe(tmp_path / "a.jpg").kind == "JPEG picture"
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((3, 4), np.uint16), resolution=(20_000, 20_000), resolutionunit=3)
    found = describe(tmp_path / "a.tif")
    assert found.kind == "TIFF image"
    assert found.facts["dtype"] == "uint16"
    assert found.facts["mpp"] == pytest.approx(0.5)


def test_slide(tmp_path):
    path = tmp_path / "a.tiff"
    tifffile.imwrite(path, np.zeros((40, 50, 3), np.uint8), tile=(16, 16), photometric="rgb")
    found = describe(path)
    assert found.kind == "whole slide (generic-tiff)"
    assert found.next == f"stroma tile {path} -o tiles"


def test_table_of_ours_says_what_it_was_made_with(tmp_path):
    write_table(pl.DataFrame({"x": [1, 2], "name": ["a", "b"]}), tmp_path / "a.parquet", SETTINGS)
    found = describe(tmp_path / "a.parquet")
    assert found.kind == "table of Stroma (tiles/1)"
    assert found.facts["rows"] == 2
    assert found.facts["columns"] == {"x": "Int64", "name": "String"}
    assert found.facts["settings"] == {"mpp": 0.5, "tile_px": 256}
    assert opened(found).shape == (2, 2)


@pytest.mark.parametrize(
    ("text", "columns", "shape"),
    [
        ("a,b\n1,2\n3,4\n", ["a", "b"], (2, 2)),
        ("a;b\n1;2\n", ["a", "b"], (1, 2)),
        ("12.5,13.5\n1,2\n", 2, (2, 2)),
    ],
)
def test_csv_with_and_without_a_header(tmp_path, text, columns, shape):
    (tmp_path / "a.csv").write_text(text)
    found = describe(tmp_path / "a.csv")
    assert found.facts["columns"] == columns
    assert opened(found).shape == shape


def test_documents(tmp_path):
    write_json(tmp_path / "a.json", {"P001": 1})
    assert describe(tmp_path / "a.json").facts["keys"] == 1
    feature = {"type": "Feature", "geometry": {"type": "Point", "coordinates": [0, 0]}, "properties": {}}
    write_json(tmp_path / "a.geojson", {"type": "FeatureCollection", "features": [feature] * 3})
    assert describe(tmp_path / "a.geojson").facts["geometries"] == {"Point": 3}
    (tmp_path / "run.yaml").write_text("data: {study: s.yaml}\nmodel: {name: unet}\ntask: segment\n")
    found = describe(tmp_path / "run.yaml")
    assert found.facts["model"] == "unet"
    assert found.next.startswith("stroma train")
    (tmp_path / "b.yaml").write_text("a: 1\n")
    assert opened(describe(tmp_path / "b.yaml")) == {"a": 1}


def test_arrays_and_weights(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros((2, 3), np.float16))
    found = describe(tmp_path / "a.npy")
    assert (found.facts["shape"], found.facts["dtype"]) == ([2, 3], "float16")
    assert opened(found).shape == (2, 3)
    header = json.dumps(
        {"w": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}, "__metadata__": {}}
    ).encode()
    (tmp_path / "w.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes(24))
    assert describe(tmp_path / "w.safetensors").facts["parameters"] == 6


def test_study_and_folder_of_images(tmp_path):
    path = picture_study(tmp_path, subjects=2, images=1)
    for named in (path, tmp_path):
        found = describe(named)
        assert found.kind == "study"
        assert found.facts["labels"] == ["red", "green", "blue"]
        assert opened(found).name == "tiny"
    found = describe(tmp_path / "data")
    assert found.kind == "folder of images"
    assert found.facts["layout"] == "masks"
    assert found.next == f"stroma init {tmp_path / 'data'}"


def test_results_runs_and_other_folders(tmp_path):
    results = tmp_path / "out"
    write_table(pl.DataFrame({"x": [1]}), results / "a.parquet", SETTINGS)
    record = write_done(done_path(results, "a"), SETTINGS, [results / "a.parquet"])
    found = describe(results)
    assert found.kind == "results of Stroma"
    assert (found.facts["format"], found.facts["complete_items"]) == ("tiles/1", 1)
    assert describe(record).kind == "record of Stroma"
    write_json(tmp_path / "run" / "run.json", Provenance("run/1", {"seed": 1}).to_dict())
    assert describe(tmp_path / "run").facts["folds_trained"] == 0
    (tmp_path / "empty").mkdir()
    assert describe(tmp_path / "empty").kind == "folder"


def test_unknown_files_show_16_bytes_and_text_shows_nothing(tmp_path):
    (tmp_path / "a.bin").write_bytes(bytes(range(40)))
    assert describe(tmp_path / "a.bin").facts["first_bytes"] == "00 01 02 03 04 05 06 07 08 09 0a 0b 0c 0d 0e 0f"
    (tmp_path / "a.xml").write_text('<Patient name="PatientName">Erika Mustermann</Patient>')
    assert list(describe(tmp_path / "a.xml").facts) == ["size_bytes"]


def test_several_inputs_and_exit_codes(tmp_path, capsys):
    Pillow.fromarray(np.zeros((3, 4), np.uint8)).save(tmp_path / "good.png")
    (tmp_path / "bad.png").write_bytes((tmp_path / "good.png").read_bytes()[:40])
    good, bad = str(tmp_path / "good.png"), str(tmp_path / "bad.png")
    assert run(["inspect", good]) == 0
    assert run(["inspect", good, bad]) == 3
    assert run(["inspect", bad]) == 1
    assert run(["inspect"]) == 2
    output = capsys.readouterr()
    assert "3 high, 4 wide, 1 channel\n" in output.out
    assert "bad.png: is damaged" in output.err
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["bad.png", "good.png"]


def test_json_gives_plain_values(tmp_path, capsys):
    Pillow.fromarray(np.zeros((3, 4), np.uint8)).save(tmp_path / "a.png")
    assert run(["inspect", str(tmp_path / "a.png"), str(tmp_path / "none.png"), "--json"]) == 3
    content = json.loads(capsys.readouterr().out)
    assert content["inputs"][0]["shape"] == [3, 4, 1]
    assert content["failed"][0]["error"] == "MissingFile"


DAMAGED = {
    "a.parquet": b"PAR1\0\0",
    "a.npy": b"\x93NUMPY\x01\0v\0",
    "a.json": b"{",
    "a.yaml": b"a: [",
    "a.safetensors": b"\xff" * 9,
}


@pytest.mark.parametrize("name", DAMAGED)
def test_damaged_files_are_failures(tmp_path, name):
    (tmp_path / name).write_bytes(DAMAGED[name])
    result = inspect(InspectOptions(inputs=(tmp_path / name,)))
    assert result.exit_code == 1
    assert result.failed[0].error in ("InvalidData", "ConfigError")


@pytest.mark.skipif(not SHARED.is_dir(), reason="needs the shared data")
def test_identifiers_of_real_files_are_not_shown():
    files = ["wsi_svs_cmu1_small_region/small_HE.svs", "wsi_openslide_fixtures/boxes_0.dcm"]
    files += ["dicom_sm_seg_highdicom/sm_annotations.dcm", "dicom_sm_seg_highdicom/seg_image_sm_control.dcm"]
    result = inspect(InspectOptions(inputs=tuple(SHARED / name for name in files)))
    assert result.failed == []
    text = "\n".join(result.lines) + json.dumps(result.details)
    for secret in ("CMU-1", "b414003d", "CPAPERIOCS", "1004486", "12/29/09", "SPECIMEN", "SLIDE_1", "1.3.6.1.4"):
        assert secret not in text
    assert [entry.get("modality") for entry in result.details["inputs"]] == [None, None, "ANN", "SEG"]
