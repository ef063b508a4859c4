"""Every inconsistency that recordings of a Tivita camera are known for is told with its file and the value."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from stroma.core.errors import InvalidData
from stroma.images import write_cube
from stroma.prepare.check import CheckOptions, check
from stroma.study import open_study
from stroma.study.htc.blosc_file import write_htc_blosc

TIME = "2021_04_15_09_22_01"
LABELS = "labels: {names: [liver, spleen]}\n"
SETTINGS = {
    "shape": [480, 640, 2],
    "shape_names": ["height", "width", "channels"],
    "label_mapping": {"liver": 0, "spleen": 1, "unlabeled": 255},
    "last_valid_label_index": 1,
}


class Tree:
    """One recording of a first-generation camera: cube, framed picture, log, one mask."""

    def __init__(self, root):
        self.root, self.data = root, root / "data ü #1"
        self.folder = self.data / "data" / "subjects" / "P001" / TIME
        self.cube_file = self.folder / f"{TIME}_SpecCube.dat"
        (self.folder / "annotations").mkdir(parents=True)
        (self.data / "data" / "dataset_settings.json").write_text(json.dumps(SETTINGS))
        self.cube = np.random.default_rng(0).uniform(0.2, 0.9, (480, 640, 2)).astype(np.float32)
        self.picture = np.full((513, 646, 3), 15, np.uint8)
        self.picture[30:-3, 3:-3] = np.arange(640)[None, :, None] // 3
        self.log = '[Camera]\r\nCamID = "0202-00118"\r\n'
        self.write()
        shutil.copytree(self.folder, self.folder.with_name("2021_04_15_09_22_02"))
        for path in self.folder.with_name("2021_04_15_09_22_02").iterdir():
            path.rename(path.with_name(path.name.replace(TIME, "2021_04_15_09_22_02")))
        self.mask(np.arange(480 * 640).reshape(480, 640) % 640 < 100)
        self.yaml = root / "study.yaml"
        self.yaml.write_text(
            "format: study/1\nname: s\nroot: 'data ü #1'\nlayout: {name: heiporspectral}\n" + LABELS,
            encoding="utf-8",
        )

    def write(self):
        write_cube(self.cube_file, self.cube)
        Image.fromarray(self.picture).save(self.folder / f"{TIME}_RGB-Image.png")
        (self.folder / f"{TIME}_meta.log").write_text(self.log, encoding="cp1252")

    def mask(self, mask, label="liver", annotator="annotator1"):
        name = f"{TIME}#polygon#{annotator}#{label}#binary.png"
        Image.fromarray(mask).save(self.folder / "annotations" / name)

    def patch(self, offset, content):
        data = bytearray(self.cube_file.read_bytes())
        data[offset : offset + len(content)] = content
        self.cube_file.write_bytes(data)


def cut(tree):
    tree.cube_file.write_bytes(tree.cube_file.read_bytes()[:-4])


def longer(tree):
    tree.cube_file.write_bytes(tree.cube_file.read_bytes() + b"0000")


def set_cube(place, value):
    def damage(tree):
        tree.cube[place] = value
        tree.write()

    return damage


def set_picture(place, value):
    def damage(tree):
        tree.picture[place] = value
        tree.write()

    return damage


def small_picture(tree):
    tree.picture = tree.picture[:200, :300]
    tree.write()


def other_shape(tree):
    tree.cube = tree.cube[:100]
    tree.picture = tree.picture[:100, :640]
    tree.write()


def set_log(text):
    def damage(tree):
        tree.log = text
        tree.write()

    return damage


def set_meta(text):
    return lambda tree: (tree.folder / "annotations" / f"{TIME}_meta.json").write_text(text)


def bare_array(tree):
    path = tree.data / "intermediates" / "segmentations" / f"P001#{TIME}.blosc"
    path.parent.mkdir(parents=True)
    write_htc_blosc(path, np.zeros((480, 640), np.uint8))


def segmentation(value, shape=(480, 640), name=f"P001#{TIME}"):
    def damage(tree):
        for path in (tree.folder / "annotations").iterdir():
            path.unlink()
        mask = np.zeros(shape, np.uint8)
        mask[3, 4] = value
        path = tree.data / "intermediates" / "segmentations" / f"{name}.blosc"
        path.parent.mkdir(parents=True)
        write_htc_blosc(path, {"semantic#primary": mask})

    return damage


CUBE = "SpecCube.dat"
NEEDED = 12 + 4 * 480 * 640 * 2
DAMAGES = {
    "size: cut": (cut, "error", CUBE, [f"is {NEEDED - 4:,} bytes", f"needs {NEEDED:,}", "640×480×2"]),
    "size: longer": (longer, "error", CUBE, [f"is {NEEDED + 4:,} bytes", f"needs {NEEDED:,}"]),
    "header: side 0": (lambda t: t.patch(0, bytes(4)), "error", CUBE, ["its header says 0×480×2"]),
    "header: negative": (lambda t: t.patch(4, b"\xff" * 4), "error", CUBE, ["its header says 640×-1×2"]),
    "header: huge": (lambda t: t.patch(8, b"\x7f" + b"\xff" * 3), "error", CUBE, ["640×480×2147483647"]),
    "header: other shape": (other_shape, "error", CUBE, ["is 512,012 bytes", "640×480×2 needs"]),
    "NaN": (set_cube((3, 4, 1), np.nan), "error", CUBE, ["no numbers", "1 of 614,400 values"]),
    "infinite": (set_cube((3, 4, 1), -np.inf), "error", CUBE, ["no numbers", "1 of 614,400 values"]),
    "zero pixels": (set_cube((slice(3), 4), 0), "error", CUBE, ["3 of 307,200 pixels are all 0"]),
    "all negative": (set_cube(slice(None), -0.5), "error", CUBE, ["all values are below 0"]),
    "single zeros": (set_cube((3, 4, 1), 0), "warning", CUBE, ["1 of 614,400 values are 0"]),
    "negative pixels": (set_cube((3, 4), -0.5), "warning", CUBE, ["1 of 307,200 pixels are below 0"]),
    "border colour": (
        set_picture((0, 95), 16),
        "error",
        CUBE,
        ["RGB-Image.png", "top border with the value 16", "frame is 15"],
    ),
    "size of the picture": (small_picture, "error", CUBE, ["RGB-Image.png", "200 × 300", "480 × 640"]),
    "unknown camera": (
        set_log("[Camera]\r\nExposure = 1\r\n"),
        "warning",
        "_meta.log",
        ["camera log", "names no camera"],
    ),
    "damaged log": (set_log("nonsense\r\n"), "error", "_meta.log", ["line 1"]),
    "damaged meta file": (set_meta('{"label_meta": '), "error", "_meta.json", ["is not valid JSON"]),
    "meta file without a table": (set_meta("[1, 2]"), "error", "_meta.json", ["holds no table"]),
    "label of the meta file": (
        set_meta('{"label_meta": {"liver": {}, "spleen": {}}}'),
        "warning",
        CUBE,
        ["spleen in its meta file", "in no annotation"],
    ),
    "label outside of image_labels": (
        set_meta('{"image_labels": ["spleen"]}'),
        "warning",
        CUBE,
        ["has liver in polygon#annotator1"],
    ),
    "wrong size of a mask": (lambda t: t.mask(np.ones((48, 64), bool)), "error", "", ["48 × 64", "480 × 640"]),
    "empty mask": (
        lambda t: t.mask(np.zeros((480, 640), bool)),
        "warning",
        "",
        ["polygon#annotator1, which marks no pixel"],
    ),
    "unknown label": (
        lambda t: t.mask(np.ones((480, 640), bool), "livver"),
        "error",
        "",
        ["#livver#binary.png", "'livver'"],
    ),
    "unlabelled index": (segmentation(77), "error", "", ["77"]),
    "segmentation without names": (bare_array, "error", f"P001#{TIME}.blosc", ["no masks by annotation"]),
    "segmentation of no image": (
        segmentation(1, name="P009#2021_04_15_09_22_01"),
        "warning",
        "P009#2021_04_15_09_22_01.blosc",
        ["belongs to no image"],
    ),
    "second cube": (
        lambda t: shutil.copy(t.cube_file, t.folder / "2020_01_01_01_01_01_SpecCube.dat"),
        "error",
        "2020_01_01_01_01_01_SpecCube.dat",
        ["is a second cube beside"],
    ),
    "size of a segmentation": (segmentation(1, (48, 64)), "error", "", ["48 × 64", "480 × 640"]),
}


def findings(tree):
    rows = check(CheckOptions(study=tree.yaml)).details["findings"]
    return [(row["severity"], row["path"], row["message"]) for row in rows]


@pytest.fixture
def tree(tmp_path):
    return Tree(tmp_path)


def test_a_sound_recording_has_no_errors(tree):
    assert [row for row in findings(tree) if row[0] == "error"] == []


@pytest.mark.parametrize("name", DAMAGES)
def test_every_inconsistency_has_its_finding(name, tree):
    damage, severity, ending, fragments = DAMAGES[name]
    damage(tree)
    found = findings(tree)
    matching = [
        row
        for row in found
        if row[0] == severity and row[1].endswith(ending) and all(part in row[2] for part in fragments)
    ]
    assert matching, f"{severity} {ending} {fragments} is not among {found}"
    assert all(path for _, path, _ in matching)
    assert len(matching) == 1


def test_an_image_with_a_damaged_meta_file_is_looked_at_all_the_same(tree):
    set_meta("{")(tree)
    tree.cube[3, 4] = 0
    tree.write()
    found = findings(tree)
    assert {message.partition(":")[0] for severity, _, message in found if severity == "error"} == {
        "is no readable meta file",
        "has empty pixels",
    }


def test_equal_names_stop_with_both_paths(tmp_path):
    tree = Tree(tmp_path)
    other = tree.data / "data" / "overlap" / "subjects" / "P001" / TIME
    other.mkdir(parents=True)
    tree.yaml.write_text(
        "format: study/1\nname: s\nroot: 'data ü #1/data'\nlayout: {name: tivita}\n" + LABELS,
        encoding="utf-8",
    )
    write_cube(other / f"{TIME}_SpecCube.dat", tree.cube)
    (other / f"{TIME}_meta.log").write_text(tree.log, encoding="cp1252")
    with pytest.raises(InvalidData, match=f"two images have the id.*'overlap/.*{TIME}.*' and 'subjects/.*{TIME}"):
        open_study(tree.yaml).catalog  # noqa: B018
