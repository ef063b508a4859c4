"""Masks of colour checkers: htc's file names and values, drawn ones by the names of their labels, chip spectra."""

import numpy as np
import pytest
from PIL import Image

from stroma.core.errors import InvalidData, MissingFile
from stroma.regions.nrrd import LayeredMask, MaskLabel, write_mitk_nrrd
from stroma.spectra.colour_boards import BOARDS
from stroma.spectra.colour_masks import chip_mask_name, chip_rows, find_chip_mask, read_chip_mask, write_chip_mask

CLASSIC = BOARDS["cc_classic"]
MASK = np.repeat(np.repeat(np.arange(24, dtype=np.uint8).reshape(4, 6) + 1, 5, 0), 5, 1)


def test_boards():
    assert CLASSIC.chips[:2] == ("dark_skin", "light_skin")
    assert CLASSIC.chips[18] == "white"
    np.testing.assert_array_equal(CLASSIC.rgb[0, 3, 5], [0x34] * 3)
    assert (BOARDS["cc_passport"].fields, len(BOARDS["cc_passport"].chips)) == (2, 48)
    assert BOARDS["cc_passport"].chips[24] == "confetti"


def test_what_is_written_is_read_and_is_named_as_in_htc(tmp_path):
    name = chip_mask_name("2022_12_25_20_37_40", CLASSIC)
    assert name == "2022_12_25_20_37_40#squares#automask#cc_classic.png"
    (tmp_path / "annotations").mkdir()
    write_chip_mask(tmp_path / "annotations" / name, MASK, CLASSIC)
    found = read_chip_mask(tmp_path)
    np.testing.assert_array_equal(found.mask, MASK)
    assert found.board is CLASSIC
    with Image.open(found.path) as picture:  # as htc reads it
        np.testing.assert_array_equal(np.array(picture), MASK)


def test_integer_png_of_htc(tmp_path):
    path = tmp_path / "a#squares#automask#cc_classic.png"
    Image.fromarray(MASK.astype(np.uint16)).save(path)
    np.testing.assert_array_equal(read_chip_mask(path).mask, MASK)


def test_drawn_masks_go_by_the_names_of_their_labels(tmp_path):
    drawn = np.zeros((1, 8, 9), np.uint16)
    drawn[0, :4], drawn[0, 4:] = 7, 2
    labels = ((MaskLabel(7, "white", (1, 2, 3)), MaskLabel(2, "02_light_skin", (3, 2, 1))),)
    path = tmp_path / "a#polygon#cc_classic.nrrd"
    write_mitk_nrrd(path, LayeredMask(drawn, labels, (None,)))
    found = read_chip_mask(tmp_path)
    assert found.path == path
    assert set(np.unique(found.mask[:4])) == {19}
    assert set(np.unique(found.mask[4:])) == {2}


def test_what_is_wrong_is_said(tmp_path):
    with pytest.raises(MissingFile, match="no mask of a colour checker"):
        read_chip_mask(tmp_path)
    write_chip_mask(tmp_path / "a#squares#automask#cc_clasic.png", MASK, CLASSIC)
    with pytest.raises(InvalidData, match="'cc_clasic', which is not known.*'cc_classic'"):
        read_chip_mask(tmp_path / "a#squares#automask#cc_clasic.png")
    write_chip_mask(tmp_path / "a#squares#automask#cc_classic.png", MASK + 1, CLASSIC)
    with pytest.raises(InvalidData, match="has the value 25, a cc_classic has 24 chips"):
        read_chip_mask(tmp_path)
    write_chip_mask(tmp_path / "b#squares#automask#cc_classic.png", MASK, CLASSIC)
    with pytest.raises(InvalidData, match="2 masks of colour checkers: a#.*b#"):
        find_chip_mask(tmp_path)


def test_spectra_of_chips():
    cube = np.stack([MASK, 2 * MASK, 0 * MASK + 1], axis=2).astype(np.float32)
    mask = np.where(MASK == 5, 0, MASK).astype(np.uint8)
    table = chip_rows(cube, mask, CLASSIC, image_id="a")
    assert table.height == 23
    assert "blue_flower" not in table["label"].to_list()
    row = table.row(6 - 1, named=True)
    assert (row["label"], row["value"], row["row"], row["column"], row["n_pixels"]) == ("orange", 7, 1, 0, 25)
    assert row["nominal"] == "#d67e2c"
    assert row["median_spectrum"] == [7, 14, 1]
    np.testing.assert_allclose(row["median_normalized_spectrum"], np.array([7, 14, 1]) / 22, rtol=1e-6)
    with pytest.raises(InvalidData, match="the mask is"):
        chip_rows(cube, MASK[:3], CLASSIC, image_id="a")
