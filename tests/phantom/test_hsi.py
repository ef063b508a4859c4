"""The hyperspectral phantom: files of the real layout, a truth that explains the cube, and the same bytes again."""

import json
from configparser import ConfigParser

import numpy as np
import PIL.Image
import pytest

from stroma.cli.main import run
from stroma.core.errors import ConfigError, OutputConflict
from stroma.core.files import id_to_name
from stroma.images.tivita import read_cube, tivita_wavelengths
from stroma.phantom.hsi import PhantomHsiOptions, phantom_hsi
from stroma.phantom.hsi_annotation import annotate
from stroma.phantom.hsi_organs import ORGANS, Composition
from stroma.phantom.shapes import Canvas
from stroma.spectra.optics import TissueOptics

HEIGHT, WIDTH, CHANNELS = 60, 80, 25
NAMES = [organ.name for organ in ORGANS]
FIRST = "P001/2024_01_01_08_00_00"


def options(output, **more):
    small = {"subjects": 2, "images": 2, "height": HEIGHT, "width": WIDTH, "channels": CHANNELS}
    return PhantomHsiOptions(**{"output": output, **small, **more})


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    folder = tmp_path_factory.mktemp("phantom") / "Phantom ä #1"
    result = phantom_hsi(options(folder))
    assert (result.done, result.skipped, result.exit_code) == (4, 0, 0)
    return folder


