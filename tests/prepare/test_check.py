"""`stroma check`: each inconsistency is named with its file and value; nothing is shown that names a patient."""

import json
import shutil
from pathlib import Path

import numpy as np
import PIL.Image
import polars as pl
import pytest
import shapely
import tifffile

from stroma.cli.main import run
from stroma.images import write_cube
from stroma.prepare.check import CheckOptions, check
from stroma.prepare.check_across import find_odd_scales, modified_z
from stroma.prepare.check_image import FACTS_SCHEMA
from stroma.prepare.index import InitOptions, init
from stroma.regions.annotation import Annotation
from stroma.regions.geojson import write_geojson
from tests.study.conftest import SurgeryTree, surgery, surgery_yaml  # noqa: F401
from tests.tiny import picture_study

FIRST = "P001#2021_04_15_09_22_01"
STAMP = "2021_04_15_09_22_01"


def cube_of(tree: SurgeryTree) -> Path:
    return tree.subjects / "P001" / STAMP / f"{STAMP}_SpecCube.dat"


def change(tree: SurgeryTree, edit) -> None:
    cube = np.full((4, 6, 3), 0.5, np.float32)
    edit(cube)
    write_cube(cube_of(tree), cube)


def findings(study: Path, **options) -> list[tuple[str, str, str]]:
    rows = check(CheckOptions(study=study, **options)).details["findings"]
    return [(row["severity"], row["check"], row["message"]) for row in rows if row["image_id"] in ("", FIRST)]


def test_a_sound_study_has_only_warnings(surgery, surgery_yaml):  # noqa: F811
    result = check(CheckOptions(study=surgery_yaml))
    assert (result.done, result.exit_code) == (6, 0)
    assert result.summary["errors"] == 0  # said, not left to be guessed
    assert {row["check"] for row in result.details["findings"]} == {"camera", "labels", "blank", "class"}


NUMBERS, EMPTY, NEGATIVE = "not_finite", "zero_pixel", "negative_pixel"


@pytest.mark.parametrize(
    ("edit", "found"),
    [
        (lambda c: c.__setitem__((1, 2, 0), np.nan), ("error", NUMBERS, "that are no numbers: 1 of 72 values")),
        (lambda c: c.__setitem__((1, 2, 0), np.inf), ("error", NUMBERS, "that are no numbers: 1 of 72 values")),
        (lambda c: c.__setitem__((1, 2), 0), ("error", EMPTY, "has empty pixels: 1 of 24 pixels are all 0")),
        (lambda c: c.__setitem__(slice(None), -1), ("error", "all_negative", "all values are below 0")),
        (lambda c: c.__setitem__((1, 2), -1), ("warning", NEGATIVE, "1 of 24 pixels are below 0 in all channels")),
        (lambda c: c.__setitem__((1, 2, 1), 0), ("warning", "zero_value", "has zeros: 1 of 72 values are 0")),
    ],
)
def test_values_of_cubes(surgery, surgery_yaml, edit, found):  # noqa: F811
    change(surgery, edit)
    severity, name, message = found
    rows = [row for row in findings(surgery_yaml) if row[1] == name]
    assert [(row[0], message in row[2]) for row in rows] == [(severity, True)]
    strict = [row[0] for row in findings(surgery_yaml, strict=True) if row[1] == name]
    assert strict == ["error"]


def test_files_that_contradict_each_other(surgery, surgery_yaml):  # noqa: F811
    folder = cube_of(surgery).parent
    np_mask = np.zeros((5, 6), bool)
    surgery.annotate(folder, "spleen", np_mask, annotator="annotator3")
    surgery.annotate(folder, "livver", np.ones((4, 6), bool), annotator="annotator4")
    surgery.annotate(folder, "liver", np.zeros((4, 6), bool), annotator="annotator5")
    (folder / f"{STAMP}_RGB-Image.png").write_bytes(b"no picture")
    (folder / f"{STAMP}_meta.log").write_text("nonsense")
    found = findings(surgery_yaml)
    errors = {name: message for severity, name, message in found if severity == "error" and name != "mask"}
    assert "the picture 2021_04_15_09_22_01_RGB-Image.png, which " in errors["picture"]
    assert "camera log: line 1 is neither" in errors["camera"]
    masks = [message for _, name, message in found if name == "mask"]
    assert any("polygon#annotator3" in text and "5 × 6" in text for text in masks)
    assert any("polygon#annotator4" in text and "'livver'" in text for text in masks)
    assert any("polygon#annotator5, which marks no pixel" in text for text in masks)


