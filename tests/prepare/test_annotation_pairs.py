from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import shapely
import tifffile

from stroma.core.errors import OutputConflict, UsageError
from stroma.prepare.annotation_options import AnnotationConvertOptions
from stroma.prepare.annotation_pairs import AnnotationPairsOptions, make_pairs
from stroma.prepare.annotations import convert_annotations
from stroma.regions.annotation import Annotation
from stroma.regions.geojson import write_geojson
from stroma.regions.masks import read_mask
from stroma.study.study import open_study

HEIGHT, WIDTH = 150, 200
DISC = shapely.Point(70, 60).buffer(30)


@pytest.fixture
def slides(tmp_path) -> Path:
    """One picture of 150 × 200 px at 0.5 µm whose pixels are red where the disc is."""
    rows, columns = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    pixels = np.full((HEIGHT, WIDTH, 3), 255, np.uint8)
    pixels[shapely.contains_xy(DISC, columns, rows)] = (255, 0, 0)
    path = tmp_path / "slides" / "s ä#1.tif"
    path.parent.mkdir()
    tifffile.imwrite(path, pixels, photometric="rgb", resolution=(20_000, 20_000), resolutionunit=3, metadata=None)
    write_geojson(tmp_path / "drawn" / "s ä#1.geojson", [Annotation(DISC, label="disc")], decimals=None)
    return path.parent


def options(slides: Path, **more) -> AnnotationPairsOptions:
    given = {
        "inputs": (slides.parent / "drawn",),
        "images": (slides,),
        "output": slides.parent / "out",
        "tile_px": 64,
    }
    return AnnotationPairsOptions(**(given | more))


def masks(folder: Path) -> dict[str, np.ndarray]:
    return {path.name: read_mask(path) for path in sorted((folder / "masks").rglob("*.png"))}


def test_masks_lie_exactly_on_their_images(slides):
    result = make_pairs(options(slides))
    assert (result.summary["tiles"], result.exit_code) == (12, 0)
    found = masks(slides.parent / "out")
    for name, mask in found.items():
        (path,) = (slides.parent / "out" / "images").rglob(name)
        red = np.asarray(PIL.Image.open(path))[..., 1] == 0
        inside = mask != 255
        assert np.array_equal(mask[inside] == 1, red[inside])
    assert sum((mask == 1).sum() for mask in found.values()) == pytest.approx(DISC.area, rel=0.01)
    assert sum((mask != 255).sum() for mask in found.values()) == HEIGHT * WIDTH


def test_pixels_beyond_the_image_are_not_annotated(slides):
    make_pairs(options(slides))
    corner = masks(slides.parent / "out")["s%20%C3%A4%231_x192_y128_w64_h64.png"]
    assert (corner[: HEIGHT - 128, : WIDTH - 192] == 0).all()
    assert (corner[HEIGHT - 128 :] == 255).all()
    assert (corner[:, WIDTH - 192 :] == 255).all()


def test_tiles_at_another_resolution_cover_more(slides):
    result = make_pairs(options(slides, mpp=1.0))
    assert result.summary["tiles"] == 4
    (mask,) = [m for name, m in masks(slides.parent / "out").items() if "x0_y0_w128_h128" in name]
    assert mask.shape == (64, 64)
    assert (mask == 1).sum() * 4 == pytest.approx(DISC.area, rel=0.02)


def test_run_lengths_give_the_same_pairs_as_outlines(slides):
    drawn, rle = slides.parent / "drawn", slides.parent / "rle"
    convert_annotations(AnnotationConvertOptions(inputs=(drawn,), images=(slides,), output=rle, to="rle"))
    make_pairs(options(slides))
    make_pairs(options(slides, inputs=(rle,), output=slides.parent / "out2", label=("disc",)))
    one, other = masks(slides.parent / "out"), masks(slides.parent / "out2")
    assert one.keys() == other.keys()
    assert all(np.array_equal(one[name], other[name]) for name in one)


def test_the_pairs_are_a_study(slides):
    make_pairs(options(slides))
    study = open_study(slides.parent / "out")
    assert len(study) == 12
    assert study.labels.names == ("background", "disc")
    assert study.subject_known
    assert study.catalog["subject_id"].n_unique() == 1
    assert study.mask(next(iter(study))).shape == (64, 64)


def test_the_study_of_the_pairs_can_be_trained_and_keeps_what_was_edited(slides):
    """Folds as far as the subjects reach (one subject: none), and no later run takes an edited file away."""
    other = slides / "t.png"
    PIL.Image.fromarray(np.zeros((HEIGHT, WIDTH, 3), np.uint8)).save(other)
    write_geojson(slides.parent / "drawn" / "t.geojson", [Annotation(DISC, label="disc")])
    result = make_pairs(options(slides))
    study = open_study(slides.parent / "out")
    assert study.splits().folds == ("fold_0", "fold_1")
    assert result.next == [f"stroma train {slides.parent / 'out' / 'study.yaml'} -o runs/first"]
    path = slides.parent / "out" / "study.yaml"
    edited = path.read_text().replace("name: out", "name: mine")
    path.write_text(edited)
    make_pairs(options(slides))
    assert path.read_text() == edited
    make_pairs(options(slides, overwrite=True))
    assert path.read_text() != edited


def test_what_is_left_out_by_request(slides):
    assert make_pairs(options(slides, only_annotated=True)).summary["tiles"] == 4
    tissue = slides.parent / "tiles" / "tissue" / "s%20%C3%A4%231.png"
    tissue.parent.mkdir(parents=True)
    half = np.zeros((15, 20), np.uint8)
    half[:, :13] = 255  # 130 of 200 px: the third column of tiles has two pixels of tissue
    PIL.Image.fromarray(half).save(tissue)
    result = make_pairs(options(slides, output=slides.parent / "out2", tissue=slides.parent / "tiles"))
    assert result.summary["tiles"] == 6


def test_pixels_outside_can_count_as_not_annotated(slides):
    make_pairs(options(slides, outside="ignore"))
    values = {int(v) for mask in masks(slides.parent / "out").values() for v in np.unique(mask)}
    assert values == {0, 255}
    assert open_study(slides.parent / "out").labels.names == ("disc",)


def test_complete_images_are_skipped_and_changed_ones_not(slides):
    make_pairs(options(slides))
    again = make_pairs(options(slides))
    assert (again.done, again.skipped) == (0, 1)
    with pytest.raises(OutputConflict, match="tile_px"):
        make_pairs(options(slides, tile_px=32))
    write_geojson(slides.parent / "drawn" / "s ä#1.geojson", [Annotation(DISC.buffer(1), label="disc")])
    with pytest.raises(OutputConflict, match="drawn"):
        make_pairs(options(slides))
    assert make_pairs(options(slides, overwrite=True, mpp=1.0)).done == 1
    assert len(masks(slides.parent / "out")) == 4  # none of the tiles of other settings is left


def test_images_are_needed(slides):
    with pytest.raises(UsageError, match="--images"):
        make_pairs(options(slides, images=()))