def contents(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def truth_of(study, image_id="P001#2024_01_01_08_00_00"):
    folder = study / "truth" / id_to_name(image_id)
    maps = {name: np.load(folder / f"{name}.npy").astype(np.float32) for name in Composition.names()[:-1]}
    return np.asarray(PIL.Image.open(folder / "labels.png")), maps


def annotation_of(study, image, annotator):
    labels = {}
    for path in (study / "data" / "subjects" / image / "annotations").glob(f"*#{annotator}#*#binary.png"):
        labels[path.name.split("#")[3]] = np.asarray(PIL.Image.open(path))
    return labels


def test_folders_and_files_are_those_of_heiporspectral(study):
    files = {path.name for path in (study / "data" / "subjects" / FIRST).iterdir()}
    time = FIRST.split("/")[1]
    assert files == {f"{time}_SpecCube.dat", f"{time}_RGB-Image.png", f"{time}_meta.log", "annotations"}
    assert sorted(p.name for p in (study / "data" / "subjects").iterdir()) == ["P001", "P002"]
    assert read_cube(study / "data" / "subjects" / FIRST / f"{time}_SpecCube.dat").shape == (HEIGHT, WIDTH, CHANNELS)


def test_settings_have_contiguous_labels_and_the_shape_of_the_cubes(study):
    settings = json.loads((study / "data" / "dataset_settings.json").read_text(encoding="utf-8"))
    assert settings["shape"] == [HEIGHT, WIDTH, CHANNELS]
    mapping = settings["label_mapping"]
    assert [mapping[name] for name in NAMES] == list(range(len(NAMES)))
    assert settings["last_valid_label_index"] == len(NAMES) - 1
    assert (mapping["overlap"], mapping["unlabeled"]) == (254, 255)


def test_the_camera_log_is_an_ini_file_in_cp1252(study):
    log = next((study / "data" / "subjects" / FIRST).glob("*_meta.log"))
    parser = ConfigParser()
    parser.optionxform = str
    parser.read(log, encoding="cp1252")
    assert parser["Camera"]["CamID"] == '"0202-00118"'
    assert "für" in parser["Aufnahme"]["Aufnahmemodus"]


def test_masks_are_one_bit_disjoint_and_inside_the_true_organs(study):
    truth, _ = truth_of(study)
    masks = annotation_of(study, FIRST, "annotator1")
    assert len(masks) >= 4
    assert sum(mask.astype(int) for mask in masks.values()).max() == 1
    for name, mask in masks.items():
        assert mask.dtype == bool
        assert set(np.unique(truth[mask])) == {NAMES.index(name)}
    meta = json.loads(
        next((study / "data" / "subjects" / FIRST / "annotations").glob("*_meta.json")).read_text("utf-8")
    )
    assert set(masks) <= set(meta["label_meta"]) <= set(meta["image_labels"])


def test_a_second_annotator_sees_the_first_image_of_each_subject(study):
    for image, expected in ((FIRST, True), ("P001/2024_01_01_08_05_00", False), ("P002/2024_01_02_08_00_00", True)):
        assert bool(annotation_of(study, image, "annotator2")) is expected


def test_the_truth_explains_the_cube(study):
    """What optics says of the true composition is the measured spectrum, but for light, gloss and noise."""
    time = FIRST.split("/")[1]
    cube = read_cube(study / "data" / "subjects" / FIRST / f"{time}_SpecCube.dat")
    labels, maps = truth_of(study)
    optics = TissueOptics(tivita_wavelengths(CHANNELS))
    for index in set(np.unique(labels)) - {255, NAMES.index("skin")}:
        inside = labels == index
        expected = optics.reflectance(**{key: values[inside] for key, values in maps.items()})
        measured = cube[inside]
        explained = [np.corrcoef(a, b)[0, 1] for a, b in zip(expected, measured, strict=True)]
        assert np.median(explained) > 0.99


def test_fractions_are_fractions_and_cloth_has_none(study):
    labels, maps = truth_of(study)
    for name in ("blood", "oxygenation", "water", "fat"):
        tissue = np.isfinite(maps[name])
        assert tissue[labels != 255].all()
        assert 0 <= maps[name][tissue].min() < maps[name][tissue].max() <= 1


def test_two_images_of_a_subject_show_all_organs(study):
    shown = set()
    for image_id in ("P001#2024_01_01_08_00_00", "P001#2024_01_01_08_05_00"):
        shown |= set(np.unique(truth_of(study, image_id)[0]))
    assert shown - {255} == set(range(len(NAMES)))


def test_the_same_seed_gives_the_same_bytes_with_two_processes(study, tmp_path):
    phantom_hsi(options(tmp_path, workers=2))
    assert contents(tmp_path) == contents(study)


def test_more_subjects_and_images_leave_the_others_as_they_were(study, tmp_path):
    phantom_hsi(options(tmp_path, subjects=1, images=1))
    before = contents(tmp_path)
    result = phantom_hsi(options(tmp_path, subjects=1, images=2))
    assert (result.done, result.skipped) == (1, 1)
    after = contents(tmp_path)
    assert before.items() <= after.items() <= contents(study).items()


def test_another_seed_gives_other_images(study, tmp_path):
    phantom_hsi(options(tmp_path, subjects=1, images=1, seed=1))
    ours, theirs = contents(tmp_path), contents(study)
    assert not any(ours[name] == theirs[name] for name in ours if name.endswith((".dat", ".npy", "labels.png")))


def test_pairs_show_the_same_organs_with_less_oxygen_in_the_second(study, tmp_path):
    phantom_hsi(options(tmp_path, images=4, subjects=1, ischaemia=0.3))
    names = [f"P001#2024_01_01_08_{5 * i:02d}_00" for i in range(4)]
    states = [
        json.loads((tmp_path / "data/subjects/P001" / n[5:] / "annotations" / f"{n[5:]}_meta.json").read_text())
        for n in names
    ]
    assert [meta["perfusion_state"] for meta in states] == ["perfused", "ischaemic"] * 2
    truths = [truth_of(tmp_path, name) for name in names]
    for (before, maps), (after, less) in (truths[:2], truths[2:]):
        assert set(np.unique(before)) == set(np.unique(after))
        assert np.nanmedian(maps["oxygenation"]) - np.nanmedian(less["oxygenation"]) == pytest.approx(0.3, abs=0.12)
        assert np.nanmin(less["oxygenation"]) >= 0.0199
    assert set(np.unique(truths[0][0])) != set(np.unique(truths[2][0]))
    first = contents(study)
    assert (
        not any("perfusion_state" in key for key in first)
        and b"ischaemia" not in first["P001%232024_01_01_08_00_00.done.json"]
    )
    with pytest.raises(ValueError, match="two images or more"):
        options(tmp_path, images=1, ischaemia=0.3)


def test_a_missing_or_cut_file_is_made_again(tmp_path):
    small = options(tmp_path, subjects=1, images=1)
    phantom_hsi(small)
    whole = contents(tmp_path)
    cube = next(tmp_path.rglob("*_SpecCube.dat"))
    cube.write_bytes(cube.read_bytes()[:1000])
    assert phantom_hsi(small).done == 1
    assert contents(tmp_path) == whole


def test_other_settings_in_the_same_folder_are_an_error_unless_they_replace(tmp_path):
    phantom_hsi(options(tmp_path, subjects=1, images=1))
    other = {"subjects": 1, "images": 1, "seed": 3}
    before = contents(tmp_path)
    with pytest.raises(OutputConflict, match="seed was 0, is 3"):
        phantom_hsi(options(tmp_path, **other))
    assert contents(tmp_path) == before
    assert phantom_hsi(options(tmp_path, **other, overwrite=True)).done == 1


def test_replacing_leaves_nothing_of_the_old_phantom(study, tmp_path):
    phantom_hsi(options(tmp_path, seed=5))
    phantom_hsi(options(tmp_path, overwrite=True))
    ours = contents(tmp_path)
    assert ours == contents(study)


def test_replacing_some_images_only_is_an_error(tmp_path):
    phantom_hsi(options(tmp_path))
    before = contents(tmp_path)
    with pytest.raises(OutputConflict, match="would stay beside"):
        phantom_hsi(options(tmp_path, subjects=1, seed=1, overwrite=True))
    assert contents(tmp_path) == before


def test_fewer_images_of_the_same_phantom_leave_the_others(study):
    result = phantom_hsi(options(study, subjects=1))
    assert (result.done, result.skipped) == (0, 2)


def test_a_dry_run_writes_nothing(tmp_path):
    result = phantom_hsi(options(tmp_path / "new", dry_run=True))
    assert result.summary == {"images": 4, "to do": 4}
    assert not (tmp_path / "new").exists()


def test_a_file_in_the_way_is_an_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputConflict, match="is a file"):
        phantom_hsi(options(tmp_path / "file"))