def test_missing_and_cut_cubes(surgery, surgery_yaml, capsys):  # noqa: F811
    assert run(["check", str(surgery_yaml), "--json"]) == 0
    capsys.readouterr()
    (surgery.root / "data" / "dataset_settings.json").unlink()
    path = cube_of(surgery)
    path.write_bytes(path.read_bytes()[:100])
    assert run(["check", str(surgery_yaml)]) == 3
    out, err = capsys.readouterr()
    assert "is 100 bytes, a 6×4×3 cube needs 300" in err
    assert "errors: 1" in out


def test_findings_are_written_as_tables(surgery, surgery_yaml, tmp_path, capsys):  # noqa: F811
    change(surgery, lambda cube: cube.__setitem__((1, 2), 0))
    out = tmp_path / "checked"
    assert run(["check", str(surgery_yaml), "-o", str(out), "--where", "subject_id = 'P001'"]) == 3
    table = pl.read_parquet(out / "findings.parquet")
    assert table.filter(severity="error")["image_id"].to_list() == [FIRST]
    assert pl.read_csv(out / "findings.csv").height == table.height
    assert pl.read_parquet(out / "images.parquet").select("image_id", "height", "width", "channels").rows() == [
        (FIRST, 4, 6, 3), (f"{FIRST[:-1]}2", 4, 6, 3)
    ]  # fmt: skip
    assert pl.read_parquet(out / "labels.parquet").filter(image_id=FIRST).rows() == [
        (FIRST, "liver", 8), (FIRST, "colon", 16)
    ][::-1]  # fmt: skip
    assert run(["check", str(surgery_yaml), "-o", str(out)]) == 1
    (tmp_path / "file").write_text("")
    assert run(["check", str(surgery_yaml), "-o", str(tmp_path / "file")]) == 1
    capsys.readouterr()
    assert run(["check", str(surgery_yaml), "--where", "subject_id = 'nobody'"]) == 2


def test_studies_of_pictures_are_checked_too(tmp_path):
    study = picture_study(tmp_path)
    assert check(CheckOptions(study=study)).exit_code == 0
    picture = next((tmp_path / "data" / "images").rglob("*.png"))
    picture.write_bytes(picture.read_bytes()[:200])
    result = check(CheckOptions(study=study))
    assert (len(result.failed), result.exit_code) == (1, 3)


def errors_of(study: Path) -> dict[str, list[tuple[str, str]]]:
    found: dict[str, list[tuple[str, str]]] = {}
    for row in check(CheckOptions(study=study)).details["findings"]:
        found.setdefault(row["check"], []).append((row["path"], f"{row['severity']}: {row['message']}"))
    return found


def test_the_same_pixels_under_two_subjects_are_an_error_whatever_file_they_lie_in(tmp_path):
    study = picture_study(tmp_path)
    images = tmp_path / "data" / "images"
    first, second, other = (
        images / name for name in ("Süß #0/im@0, a+b.png", "Süß #0/im@1, a+b.png", "Süß #1/im@0, a+b.png")
    )
    with PIL.Image.open(first) as picture:
        picture.save(other, compress_level=0)
    assert other.read_bytes() != first.read_bytes()
    found = errors_of(study)["duplicate"]
    assert [path for path, _ in found] == ["images/Süß #0/im@0, a+b.png", "images/Süß #1/im@0, a+b.png"]
    assert found[0][1] == "error: has the same pixels as images/Süß #1/im@0, a+b.png of another subject, 'Süß #1'"
    shutil.copy(first, second)
    other.unlink()
    assert {text.split(":")[0] for _, text in errors_of(study)["duplicate"]} == {"warning"}


def test_a_compressed_copy_under_another_subject_looks_alike(tmp_path):
    study = picture_study(tmp_path, height=96, width=128)
    images = tmp_path / "data" / "images"
    rows, columns = np.mgrid[:96, :128]
    scene = np.stack([128 + 100 * np.sin(rows / k + columns / (k + 4)) for k in (7, 11, 13)], axis=2).astype(np.uint8)
    PIL.Image.fromarray(scene).save(images / "Süß #0/im@0, a+b.png")
    PIL.Image.fromarray(scene).save(tmp_path / "copy.jpg", quality=60)
    with PIL.Image.open(tmp_path / "copy.jpg") as picture:
        picture.save(images / "Süß #1/im@0, a+b.png")
    found = errors_of(study)
    assert "duplicate" not in found
    assert [path for path, _ in found["lookalike"]] == ["images/Süß #0/im@0, a+b.png", "images/Süß #1/im@0, a+b.png"]


