"""What docs/annotations.md says is lost on the way through each format: this much, and nothing else."""

import json
from dataclasses import replace
from pathlib import Path

import imagecodecs
import numpy as np
import PIL.Image
import pytest
import shapely
import tifffile

from stroma.prepare.annotation_options import AnnotationConvertOptions, AnnotationImportOptions
from stroma.prepare.annotation_table import read_annotation_table
from stroma.prepare.annotations import TABLE_FILE, convert_annotations, import_annotations
from stroma.regions.annotation import Annotation
from stroma.regions.coordinates import read_coordinates_csv
from stroma.regions.geojson import read_geojson, write_geojson
from stroma.regions.mask_files import write_mask_pyramid
from stroma.regions.masks import read_mask
from stroma.regions.outlines import polygons_from_mask
from stroma.regions.polygons import mask_from_polygons
from tests.same_annotation import same_annotation

HEIGHT, WIDTH = 60, 80
RING = shapely.Polygon(shapely.box(10, 10, 40, 30).exterior, [shapely.box(15, 15, 20, 20).exterior])
OBJECTS = [
    Annotation(
        RING, label="tumor", name="first", colour=(200, 0, 0), measurements={"area": 575.5}, metadata={"note": "ä"},
        identifier="0f8b1c9e-0000-4000-8000-000000000001", locked=True,
    ),
    Annotation(shapely.Polygon([(50.12345, 40), (60, 41.5), (55, 50.98765)]), label="stroma"),
    Annotation(shapely.box(62, 40, 66, 44), label="stroma"),
    Annotation(shapely.box(66, 40, 70, 44), label="stroma"),
]  # fmt: skip
"""A hole, digits after the third, and two objects of a class that touch."""


@pytest.fixture
def image(tmp_path) -> Path:
    path = tmp_path / "images" / "a.tif"
    path.parent.mkdir()
    tifffile.imwrite(path, np.zeros((HEIGHT, WIDTH, 3), np.uint8), photometric="rgb", metadata=None)
    return path


def through(image: Path, to: str, suffix: str, objects=OBJECTS, **back) -> list[Annotation]:
    """Write objects in a format and read them back."""
    folder = image.parents[1]
    write_geojson(folder / "in" / "a.geojson", objects, decimals=None)
    options = {"inputs": (folder / "in",), "output": folder / to, "images": (image,), "label": ("tumor", "stroma")}
    result = convert_annotations(AnnotationConvertOptions(to=to, **options))
    assert not result.failed
    files = sorted((folder / to).glob(f"*{suffix}"))
    found = []
    for file in files:
        given = {"label": ("tumor", "stroma")} | {k: v(file) if callable(v) else v for k, v in back.items()}
        read = AnnotationImportOptions(inputs=(file,), output=folder / f"back-{file.name}", images=(image,), **given)
        assert not import_annotations(read).failed
        (read_back,) = read_annotation_table(folder / f"back-{file.name}" / TABLE_FILE).values()
        found += read_back
    return found


def drawn(objects, label: str) -> np.ndarray:
    return mask_from_polygons([o.geometry for o in objects if o.label == label], 0, 0, WIDTH, HEIGHT)


def assert_pixels_survive(found) -> None:
    for label in ("tumor", "stroma"):
        assert np.array_equal(drawn(found, label), drawn(OBJECTS, label))


def test_the_table_loses_nothing(image):
    folder = image.parents[1]
    write_geojson(folder / "a.geojson", OBJECTS, decimals=None)
    import_annotations(AnnotationImportOptions(inputs=(folder / "a.geojson",), output=folder / "out"))
    import_annotations(AnnotationImportOptions(inputs=(folder / "out" / TABLE_FILE,), output=folder / "out2"))
    (found,) = read_annotation_table(folder / "out2" / TABLE_FILE).values()
    assert len(found) == len(OBJECTS)
    assert all(same_annotation(one, other) for one, other in zip(found, OBJECTS, strict=True))


