"""Masks as large as slides: never held whole."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import shapely

from stroma.core.errors import InvalidData
from stroma.prepare import annotation_study
from stroma.prepare.annotation_images import Images
from stroma.prepare.index import InitOptions, init
from stroma.regions.mask_files import write_mask_pyramid
from stroma.study import marks
from stroma.study.labels import IGNORE
from stroma.study.layouts import mask_kinds
from stroma.study.study import Study, open_study

from .conftest import write_png

SHAPE = (300, 420)


@pytest.fixture
def whole(tmp_path: Path) -> np.ndarray:
    """Pixels of the mask of the only slide, which lies as a tiled TIFF beside it."""
    root = tmp_path / "data"
    write_png(root / "slides/Fall ü #1.png", np.full((*SHAPE, 3), 200, np.uint8))
    shapes = np.array([shapely.box(10, 20, 90, 50), shapely.box(200, 100, 330, 290)], dtype=object)
    (root / "masks").mkdir()
    write_mask_pyramid(root / "masks/Fall ü #1.tiff", shapes, [1, 255], SHAPE, background=0)
    expected = np.zeros(SHAPE, np.uint8)
    expected[20:50, 10:90] = 1
    expected[100:290, 200:330] = IGNORE
    return expected


@pytest.fixture
def study(whole: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Study:
    path = tmp_path / "study.yaml"
    monkeypatch.setattr(mask_kinds, "_MOST_PX", 50_000)
    monkeypatch.setattr(mask_kinds, "_WINDOW_PX", 64)
    result = init(InitOptions(folder=tmp_path / "data", output=path))
    assert "masks hold the values 0, 1, and 255, taken for 'not annotated'" in result.lines
    for name, value in {"_WHOLE_PX": 50_000, "LARGEST_PX": 100_000, "_WINDOW_PX": 64}.items():
        monkeypatch.setattr(marks, name, value)
    monkeypatch.setattr(annotation_study, "LARGEST_PX", 100_000)
    monkeypatch.setattr(annotation_study, "_WINDOW_PX", 64)
    return open_study(path)


def test_windows_of_large_tiff_masks_are_those_of_the_whole(study: Study, whole: np.ndarray) -> None:
    name = next(iter(study))
    np.testing.assert_array_equal(study.mask_region(name, 5, 15, 100, 60), whole[15:75, 5:105])
    beyond = study.mask_region(name, 400, -10, 50, 40)
    np.testing.assert_array_equal(beyond[10:, :20], whole[:30, 400:])
    assert (beyond[:10] == IGNORE).all() and (beyond[:, 20:] == IGNORE).all()
    np.testing.assert_array_equal(study.mask_region(name, 0, 0, 420, 300, downsample=4), whole[2::4, 2::4])


def test_their_pixels_are_counted_by_window(study: Study, whole: np.ndarray) -> None:
    counted = marks.count_marks(study, next(iter(study)), "mask", "")
    np.testing.assert_array_equal(counted.pixels, np.bincount(whole.ravel(), minlength=256))
    assert counted.size == SHAPE


def test_the_whole_is_refused_with_the_way_out(study: Study) -> None:
    with pytest.raises(InvalidData, match=r"300 × 420 .* too large.*stroma annotations pairs"):
        study.mask(next(iter(study)))


def test_their_outlines_have_the_same_areas(study: Study, whole: np.ndarray) -> None:
    (found,) = annotation_study.study_annotations(study.path, Images())
    areas = {annotation.label: annotation.geometry.area for annotation in found.annotations}
    assert areas == {"class_1": (whole == 1).sum(), "Ignore*": (whole == IGNORE).sum()}