def test_odd_colours_sizes_and_blank_images_are_warnings_and_odd_channels_errors(tmp_path):
    study = picture_study(tmp_path, subjects=5)
    images = tmp_path / "data" / "images" / "Süß #2"
    rng = np.random.default_rng(3)
    PIL.Image.fromarray(rng.integers(0, 30, (40, 56, 3), dtype=np.uint8)).save(images / "im@0, a+b.png")
    PIL.Image.fromarray(np.full((40, 56, 3), 255, np.uint8)).save(images / "im@1, a+b.png")
    found = errors_of(study)
    assert [path for path, _ in found["blank"]] == ["images/Süß #2/im@1, a+b.png"]
    odd = dict(found["colour"])["images/Süß #2/im@0, a+b.png"]
    assert odd.startswith("warning: has an unusual contrast in ")
    assert "images/Süß #2/im@1, a+b.png" not in dict(found["colour"])  # it is blank, that is enough
    PIL.Image.fromarray(rng.integers(0, 255, (40, 56), dtype=np.uint8)).save(images / "im@0, a+b.png")
    channels = errors_of(study)["channels"]
    assert channels == [("images/Süß #2/im@0, a+b.png", "error: has 1 channels, 9 of 10 images have 3 channels")]


def test_modified_z_scores_after_iglewicz_and_hoaglin():
    """Median 3, deviations 2, 1, 0, 1, 97: their median is 1, so 100 is 0.6745 · 97 away."""
    scores = modified_z(np.array([[1.0], [2.0], [3.0], [4.0], [100.0]]))
    np.testing.assert_allclose(scores[:, 0], [-1.349, -0.6745, 0.0, 0.6745, 65.4265])


def test_scales_that_differ_or_are_unknown(tmp_path):
    row = dict.fromkeys(FACTS_SCHEMA) | {"content": "x", "subject_id": "s"}
    facts = pl.DataFrame(
        [row | {"image_id": str(i), "path": f"{i}.svs", "mpp": mpp} for i, mpp in enumerate([0.25, 0.26, 0.5, None])],
        schema=FACTS_SCHEMA,
    )
    found = [(finding.path, finding.message) for finding in find_odd_scales(facts)]
    assert found == [
        ("2.svs", "has pixels of 0.5 µm, the median of 3 images is 0.26 µm"),
        ("3.svs", "does not say how large its pixels are; 3 of 4 images do"),
    ]


def test_masks_are_compared_with_the_image_itself(tmp_path):
    study = picture_study(tmp_path)
    picture = tmp_path / "data" / "images" / "Süß #1/im@0, a+b.png"
    check(CheckOptions(study=study))
    PIL.Image.fromarray(np.random.default_rng(0).integers(0, 255, (41, 56, 3), dtype=np.uint8)).save(picture)
    texts = [text for _, text in errors_of(study).get("mask", []) + errors_of(study).get("listing", [])]
    assert any("40 × 56" in text and "41 × 56" in text for text in texts)


def test_classes_that_a_fold_cannot_learn(tmp_path):
    study = picture_study(tmp_path, splits={"folds": 3, "test_subjects": ["Süß #3"]})
    masks = tmp_path / "data" / "masks"
    for path in masks.rglob("*.png"):
        with PIL.Image.open(path) as stored:
            mask = np.array(stored)
        if "#1" not in str(path):
            mask[mask == 2] = 255
            PIL.Image.fromarray(mask).save(path)
    (text,) = [text for _, text in errors_of(study)["class"]]
    assert text.startswith("warning: the class 'blue' (in 2 images) is missing from train of fold_")
    assert "validation of fold_" in text
    assert "test of fold_0, fold_1 and fold_2" in text