def test_geojson_loses_digits_after_the_third(image):
    found = through(image, "geojson", ".geojson")
    assert all(same_annotation(one, other, tolerance_px=5.01e-4) for one, other in zip(found, OBJECTS, strict=True))
    assert not same_annotation(found[1], OBJECTS[1])


def test_coco_loses_names_colours_measurements_and_outlines_with_holes(image):
    found = through(image, "coco", ".json")
    assert [one.label for one in found] == [one.label for one in OBJECTS]
    for one, other in zip(found[1:], OBJECTS[1:], strict=True):
        assert shapely.equals_exact(one.geometry, other.geometry, 0)
    assert_pixels_survive(found)
    assert all(
        (one.name, one.colour, dict(one.measurements), dict(one.metadata)) == (None, None, {}, {}) for one in found
    )


def test_run_lengths_lose_everything_but_pixels_and_join_what_touches(image):
    found = through(image, "rle", ".csv", label=lambda file: (file.stem,))
    assert_pixels_survive(found)
    assert sorted(one.label for one in found) == ["stroma", "stroma", "tumor"]


def test_masks_of_classes_lose_everything_but_pixels_and_join_what_touches(image):
    found = through(image, "mask", ".png")
    assert_pixels_survive(found)
    assert sorted(one.label for one in found) == ["stroma", "stroma", "tumor"]


def test_masks_of_instances_keep_objects_apart_and_lose_classes(image):
    found = through(image, "instances", ".png", instances=True)
    assert len(found) == len(OBJECTS)
    for one, other in zip(found, OBJECTS, strict=True):
        masks = [mask_from_polygons([a.geometry], 0, 0, WIDTH, HEIGHT) for a in (one, other)]
        assert np.array_equal(*masks)
    assert {one.label for one in found} == {"tumor"}  # the first --label


def test_an_instance_mask_comes_back_as_it_was(tmp_path):
    """Through outlines and GeoJSON: the numbers, gaps between them and all."""
    mask = np.zeros((40, 50), np.uint16)
    mask[2:9, 3:30], mask[9:20, 3:8], mask[30:, 40:], mask[12:14, 20:22] = 7, 300, 65_535, 7
    tifffile.imwrite(tmp_path / "a.tif", mask)
    options = {"instances": True, "label": ("cell",)}
    convert_annotations(
        AnnotationConvertOptions(inputs=(tmp_path / "a.tif",), output=tmp_path / "g", to="geojson", **options)
    )
    (tmp_path / "images").mkdir()
    tifffile.imwrite(tmp_path / "images" / "a.tif", np.zeros((40, 50, 3), np.uint8), photometric="rgb")
    convert_annotations(
        AnnotationConvertOptions(
            inputs=(tmp_path / "g",), output=tmp_path / "m", to="instances", images=(tmp_path / "images",), **options
        )
    )
    assert np.array_equal(read_mask(tmp_path / "m" / "a.png"), mask)


def test_what_masks_cannot_hold_is_counted(image):
    folder = image.parents[1]
    objects = [
        *OBJECTS,
        Annotation(shapely.Point(3, 3), label="tumor"),
        Annotation(shapely.box(5.1, 5.1, 5.3, 5.3), label="tumor"),
        Annotation(shapely.box(1, 1, 4, 4), label="Ignore*"),
    ]
    write_geojson(folder / "in" / "a.geojson", objects)
    notes = {}
    for to in ("mask", "rle"):
        options = {
            "inputs": (folder / "in",),
            "output": folder / to,
            "images": (image,),
            "label": ("tumor", "stroma"),
        }
        notes[to] = "\n".join(convert_annotations(AnnotationConvertOptions(to=to, **options)).lines)
        assert "1 points and lines have no area" in notes[to]
        assert "1 objects lie between the centres of pixels" in notes[to]
    assert "1 objects have no class or an ignored one" in notes["rle"]
    assert read_mask(folder / "mask" / "a.png")[2, 2] == 255  # not annotated


