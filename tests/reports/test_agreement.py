"""`stroma annotations agreement` on two annotators of a small study."""

import numpy as np
import polars as pl
import pytest
from PIL import Image

from stroma.cli.main import run
from stroma.core.errors import InvalidData, OutputConflict, UsageError
from stroma.images import write_cube
from stroma.reports.agreement import AgreementOptions, annotator_agreement

LABELS = ("liver", "spleen ü")


def square(x, side=8):
    mask = np.zeros((20, 30), bool)
    mask[4 : 4 + side, x : x + side] = True
    return mask


@pytest.fixture
def study(tmp_path):
    """annotator2 draws the liver of P002 two columns further right, and forgets the spleen of P001."""
    drawn = {
        ("P001", "2024_01_01_08_00_00"): {("annotator1", 0): 3, ("annotator2", 0): 3, ("annotator1", 1): 15},
        ("P002", "2024_01_02_08_00_00"): {("annotator1", 0): 3, ("annotator2", 0): 5},
        ("P002", "2024_01_02_08_05_00"): {("annotator1", 0): 3},
    }
    for (subject, time), masks in drawn.items():
        folder = tmp_path / "data #1" / "data" / "subjects" / subject / time
        (folder / "annotations").mkdir(parents=True)
        write_cube(folder / f"{time}_SpecCube.dat", np.ones((20, 30, 4), np.float32))
        for (annotator, label), x in masks.items():
            name = f"{time}#polygon#{annotator}#{LABELS[label]}#binary.png"
            Image.fromarray(square(x)).save(folder / "annotations" / name)
    settings = '{"shape": [20, 30, 4], "label_mapping": {"liver": 0, "spleen ü": 1}, "last_valid_label_index": 1}'
    (tmp_path / "data #1" / "data" / "dataset_settings.json").write_text(settings, encoding="utf-8")
    path = tmp_path / "study.yaml"
    path.write_text(
        "format: study/1\nname: s\nroot: 'data #1'\nlayout: {name: heiporspectral}\n"
        + f"labels: {{names: {list(LABELS)}}}\n",
        encoding="utf-8",
    )
    return path


def test_tables_page_and_lines(study, tmp_path, capsys):
    out = tmp_path / "out"
    assert run(["annotations", "agreement", str(study), "-o", str(out)]) == 0
    assert "dice liver" in capsys.readouterr().out
    pairs = pl.read_parquet(out / "agreement.parquet")
    liver = pairs.filter(pl.col("label") == "liver").sort("image_id")
    assert liver["dice"].to_list() == [1.0, 2 * 48 / 128]
    assert liver["distance_max_px"].to_list() == [0, 2]
    assert liver["first"].to_list() == ["polygon#annotator1"] * 2
    spleen = pairs.filter(pl.col("label") != "liver").row(0, named=True)
    assert (spleen["dice"], spleen["nsd"], spleen["distance_mean_px"]) == (0, 0, None)
    tolerance = pl.read_csv(out / "tolerances.csv")
    assert tolerance["label_name"].to_list() == ["liver"]
    assert tolerance["n_subjects"].item() == 2
    scores = pl.read_parquet(out / "scores.parquet").filter(pl.col("scope") == "set", pl.col("metric") == "dice")
    assert scores.filter(pl.col("label") == "liver")["value"].item() == pytest.approx((1 + 0.75) / 2)
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "spleen ü" in page


def test_pixels_of_one_annotator_left_out(study, tmp_path):
    annotator_agreement(AgreementOptions(study=study, output=tmp_path / "o", outside="ignore"))
    pairs = pl.read_parquet(tmp_path / "o" / "agreement.parquet")
    assert pairs["dice"].to_list() == [1.0, 1.0]


def test_the_same_bytes_again(study, tmp_path):
    for name in "ab":
        annotator_agreement(AgreementOptions(study=study, output=tmp_path / name))
    for file in ("agreement.parquet", "scores.parquet", "tolerances.csv", "report.html"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_what_cannot_be_compared_is_said(study, tmp_path):
    options = {"study": study, "output": tmp_path / "o"}
    with pytest.raises(UsageError, match="no annotator 'annotator3'"):
        annotator_agreement(AgreementOptions(**options, annotator=("annotator3",)))
    with pytest.raises(InvalidData, match="no image that two annotators annotated"):
        annotator_agreement(AgreementOptions(**options, annotator=("annotator1",)))
    annotator_agreement(AgreementOptions(**options))
    with pytest.raises(OutputConflict):
        annotator_agreement(AgreementOptions(**options))
    annotator_agreement(AgreementOptions(**options, overwrite=True))