def test_upright_pictures_and_few_channels_work(tmp_path):
    phantom_hsi(options(tmp_path, subjects=1, images=1, height=64, width=40, channels=8))
    assert read_cube(next(tmp_path.rglob("*_SpecCube.dat"))).shape == (64, 40, 8)


def test_the_command_line_makes_a_phantom(tmp_path, capsys):
    arguments = ["phantom", "hsi", str(tmp_path / "out"), "--subjects", "1", "--images", "1", "--height", "40"]
    assert run([*arguments, "--width", "48", "--channels", "10"]) == 0
    assert "1 done" in capsys.readouterr().out
    assert run(["phantom", "hsi", str(tmp_path / "out"), "--height", "3"]) == ConfigError("").exit_code
    assert run(["phantom", "hsx", str(tmp_path / "out")]) == 2


def test_annotators_keep_away_from_borders_and_leave_out_slivers():
    truth = np.full((100, 100), 255, np.uint8)
    truth[10:60, 10:60] = 0
    truth[10:60, 60:90] = 1
    truth[80, 10:90] = 2
    labels = annotate(np.random.default_rng(0), Canvas(100, 100), truth)
    assert set(np.unique(labels)) == {0, 1, 255}
    assert np.all(labels[:, 59:61] == 255)
    np.testing.assert_array_equal(labels[labels != 255], truth[labels != 255])


def test_two_hands_nearly_agree():
    truth = np.full((240, 240), 255, np.uint8)
    truth[30:200, 40:200] = 0
    first, second = (annotate(np.random.default_rng(i), Canvas(240, 240), truth) == 0 for i in (0, 1))
    assert 0.95 < 2 * (first & second).sum() / (first.sum() + second.sum()) < 1


def test_a_shift_moves_the_outlines_right_and_down():
    truth = np.full((100, 100), 255, np.uint8)
    truth[20:60, 20:60] = 0
    straight = annotate(np.random.default_rng(0), Canvas(100, 100), truth)
    moved = annotate(np.random.default_rng(0), Canvas(100, 100), truth, shift=(0.05, 0.02))
    np.testing.assert_array_equal(moved[2:, 5:], straight[:-2, :-5])
