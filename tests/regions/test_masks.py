import numpy as np
import PIL.Image
import pytest
import tifffile

from stroma.core.errors import InvalidData, MissingFile, UnreadableImage
from stroma.regions.masks import (
    binary_from_mask,
    check_size,
    grey_from_rgb,
    parse_colour,
    read_mask,
    rgb_to_index,
)

INDEX = np.array([[0, 1, 2], [3, 255, 0]], dtype=np.uint8)


def test_an_index_png_keeps_its_values(tmp_path):
    path = tmp_path / "Maske ä #1, +.png"
    PIL.Image.fromarray(INDEX).save(path)
    assert np.array_equal(read_mask(path), INDEX)


def test_a_palette_png_gives_indices_not_colours(tmp_path):
    image = PIL.Image.fromarray(INDEX, mode="L").convert("P")
    image.putdata(INDEX.ravel().tolist())
    image.putpalette([17] * 768)
    image.save(tmp_path / "palette.png")
    assert np.array_equal(read_mask(tmp_path / "palette.png"), INDEX)


def test_a_one_bit_png_gives_zeros_and_ones(tmp_path):
    PIL.Image.fromarray(INDEX > 0).save(tmp_path / "bit.png")
    mask = read_mask(tmp_path / "bit.png")
    assert mask.dtype == np.uint8
    assert np.array_equal(mask, (INDEX > 0).astype(np.uint8))


def test_16_bit_instance_masks_keep_large_ids(tmp_path):
    ids = np.array([[0, 300], [65535, 7]], dtype=np.uint16)
    PIL.Image.fromarray(ids).save(tmp_path / "ids.png")
    tifffile.imwrite(tmp_path / "ids.tif", ids)
    assert np.array_equal(read_mask(tmp_path / "ids.png"), ids)
    assert np.array_equal(read_mask(tmp_path / "ids.tif"), ids)


def test_level_0_of_a_pyramidal_tiff_is_read(tmp_path):
    mask = np.zeros((64, 96), dtype=np.uint8)
    mask[10:20, 30:50] = 1
    with tifffile.TiffWriter(tmp_path / "p.tif") as writer:
        writer.write(mask, subifds=1, tile=(16, 16), compression="deflate")
        writer.write(mask[::2, ::2], subfiletype=1, tile=(16, 16), compression="deflate")
    assert np.array_equal(read_mask(tmp_path / "p.tif"), mask)


def test_an_opaque_alpha_channel_is_dropped_and_a_transparent_one_refused(tmp_path):
    rgba = np.dstack([np.tile(INDEX[..., None], 3), np.full(INDEX.shape, 255, np.uint8)])
    PIL.Image.fromarray(rgba).save(tmp_path / "opaque.png")
    assert read_mask(tmp_path / "opaque.png").shape == (2, 3, 3)
    rgba[0, 0, 3] = 0
    PIL.Image.fromarray(rgba).save(tmp_path / "clear.png")
    with pytest.raises(InvalidData, match="transparent"):
        read_mask(tmp_path / "clear.png")


def test_jpeg_is_refused_since_it_changes_values(tmp_path):
    PIL.Image.fromarray(INDEX).save(tmp_path / "mask.jpg")
    with pytest.raises(InvalidData, match="JPEG.*PNG"):
        read_mask(tmp_path / "mask.jpg")


def test_broken_and_missing_files_are_named(tmp_path):
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    (tmp_path / "broken.tif").write_bytes(b"II*\x00")
    (tmp_path / "broken.npy").write_bytes(b"no array")
    for name in ("broken.png", "broken.tif", "broken.npy"):
        with pytest.raises(UnreadableImage, match=name):
            read_mask(tmp_path / name)
    with pytest.raises(MissingFile):
        read_mask(tmp_path / "none.png")


def test_fractions_are_no_mask(tmp_path):
    np.save(tmp_path / "p.npy", np.array([[0.5]]))
    with pytest.raises(InvalidData, match="float64"):
        read_mask(tmp_path / "p.npy")


def test_a_pickled_npy_is_not_loaded(tmp_path):
    np.save(tmp_path / "o.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(UnreadableImage):
        read_mask(tmp_path / "o.npy")


def test_colours_become_indices_and_unknown_ones_an_error():
    mask = np.zeros((2, 2, 3), dtype=np.uint8)
    mask[0, 1] = (255, 0, 0)
    mask[1, 0] = (0, 128, 255)
    table = {"#000000": 255, "255,0,0": 0, "#0080FF": 1}
    assert rgb_to_index(mask, table).tolist() == [[255, 0], [1, 255]]
    with pytest.raises(InvalidData, match="#0080ff.*x=0, y=1"):
        rgb_to_index(mask, {"#000000": 255, "#ff0000": 0})
    with pytest.raises(InvalidData, match="stands for"):
        rgb_to_index(mask, {"#f00": 1, "255,0,0": 2})


@pytest.mark.parametrize("text", ["red", "#12", "1,2", "256,0,0", "#gg0000", "-1,2,3", "1,2,²"])
def test_what_is_no_colour_is_said(text):
    with pytest.raises(InvalidData, match="is no colour"):
        parse_colour(text)


def test_binary_masks_have_one_value_inside():
    assert binary_from_mask(np.array([[0, 255]], np.uint8)).tolist() == [[False, True]]
    assert binary_from_mask(np.array([[0, 1]], np.uint8)).tolist() == [[False, True]]
    assert not binary_from_mask(np.zeros((2, 2), np.uint8)).any()
    with pytest.raises(InvalidData, match="2 values besides 0"):
        binary_from_mask(np.array([[0, 1, 2]], np.uint8))
    for colour in ([1, 2, 3], [1, 1, 3], [1, 2, 1], [1, 2, 2]):
        with pytest.raises(InvalidData, match="colour"):
            grey_from_rgb(np.array([[colour]], np.uint8))


@pytest.mark.parametrize("planar", [True, False])
@pytest.mark.parametrize("shape", [(5, 7), (3, 7), (4, 7)])
def test_planes_of_a_colour_tiff_may_come_one_after_the_other(tmp_path, shape, planar):
    colours = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    stored, kind = (np.moveaxis(colours, 2, 0), "separate") if planar else (colours, "contig")
    tifffile.imwrite(tmp_path / "m.tif", stored, photometric="rgb", planarconfig=kind)
    np.testing.assert_array_equal(read_mask(tmp_path / "m.tif"), colours)


def test_a_mask_of_another_size_is_told_with_both_sizes():
    with pytest.raises(InvalidData, match="2 × 3.*480 × 640"):
        check_size(INDEX, 480, 640, where="m.png")
