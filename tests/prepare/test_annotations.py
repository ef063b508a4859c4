import csv
import json
import pickle
import re
from pathlib import Path

import imagecodecs
import numpy as np
import PIL.Image
import polars as pl
import pytest
import shapely
import skimage.draw
import tifffile

from stroma.cli.main import run
from stroma.core.errors import InvalidData, OutputConflict, UsageError
from stroma.core.tables import read_table
from stroma.prepare.annotation_files import ReadRules, read_annotation_file
from stroma.prepare.annotation_images import ImageFacts, Images
from stroma.prepare.annotation_options import (
    AnnotationConvertOptions,
    AnnotationImportOptions,
    AnnotationSummaryOptions,
    parse_labels,
)
from stroma.prepare.annotation_table import read_annotation_table, write_annotation_table
from stroma.prepare.annotations import (
    convert_annotations,
    export_annotations,
    import_annotations,
    summarise_annotations,
)
from stroma.regions.annotation import Annotation
from stroma.regions.coco import read_coco
from stroma.regions.dialects import kind_of
from stroma.regions.geojson import read_geojson, write_geojson
from stroma.regions.masks import read_mask
from stroma.regions.polygons import mask_from_polygons
from tests.same_annotation import same_annotation

SHARED = Path(__file__).parents[3] / "shared" / "data"
RING = shapely.Polygon(shapely.box(10, 10, 40, 30).exterior, [shapely.box(15, 15, 20, 20).exterior])
HEIGHT, WIDTH = 60, 80


@pytest.fixture
def images(tmp_path) -> Path:
    """Two pictures of 60 × 80 px at 0.5 µm."""
    for name in ("a ä", "b#1"):
        path = tmp_path / "images" / f"{name}.tif"
        path.parent.mkdir(exist_ok=True)
        pixels = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
        tifffile.imwrite(
            path, pixels, photometric="rgb", resolution=(20_000, 20_000), resolutionunit=3, metadata=None
        )
    return tmp_path / "images"


@pytest.fixture
def drawn(tmp_path) -> Path:
    """What QuPath exported for them: two classes, a hole, an ignored region, a point."""
    objects = {
        "a ä": [
            Annotation(RING, label="tumor", colour=(200, 0, 0)),
            Annotation(shapely.box(50, 40, 60, 50), label="stroma", name="x"),
        ],
        "b#1": [Annotation(shapely.box(1, 1, 5, 5), label="tumor"), Annotation(shapely.Point(3, 3), label="stroma")],
    }
    for name, annotations in objects.items():
        write_geojson(tmp_path / "drawn" / f"{name}.geojson", annotations)
    return tmp_path / "drawn"


def convert(drawn: Path, output: Path, to: str, **more):
    return convert_annotations(AnnotationConvertOptions(inputs=(drawn,), output=output, to=to, **more))


def test_imported_annotations_lose_nothing(drawn, tmp_path):
    result = import_annotations(AnnotationImportOptions(inputs=(drawn,), output=tmp_path / "out", annotator="me"))
    assert (result.summary["images"], result.summary["objects"], result.exit_code) == (2, 4, 0)
    table = read_annotation_table(tmp_path / "out" / "annotations.parquet")
    assert list(table) == [("a ä", "polygon", "me"), ("b#1", "polygon", "me")]
    for (name, _, _), found in table.items():
        expected = read_geojson(drawn / f"{name}.geojson")
        assert all(same_annotation(*pair) for pair in zip(expected, found, strict=True))
    with pytest.raises(OutputConflict, match="exists"):
        import_annotations(AnnotationImportOptions(inputs=(drawn,), output=tmp_path / "out"))


def test_every_attribute_survives_in_the_table(tmp_path):
    one = Annotation(
        RING, label="l", name="n", colour=(1, 2, 3), kind="cell", measurements={"m": 1.5}, metadata={"k": "v"},
        nucleus=shapely.box(21, 21, 22, 22), identifier="id", plane=(1, 2), locked=True,
    )  # fmt: skip
    path = write_annotation_table(tmp_path / "t.parquet", {("i", "", ""): (one,)}, {})
    assert same_annotation(read_annotation_table(path)[("i", "", "")][0], one)