def test_a_pyramid_of_objects_keeps_their_numbers(tmp_path):
    shapes = [shapely.box(3, 3, 30, 40), shapely.box(600, 700, 900, 1100)]
    path = write_mask_pyramid(tmp_path / "m.tiff", shapes, [1, 70_000], (1300, 1100), dtype=np.uint32)
    mask = read_mask(path)
    assert np.unique(mask).tolist() == [0, 1, 70_000]
    assert int((mask == 70_000).sum()) == 300 * 400
    values, again = polygons_from_mask(mask)
    assert values.tolist() == [1, 70_000]
    assert all(one.equals(other) for one, other in zip(again, shapes, strict=True))


def test_coordinates_of_htc_lose_nothing_but_holes(tmp_path):
    for centre in (0.0, 0.5):
        path, corners = tmp_path / f"{centre}.csv", np.asarray(OBJECTS[1].geometry.exterior.coords)[:-1]
        path.write_text("".join(f"{x + centre - 0.5!r},{y + centre - 0.5!r}\n" for x, y in corners.tolist()))
        assert shapely.equals_exact(read_coordinates_csv(path, pixel_centre=centre), OBJECTS[1].geometry, 1e-9)


@pytest.mark.parametrize("kind", ["index", "palette", "grey-rgb", "bmp", "tiff", "npy"])
def test_masks_of_classes_of_every_kind_are_read_alike(tmp_path, kind):
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[5:20, 7:30], mask[20:33, 7:11] = 1, 2
    paths = {"bmp": "a.bmp", "tiff": "a.tif", "npy": "a.npy"}
    path = tmp_path / "in" / paths.get(kind, "a.png")
    path.parent.mkdir()
    if kind == "npy":
        np.save(path, mask)
    elif kind == "tiff":
        tifffile.imwrite(path, mask, compression="deflate")
    else:
        picture = PIL.Image.fromarray(np.repeat(mask[..., None], 3, axis=2) if kind == "grey-rgb" else mask)
        if kind == "palette":
            picture = PIL.Image.frombytes("P", picture.size, mask.tobytes())
            picture.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0])
        picture.save(path)
    result = convert_annotations(
        AnnotationConvertOptions(inputs=(path,), output=tmp_path / "out", to="mask", label=("tumor", "stroma"))
    )
    assert (result.summary["objects"], result.failed) == (2, ())
    assert np.array_equal(read_mask(tmp_path / "out" / "a.png"), mask)


def test_both_forms_of_geojson_are_read_alike(tmp_path):
    """A FeatureCollection with a mapping of measurements, and the bare list with a list of them of QuPath 0.2."""
    feature = {
        "type": "Feature",
        "geometry": {"type": "Polygon", "coordinates": [[[1, 1], [9, 1], [9, 9], [1, 1]]]},
        "properties": {"classification": {"name": "Tumor"}, "measurements": {"a": 1.5}},
    }
    old = feature | {"properties": feature["properties"] | {"measurements": [{"name": "a", "value": 1.5}]}}
    (tmp_path / "new.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": [feature]}))
    (tmp_path / "old.json").write_text(json.dumps([old]))
    (new,), (bare,) = read_geojson(tmp_path / "new.geojson"), read_geojson(tmp_path / "old.json")
    assert same_annotation(new, bare)
    packed = imagecodecs.gzip_encode((tmp_path / "new.geojson").read_bytes())
    (tmp_path / "new.geojson.gz").write_bytes(packed)
    assert same_annotation(read_geojson(tmp_path / "new.geojson.gz")[0], new)


def test_one_image_that_cannot_be_written_stops_no_other(image):
    folder = image.parents[1]
    tifffile.imwrite(folder / "images" / "b.tif", np.zeros((HEIGHT, WIDTH, 3), np.uint8), photometric="rgb")
    write_geojson(folder / "in" / "a.geojson", [replace(OBJECTS[1], label=None)])
    write_geojson(folder / "in" / "b.geojson", OBJECTS)
    options = {"inputs": (folder / "in",), "output": folder / "out", "images": (folder / "images",)}
    result = convert_annotations(AnnotationConvertOptions(to="mask", **options))
    assert (result.done, len(result.failed), result.exit_code) == (1, 1, 3)
    assert "object 0 has neither a class nor a name" in result.failed[0].message
    assert (folder / "out" / "b.png").is_file()