def test_outlines_of_slides_are_checked_by_the_index_of_the_object(tmp_path):
    """An object outside is an error, one that crosses itself a warning; a class that a fold lacks is named."""
    slides = tmp_path / "Schnitte #1, a+b"
    slides.mkdir()
    rng = np.random.default_rng(0)
    crossing = shapely.Polygon([(0, 0), (9, 9), (9, 0), (0, 9)])
    good = Annotation(shapely.box(10, 10, 30, 40), label="tumour")
    odd = {
        "a": Annotation(shapely.box(900, 1, 990, 9), label="tumour"),
        "b": Annotation(crossing, label="stroma"),
        "c": good,
    }
    for name, annotation in odd.items():
        pixels = rng.integers(0, 255, (60, 80, 3), dtype=np.uint8)
        tifffile.imwrite(slides / f"{name}.svs", pixels, photometric="rgb", tile=(32, 32), metadata=None)
        write_geojson(slides / f"{name}.geojson", [good, annotation])
    init(InitOptions(folder=slides, output=tmp_path / "study.yaml"))
    found = errors_of(tmp_path / "study.yaml")
    texts = dict(found["listing"])
    assert texts["a.geojson"].startswith("error: object 1: lies outside the image of 60 × 80 px")
    assert texts["b.geojson"].startswith(
        "warning: object 1: its outline is not valid: Self-intersection at (4.5 4.5)"
    )
    assert any("'stroma' (in 1 images) is missing from" in text for _, text in found["class"])


def test_workers_give_the_same_findings(tmp_path):
    study = picture_study(tmp_path)
    one, two = (check(CheckOptions(study=study, workers=n, output=tmp_path / f"o{n}")) for n in (1, 2))
    assert one.details == two.details
    for name in ("images.parquet", "labels.parquet", "findings.csv"):
        assert (tmp_path / "o1" / name).read_bytes() == (tmp_path / "o2" / name).read_bytes()


PLANTED = "Plantedname"


def test_no_output_names_a_patient(surgery, tmp_path, monkeypatch, capsys):  # noqa: F811
    """Everything that init, check, inspect and info print or write is searched for a planted name."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PATH_STROMA_CACHE", str(tmp_path / "out" / "cache"))
    monkeypatch.setenv("PATH_Tivita_tiny", str(surgery.root))
    folder = cube_of(surgery).parent
    (folder / f"{STAMP}.xml").write_text(f"<a><b name='PatientName'>{PLANTED}</b></a>")
    (folder / f"{PLANTED}.xml").write_text(f"<a><b name='PatientName'>{PLANTED}</b></a>")
    board = surgery.root / "data" / "extra_technical_validation" / "board"
    board.mkdir(parents=True)
    (board / f"{PLANTED}.xml").write_text(f"<a><b name='PatientName'>{PLANTED}</b></a>")
    (folder / f"{STAMP}_meta.log").write_text(f"[Camera]\nCamID = 1\n[Patient]\nName = {PLANTED}\nID = {PLANTED}\n")
    meta = {"label_meta": {"liver": {"patient_name": PLANTED, "situs": 1}}, "PatientBirthDate": PLANTED}
    (folder / "annotations" / f"{STAMP}_meta.json").write_text(json.dumps(meta))
    tables = surgery.root / "intermediates" / "tables"
    tables.mkdir(parents=True)
    pl.DataFrame({"image_name": [FIRST], "Patient Comments": [PLANTED], "ethics": ["yes"]}).write_ipc(
        tables / "tiny@meta.feather"
    )
    study, out = tmp_path / "out" / "study.yaml", tmp_path / "out"
    assert run(["init", str(surgery.root), "-o", str(study)]) == 0
    assert run(["check", str(study), "-o", str(out)]) == 0
    assert run(["check", str(study), "--json"]) == 0
    for path in (surgery.root, folder, folder / f"{STAMP}.xml", tables / "tiny@meta.feather", study):
        run(["inspect", str(path)])
    assert run(["info", "--open"]) == 0
    printed = capsys.readouterr()
    assert PLANTED not in printed.out + printed.err
    written = [path for path in out.rglob("*") if path.is_file()]
    assert {"study.yaml", "catalog.parquet", "findings.csv", "report.html"} <= {path.name for path in written}
    for path in written:
        assert PLANTED.encode() not in path.read_bytes(), path
        if path.suffix == ".parquet":
            assert PLANTED not in str(pl.read_parquet(path).to_dicts()), path
    places = [line for line in printed.out.splitlines() if line.startswith("identifier:")]
    assert any(f"{folder.name}/*.xml is a patient file" in line for line in places)
    assert any("extra_technical_validation/board/*.xml is a patient file" in line for line in places)
    assert any("_meta.log has Patient_ID, Patient_Name" in line for line in places)
    assert any("_meta.json has PatientBirthDate, patient_name" in line for line in places)
    assert any("tiny@meta.feather has the columns Patient Comments" in line for line in places)