def test_masks_and_back_give_the_same_masks(drawn, images, tmp_path):
    labels = {"label": ("tumor", "2=stroma"), "images": (images,)}
    result = convert(drawn, tmp_path / "masks", "mask", **labels)
    assert [line for line in result.lines if "1 points and lines" in line]
    mask = read_mask(tmp_path / "masks" / "a%20%C3%A4.png")
    shapes = [RING, shapely.box(50, 40, 60, 50)]
    assert np.array_equal(mask, mask_from_polygons(shapes, 0, 0, WIDTH, HEIGHT, values=[1, 2]))
    convert(tmp_path / "masks", tmp_path / "again", "mask", **labels)
    assert np.array_equal(read_mask(tmp_path / "again" / "a%20%C3%A4.png"), mask)


def test_a_reduced_mask_is_placed_in_level_0_pixels(images, tmp_path):
    small = np.zeros((HEIGHT // 4, WIDTH // 4), np.uint8)
    small[2:5, 3:7] = 1
    (tmp_path / "m").mkdir()
    PIL.Image.fromarray(small).save(tmp_path / "m" / "a ä.png")
    convert(tmp_path / "m", tmp_path / "out", "geojson", images=(images,))
    (found,) = read_geojson(tmp_path / "out" / "a%20%C3%A4.geojson")
    assert found.geometry.bounds == (12, 8, 28, 20)
    PIL.Image.fromarray(small[:-3]).save(tmp_path / "m" / "a ä.png")
    result = convert(tmp_path / "m", tmp_path / "out2", "geojson", images=(images,))
    assert "no reduction" in result.failed[0].message


def test_run_lengths_and_back(drawn, images, tmp_path):
    convert(drawn, tmp_path / "rle", "rle", images=(images,))
    rows = list(csv.DictReader((tmp_path / "rle" / "tumor.csv").open(encoding="utf-8")))
    assert [row["id"] for row in rows] == ["a ä", "b#1"]
    assert rows[1]["encoding"] == "62 4 122 4 182 4 242 4"
    convert(tmp_path / "rle" / "tumor.csv", tmp_path / "back", "geojson", images=(images,), label=("tumor",))
    (ring,) = read_geojson(tmp_path / "back" / "a%20%C3%A4.geojson")
    assert ring.geometry.equals(RING)
    assert ring.label == "tumor"


def test_coco_and_back(drawn, images, tmp_path):
    (drawn / "b#1.geojson").unlink()
    convert(drawn, tmp_path / "coco", "coco", images=(images,))
    (image,) = read_coco(tmp_path / "coco" / "annotations.json")
    assert (image.file_name, image.height, image.width) == ("a ä", HEIGHT, WIDTH)
    assert [a.label for a in image.annotations] == ["tumor", "stroma"]
    convert(tmp_path / "coco", tmp_path / "back", "geojson")
    back = read_geojson(tmp_path / "back" / "a%20%C3%A4.geojson")
    assert back[0].geometry.equals(RING)


class ScannedImages(Images):
    """One slide whose scanned area begins at (1000, 500), as in MRXS files."""

    def match(self, key):
        return key

    def facts(self, image_id):
        return ImageFacts(image_id, "p", (9000, 9000), 0.25, (1000, 500), None)


def test_qupath_counts_from_the_corner_of_the_scanned_area_in_and_out(tmp_path, monkeypatch):
    path = write_geojson(tmp_path / "in" / "s.geojson", [Annotation(shapely.box(10, 20, 30, 40), label="a")])
    monkeypatch.setattr("stroma.prepare.annotation_options.Images", ScannedImages)
    plain = convert(tmp_path / "in", tmp_path / "o", "geojson")
    assert "use --qupath-bounds" in plain.lines[0]
    shifted = import_annotations(
        AnnotationImportOptions(inputs=(path,), output=tmp_path / "t", qupath_bounds=True, layer="l")
    )
    assert shifted.lines == ()
    (found,) = read_annotation_table(tmp_path / "t" / "annotations.parquet")[("s", "l", "")]
    assert found.geometry.bounds == (1010, 520, 1030, 540)
    convert(tmp_path / "t" / "annotations.parquet", tmp_path / "p", "geojson", qupath_bounds=True)
    assert read_geojson(tmp_path / "p" / "s.geojson")[0].geometry.bounds == (10, 20, 30, 40)


def test_sizes_that_are_needed_and_unknown_are_asked_for(drawn, tmp_path):
    for to in ("mask", "rle", "coco"):
        with pytest.raises(UsageError, match="--images"):
            convert(drawn, tmp_path / to, to)


def test_bad_files_fail_by_the_index_of_the_object_and_the_others_go_on(drawn, images, tmp_path):
    far = [Annotation(shapely.box(1, 1, 2, 2), label="tumor"), Annotation(shapely.box(900, 1, 950, 9), label="tumor")]
    write_geojson(drawn / "b#1.geojson", far)
    options = AnnotationImportOptions(inputs=(drawn,), output=tmp_path / "out", images=(images,))
    result = import_annotations(options)
    assert result.exit_code == 3
    assert re.search(r"b#1\.geojson: object 1: lies outside the image of 60 × 80", result.failed[0].message)
    assert (tmp_path / "out" / "failures.parquet").is_file()
    assert len(read_annotation_table(tmp_path / "out" / "annotations.parquet")) == 1


def test_crossing_outlines_are_refused_or_repaired(tmp_path):
    cross = Annotation(shapely.Polygon([(0, 0), (10, 10), (10, 0), (0, 10)]), label="a")
    write_geojson(tmp_path / "in" / "x.geojson", [cross])
    result = convert(tmp_path / "in", tmp_path / "out", "geojson")
    assert "object 0: its outline is not valid" in result.failed[0].message
    assert result.exit_code == 1
    convert(tmp_path / "in", tmp_path / "out", "geojson", repair=True)
    assert read_geojson(tmp_path / "out" / "x.geojson")[0].geometry.area == 50


def test_unknown_classes_are_named(drawn, tmp_path):
    result = convert(drawn, tmp_path / "out", "geojson", label=("tumour", "stroma"))
    assert "object 0: has the unknown class 'tumor'. Did you mean 'tumour'?" in result.failed[0].message


def test_objects_without_class_and_name_get_the_class_that_is_asked_for(images, tmp_path):
    objects = [Annotation(shapely.box(1, 1, 5, 5)), Annotation(shapely.box(10, 1, 15, 5), name="tumor")]
    write_geojson(tmp_path / "in" / "a ä.geojson", objects)
    refused = convert(tmp_path / "in", tmp_path / "no", "mask", images=(images,))
    assert "--unclassified" in refused.failed[0].message
    for unclassified, value in (("stroma", 2), ("Ignore*", 255)):
        out = tmp_path / unclassified.strip("*")
        more = {"images": (images,), "label": ("tumor", "stroma"), "unclassified": unclassified}
        assert not convert(tmp_path / "in", out, "mask", **more).failed
        mask = read_mask(out / "a%20%C3%A4.png")
        assert (mask[2, 2], mask[2, 12], mask[30, 30]) == (value, 1, 0)


def test_many_objects_become_detections(tmp_path):
    many = [Annotation(shapely.box(i, 0, i + 1, 1), label="cell") for i in range(1500)]
    write_geojson(tmp_path / "in" / "x.geojson", many)
    convert(tmp_path / "in", tmp_path / "auto", "geojson")
    assert read_geojson(tmp_path / "auto" / "x.geojson")[7].kind == "detection"
    convert(tmp_path / "in", tmp_path / "same", "geojson", objects="annotation")
    assert read_geojson(tmp_path / "same" / "x.geojson")[7].kind == "annotation"


def test_an_export_tells_its_compressed_file_and_replaces_the_other_form(drawn, tmp_path, monkeypatch):
    (drawn / "b#1.geojson").unlink()
    plain = convert(drawn, tmp_path / "out", "geojson").output
    assert plain.suffix == ".geojson" and plain.is_file()
    monkeypatch.setattr("stroma.regions.geojson.GZIP_BYTES", 10)
    with pytest.raises(OutputConflict):
        convert(drawn, tmp_path / "out", "geojson")
    compressed = convert(drawn, tmp_path / "out", "geojson", overwrite=True).output
    assert compressed == plain.with_name(plain.name + ".gz")
    assert compressed.is_file() and not plain.exists()


def test_htc_file_names_tell_image_layer_annotator_and_label(tmp_path):
    stem = "2021_04_15_09_22_02#polygon#annotator2#liver"
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / f"{stem}#coordinates.csv").write_text("0,0\n4,0\n4,4\n")
    import_annotations(AnnotationImportOptions(inputs=(tmp_path / "in",), output=tmp_path / "out"))
    ((key, (found,)),) = read_annotation_table(tmp_path / "out" / "annotations.parquet").items()
    assert key == ("2021_04_15_09_22_02", "polygon", "annotator2")
    assert found.label == "liver"
    assert found.geometry.bounds == (0.5, 0.5, 4.5, 4.5)


def masks_of(tmp_path, name, pixels):
    (tmp_path / "in").mkdir(exist_ok=True)
    PIL.Image.fromarray(pixels).save(tmp_path / "in" / name)
    return tmp_path / "in"


@pytest.mark.parametrize("centre", [0.0, 0.5])
def test_convention_the_mask_beside_tells_what_coordinates_of_htc_count_from(tmp_path, centre):
    """scikit-image calls the centre of the first pixel 0: the oracle for masks of either convention."""
    points = np.array([[2.2, 1.4], [17.3, 4.1], [12.6, 13.2], [3.7, 11.9]])  # column, row
    inside = skimage.draw.polygon2mask((16, 20), points[:, ::-1] - centre)
    stem = tmp_path / "P086#2021_04_15_09_22_02#polygon#annotator1#liver"
    PIL.Image.fromarray(inside).save(f"{stem}#binary.png")
    Path(f"{stem}#coordinates.csv").write_text("".join(f"{x},{y}\n" for x, y in points))
    (found,) = read_annotation_file(Path(f"{stem}#coordinates.csv"), ReadRules())
    both = import_annotations(AnnotationImportOptions(inputs=(tmp_path,), output=tmp_path / "out"))
    assert both.summary["objects"] == 1  # not once from each file
    assert any("1 masks of htc lie beside their outlines" in line for line in both.lines)
    np.testing.assert_allclose(found.annotations[0].geometry.exterior.coords[:4], points + (0.5 - centre))
    Path(f"{stem}#binary.png").unlink()
    (alone,) = read_annotation_file(Path(f"{stem}#coordinates.csv"), ReadRules())
    np.testing.assert_allclose(alone.annotations[0].geometry.exterior.coords[:4], points + 0.5)


def test_colour_masks_need_a_table(tmp_path):
    pixels = np.zeros((6, 9, 3), np.uint8)
    pixels[1:3, 1:3], pixels[4:6, 5:9] = (255, 0, 0), (0, 0, 255)
    folder = masks_of(tmp_path, "x.png", pixels)
    assert "colour image" in convert(folder, tmp_path / "o", "geojson").failed[0].message
    convert(folder, tmp_path / "o", "geojson", colour=("#ff0000=tumor", "0,0,255=stroma"))
    assert [(a.label, a.geometry.area) for a in read_geojson(tmp_path / "o" / "x.geojson")] == [
        ("tumor", 4),
        ("stroma", 8),
    ]
    failed = convert(folder, tmp_path / "p", "geojson", colour=("#ff0000=tumor",)).failed
    assert "#0000ff (first at x=5, y=4)" in failed[0].message


def test_instance_masks_give_one_object_per_value(tmp_path):
    ids = np.zeros((6, 9), np.uint16)
    ids[1:3, 1:3], ids[1:3, 3:5], ids[5, 0], ids[5, 8] = 300, 7, 9, 9
    convert(masks_of(tmp_path, "x.png", ids), tmp_path / "o", "geojson", instances=True, label=("cell",))
    found = read_geojson(tmp_path / "o" / "x.geojson")
    assert [(a.identifier, a.label, a.geometry.area) for a in found] == [
        ("7", "cell", 4),
        ("9", "cell", 2),
        ("300", "cell", 4),
    ]


def test_segmentations_of_htc(tmp_path):
    mask = np.full((6, 9), 255, np.uint8)
    mask[1:3, 1:3], mask[4:6, 5:9], mask[0, 0] = 0, 3, 254
    frame = imagecodecs.blosc_encode(mask.tobytes(), level=9, compressor="zstd", typesize=1, shuffle="shuffle")
    header = pickle.dumps({"polygon#annotator1": (mask.shape, mask.dtype, len(frame))}, protocol=4)
    (tmp_path / "P086#2021_04_15_09_22_02.blosc").write_bytes(header + frame)
    options = AnnotationImportOptions(
        inputs=(tmp_path / "P086#2021_04_15_09_22_02.blosc",), output=tmp_path / "o", label=("0=stomach", "3=liver")
    )
    assert import_annotations(options).exit_code == 0
    ((key, found),) = read_annotation_table(tmp_path / "o" / "annotations.parquet").items()
    assert key == ("P086#2021_04_15_09_22_02", "polygon", "annotator1")
    assert [(a.label, a.geometry.area) for a in found] == [("stomach", 4), ("liver", 8)]
    table = tmp_path / "o" / "annotations.parquet"
    (tmp_path / "images").mkdir()
    PIL.Image.fromarray(mask).save(tmp_path / "images" / "P086#2021_04_15_09_22_02.png")
    again = {"images": (tmp_path / "images",), "label": ("0=stomach", "3=liver"), "to": "mask"}
    export_annotations(AnnotationConvertOptions(inputs=(table,), output=tmp_path / "m", **again))
    drawn = read_mask(tmp_path / "m" / "P086%232021_04_15_09_22_02.png")
    assert np.array_equal(drawn, np.where(mask == 254, 255, mask))


def test_summary_counts_and_densities(drawn, images, tmp_path):
    tissue = tmp_path / "tiles" / "tissue"
    tissue.mkdir(parents=True)
    half = np.zeros((6, 8), np.uint8)
    half[:, :4] = 255
    for name in ("a%20%C3%A4", "b%231"):
        PIL.Image.fromarray(half).save(tissue / f"{name}.png")
    options = AnnotationSummaryOptions(
        inputs=(drawn,), images=(images,), output=tmp_path / "out", tissue=tmp_path / "tiles"
    )
    result = summarise_annotations(options)
    assert result.lines[:2] == ["stroma: 2 objects in 2 images", "tumor: 2 objects in 2 images"]
    objects = read_table(tmp_path / "out" / "objects.parquet", format="objects/1")
    assert objects.filter(pl.col("label") == "tumor")["area_um2"].to_list() == [RING.area * 0.25, 4.0]
    per_image = read_table(tmp_path / "out" / "per_image.parquet")
    row = per_image.row(by_predicate=(pl.col("image_id") == "b#1") & (pl.col("label") == "tumor"), named=True)
    tissue_mm2 = 0.5 * HEIGHT * WIDTH * 0.25 / 1e6
    assert row["density_per_mm2"] == pytest.approx(1 / tissue_mm2)
    assert row["area_share"] == pytest.approx(4.0 / 1e6 / tissue_mm2)


def test_export_takes_tables_and_says_what_else_to_use(drawn, tmp_path):
    import_annotations(AnnotationImportOptions(inputs=(drawn,), output=tmp_path / "out"))
    table = tmp_path / "out" / "annotations.parquet"
    export_annotations(AnnotationConvertOptions(inputs=(table,), output=tmp_path / "q", to="geojson"))
    for name, file in (("a ä", "a%20%C3%A4"), ("b#1", "b%231")):
        expected, found = read_geojson(drawn / f"{name}.geojson"), read_geojson(tmp_path / "q" / f"{file}.geojson")
        assert all(same_annotation(*pair) for pair in zip(expected, found, strict=True))
    with pytest.raises(UsageError, match="annotations convert"):
        export_annotations(AnnotationConvertOptions(inputs=(drawn,), output=tmp_path / "q", to="geojson"))


def test_a_study_is_exported_as_outlines_of_its_masks(tmp_path):
    mask = np.full((20, 30), 255, np.uint8)
    mask[2:6, 3:9], mask[10:15, 3:9] = 0, 1
    for folder, pixels in (("images", np.zeros((20, 30, 3), np.uint8)), ("masks", mask)):
        (tmp_path / folder).mkdir()
        PIL.Image.fromarray(pixels).save(tmp_path / folder / "x.png")
    (tmp_path / "study.yaml").write_text(
        "format: study/1\nname: s\nroot: .\nlabels: {names: [tumor, stroma], colours: {stroma: '#0000ff'}}\n"
        "layout: {name: masks, images: 'images/{id}', masks: 'masks/{id}', kind: mask-index}\n"
    )
    options = AnnotationConvertOptions(inputs=(tmp_path / "study.yaml",), output=tmp_path / "out", to="geojson")
    result = export_annotations(options)
    assert result.exit_code == 0, result.failed
    tumor, stroma = read_geojson(tmp_path / "out" / "x.geojson")
    assert (tumor.label, tumor.geometry.bounds) == ("tumor", (3, 2, 9, 6))
    assert (stroma.label, stroma.colour, stroma.geometry.area) == ("stroma", (0, 0, 255), 30)


def test_the_command_line(drawn, tmp_path, capsys):
    assert run(["annotations", "convert", str(drawn), "-o", str(tmp_path / "o"), "--to", "geojson", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["objects"] == 4
    assert run(["annotations", "summary", str(drawn)]) == 0
    assert "tumor: 2 objects in 2 images" in capsys.readouterr().out
    assert run(["annotations", "convert", str(drawn), "-o", str(tmp_path / "o"), "--to", "geojson"]) == 1
    assert run(["annotations", "convert", str(drawn), "-o", str(tmp_path / "p"), "--to", "geojson", "--dry-run"]) == 0
    assert not (tmp_path / "p").exists()


def test_scripts_for_qupath_are_written_and_never_overwritten_silently(tmp_path, capsys):
    assert run(["annotations", "scripts", "-o", str(tmp_path)]) == 0
    script = tmp_path / "export_project.groovy"
    assert "exportObjectsToGeoJson" in script.read_text()
    assert run(["annotations", "scripts", "-o", str(tmp_path)]) == 0
    script.write_text("mine")
    assert run(["annotations", "scripts", "-o", str(tmp_path)]) == 1
    assert "another content" in capsys.readouterr().err
    assert script.read_text() == "mine"


def test_labels_on_the_command_line():
    assert parse_labels(["a", "7=b", "c"]) == {1: "a", 7: "b", 3: "c"}
    for wrong in (["256=a"], ["x=a"], ["1="], ["a", "1=b"], ["a", "a"]):
        with pytest.raises(UsageError, match="--label"):
            parse_labels(wrong)


def test_dialects_are_told_by_what_files_hold(tmp_path):
    beginnings = {
        "a.json": ('{"type":"FeatureCollection","features":[]}', "geojson"),
        "b.json": ('{"images": [], "annotations": []}', "coco"),
        "c.json": ("[[[1,2],[3,4],[5,6]]]", "polygon-list"),
        "d.csv": ("id,encoding\na,1 2\n", "rle-csv"),
        "e.csv": ("1.5,2\n3,4\n", "coordinates"),
        "f.tsv": ("\tgroup\tcoords_x\tcoords_y\n", "contour-table"),
        "g.NRRD": ("", "nrrd"),
        "h.xml": ("", "xml"),
    }
    for name, (text, kind) in beginnings.items():
        (tmp_path / name).write_text(text)
        assert kind_of(tmp_path / name) == kind
    for name, text in (("i.csv", "name,value,unit\n"), ("j.docx", "")):
        (tmp_path / name).write_text(text)
        with pytest.raises(InvalidData, match="no annotation format"):
            kind_of(tmp_path / name)


@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared data is not beside the checkout")
@pytest.mark.parametrize(
    ("file", "objects"),
    [("qupath_geojson_dlup/qupath05.geojson", 3), ("annotations_histomicstk/sample_contours_df.tsv", 46)],
)
def test_real_files(tmp_path, file, objects):
    result = import_annotations(AnnotationImportOptions(inputs=(SHARED / file,), output=tmp_path, repair=True))
    assert (result.summary["objects"], result.exit_code) == (objects, 0)
