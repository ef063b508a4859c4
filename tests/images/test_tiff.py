"""TIFF and OME-TIFF; tifffile writes, and the arrays written are what must come back."""

from multiprocessing.reduction import ForkingPickler
from pathlib import Path

import numpy as np
import pytest
import tifffile

from stroma.core.errors import UnreadableImage, UsageError
from stroma.images.cache import DECODED
from stroma.images.open import open_image
from stroma.images.tiff import TiffImage

SHARED = Path(__file__).parents[2].parent / "shared" / "data"
RNG = np.random.default_rng(0)
PICTURE = RNG.integers(0, 256, (100, 120, 4), dtype=np.uint8)
STACK = RNG.integers(0, 65536, (5, 100, 120), dtype=np.uint16)
BOXES = [(0, 0, 120, 100), (63, 63, 2, 2), (5, 70, 100, 9), (119, 99, 1, 1)]


def write(path, array, **options):
    tifffile.imwrite(path, array, **options)
    return TiffImage(path)


LAYOUTS = {
    "contiguous": {},
    "strips": {"rowsperstrip": 7, "compression": "lzw"},
    "lzw tiles": {"tile": (64, 48), "compression": "lzw", "predictor": True},
    "lzw big-endian": {"rowsperstrip": 9, "compression": "lzw", "predictor": True, "byteorder": ">"},
    "one strip": {"rowsperstrip": 100, "compression": "zlib"},
    "tiles": {"tile": (64, 48), "compression": "zlib", "predictor": True},
    "tiles big-endian": {"tile": (64, 64), "compression": "zlib", "byteorder": ">"},
    "contiguous big-endian": {"byteorder": ">"},
    "BigTIFF": {"bigtiff": True, "tile": (32, 32)},
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("box", BOXES)
@pytest.mark.parametrize("channels", [None, [4, 0], slice(1, 3)])
def test_a_region_of_a_stack_is_the_crop_of_the_whole(tmp_path, layout, box, channels):
    image = write(tmp_path / "ü #1, a+b@c.tif", STACK, photometric="minisblack", **LAYOUTS[layout])
    x, y, w, h = box
    expected = np.moveaxis(STACK, 0, 2)[y : y + h, x : x + w]
    part = image.read(x, y, w, h, channels=channels)
    np.testing.assert_array_equal(part, expected if channels is None else expected[:, :, channels])
    assert part.dtype == np.uint16
    assert part.dtype.isnative
    assert part.flags.c_contiguous


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("planar", [False, True])
@pytest.mark.parametrize("box", BOXES)
def test_a_region_of_rgb_is_the_crop_of_the_whole(tmp_path, layout, planar, box):
    array, more = PICTURE[:, :, :3], {}
    if planar:
        array, more = np.moveaxis(array, 2, 0), {"planarconfig": "separate"}
    image = write(tmp_path / "a.tif", array, photometric="rgb", **more, **LAYOUTS[layout])
    x, y, w, h = box
    assert image.channels == ("red", "green", "blue")
    assert image.fill == 255
    np.testing.assert_array_equal(image.read(x, y, w, h), PICTURE[y : y + h, x : x + w, :3])
    np.testing.assert_array_equal(image.read(x, y, w, h, channels=[1]), PICTURE[y : y + h, x : x + w, 1:2])


def test_only_the_tiles_of_a_region_are_decoded(tmp_path):
    image = write(tmp_path / "a.tif", PICTURE[:, :, :3], photometric="rgb", tile=(16, 16), compression="zlib")
    with_damage = bytearray(image.path.read_bytes())
    with tifffile.TiffFile(image.path) as tiff:
        page = tiff.pages.first
        start, count = page.dataoffsets[-1], page.databytecounts[-1]
    with_damage[start : start + count] = bytes(count)
    image.path.write_bytes(with_damage)
    np.testing.assert_array_equal(image.read(0, 0, 60, 60), PICTURE[:60, :60, :3])
    with pytest.raises(UnreadableImage):
        image.read(110, 90, 10, 10)


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint32", "float16", "float32", "float64"])
def test_numbers_keep_their_type(tmp_path, dtype):
    array = (RNG.random((40, 30, 7)) * 100).astype(dtype)
    image = write(tmp_path / "a.tif", array, photometric="minisblack", planarconfig="contig")
    assert image.dtype == dtype
    assert image.channels[:2] == ("channel 0", "channel 1")
    np.testing.assert_array_equal(image.read(), array)


def test_one_channel_is_gray(tmp_path):
    image = write(tmp_path / "a.tif", STACK[0])
    assert image.channels == ("gray",)
    np.testing.assert_array_equal(image.read()[:, :, 0], STACK[0])
    odd = write(tmp_path / "b.tif", PICTURE[None, :, :, :1])
    np.testing.assert_array_equal(odd.read(), PICTURE[:, :, :1])


def test_pages_of_one_size_are_channels(tmp_path):
    with tifffile.TiffWriter(tmp_path / "a.tif") as tiff:
        for plane in STACK[:3]:
            tiff.write(plane, photometric="minisblack", metadata=None)
    image = TiffImage(tmp_path / "a.tif")
    assert image.channels == ("channel 0", "channel 1", "channel 2")
    assert image.fill == 0
    np.testing.assert_array_equal(image.read(), np.moveaxis(STACK[:3], 0, 2))


def test_bilevel_becomes_0_and_255(tmp_path):
    image = write(tmp_path / "a.tif", PICTURE[:, :, 0] > 99, photometric="minisblack")
    assert image.dtype == np.uint8
    np.testing.assert_array_equal(image.read()[:, :, 0], (PICTURE[:, :, 0] > 99) * 255)
    inverse = write(tmp_path / "b.tif", PICTURE[:, :, 0] > 99, photometric="miniswhite")
    np.testing.assert_array_equal(inverse.read()[:, :, 0], (PICTURE[:, :, 0] <= 99) * 255)


def test_white_is_zero_is_inverted(tmp_path):
    image = write(tmp_path / "a.tif", PICTURE[:, :, 0], photometric="miniswhite")
    np.testing.assert_array_equal(image.read()[:, :, 0], 255 - PICTURE[:, :, 0])


def test_palette_becomes_rgb(tmp_path):
    colours = RNG.integers(0, 256, (3, 256), dtype=np.uint16) * 257
    image = write(tmp_path / "a.tif", PICTURE[:, :, 0], photometric="palette", colormap=colours)
    assert image.channels == ("red", "green", "blue")
    np.testing.assert_array_equal(image.read(3, 4, 50, 60), (colours >> 8).T[PICTURE[4:64, 3:53, 0]])


@pytest.mark.parametrize(("kind", "premultiplied"), [("unassalpha", False), ("assocalpha", True)])
def test_transparency_is_laid_on_white(tmp_path, kind, premultiplied):
    image = write(tmp_path / "a.tif", PICTURE, photometric="rgb", extrasamples=[kind])
    opacity = PICTURE[:, :, 3:] / 255
    colours = PICTURE[:, :, :3] if premultiplied else PICTURE[:, :, :3] * opacity
    np.testing.assert_array_equal(image.read(), np.rint(np.minimum(255, colours + (1 - opacity) * 255)))


def test_extra_samples_without_meaning_stay_channels(tmp_path):
    image = write(tmp_path / "a.tif", PICTURE, photometric="rgb", extrasamples=["unspecified"])
    assert image.channels == ("red", "green", "blue", "channel 3")
    np.testing.assert_array_equal(image.read(), PICTURE)


def ome(path, array, axes, **more):
    tifffile.imwrite(path, array, photometric="minisblack", ome=True, metadata={"axes": axes, **more})
    return path


@pytest.mark.parametrize(
    ("size", "unit", "mpp"), [(0.25, "µm", 0.25), (250, "nm", 0.25), (2.5e-4, "mm", 0.25), (2500, "Å", 0.25)]
)
def test_ome_pixel_size_is_read_in_its_unit(tmp_path, size, unit, mpp):
    more = {f"PhysicalSize{a}{u}": v for a in "XY" for u, v in (("", size), ("Unit", unit))}
    assert open_image(ome(tmp_path / "a.ome.tif", STACK[0], "YX", **more)).mpp == pytest.approx(mpp)


def test_ome_channel_names(tmp_path):
    names = ["DAPI", "CD3", "CD8", "CD20", "Ki67"]
    image = open_image(ome(tmp_path / "a.ome.tif", STACK, "CYX", Channel={"Name": names}))
    assert isinstance(image, TiffImage)
    assert image.channels == tuple(names)
    np.testing.assert_array_equal(image.read(channels=[image.channel_index("CD8")])[:, :, 0], STACK[2])


def test_a_plane_of_a_stack_is_chosen_and_never_guessed(tmp_path):
    array = RNG.integers(0, 65536, (2, 3, 5, 20, 30), dtype=np.uint16)
    path = ome(tmp_path / "a.ome.tif", array, "TZCYX")
    with pytest.raises(UnreadableImage, match=r"2 planes along t. Choose one: open_image\(path, t=0\)"):
        open_image(path)
    with pytest.raises(UnreadableImage, match="3 planes along z"):
        open_image(path, t=0)
    with pytest.raises(UsageError, match="no z=3"):
        open_image(path, t=0, z=3)
    image = open_image(path, t=1, z=2)
    np.testing.assert_array_equal(image.read(4, 5, 6, 7), np.moveaxis(array[1, 2, :, 5:12, 4:10], 0, 2))


def test_series_are_chosen(tmp_path):
    with tifffile.TiffWriter(tmp_path / "a.ome.tif", ome=True) as tiff:
        tiff.write(STACK[0], metadata={"axes": "YX", "PhysicalSizeX": 1.0, "PhysicalSizeY": 1.0})
        tiff.write(PICTURE[:50, :, 0], metadata={"axes": "YX", "PhysicalSizeX": 2.0, "PhysicalSizeY": 2.0})
    image = TiffImage(tmp_path / "a.ome.tif", series=1)
    assert image.shape == (50, 120, 1)
    assert image.mpp == 2
    with pytest.raises(UsageError, match="no series 2"):
        TiffImage(tmp_path / "a.ome.tif", series=2)


def test_pyramid_in_sub_files(tmp_path):
    path = tmp_path / "a.ome.tif"
    rgb = np.ascontiguousarray(PICTURE[:, :, :3])
    with tifffile.TiffWriter(path, ome=True) as tiff:
        tiff.write(rgb, subifds=2, tile=(32, 32), photometric="rgb", compression="zlib")
        for step in (2, 4):
            tiff.write(rgb[::step, ::step], subfiletype=1, tile=(32, 32), photometric="rgb", compression="zlib")
    image = open_image(path)
    assert isinstance(image, TiffImage)  # OpenSlide would see level 0 alone
    assert [(level.height, level.width, level.downsample) for level in image.levels] == [
        (100, 120, 1),
        (50, 60, 2),
        (25, 30, 4),
    ]
    np.testing.assert_array_equal(image.read(40, 20, 40, 40, level=2), rgb[::4, ::4][5:15, 10:20])


def test_imagej_composites_stay_channels_and_know_their_unit(tmp_path):
    tifffile.imwrite(
        tmp_path / "a.tif", STACK, imagej=True, resolution=(4, 4), metadata={"axes": "CYX", "unit": "um"}
    )
    image = open_image(tmp_path / "a.tif")
    assert len(image.channels) == 5
    assert image.mpp == 0.25
    np.testing.assert_array_equal(image.read(), np.moveaxis(STACK, 0, 2))


@pytest.mark.parametrize(
    ("resolution", "unit", "mpp"),
    [
        ((20_000, 20_000), "centimeter", 0.5),
        ((50_800, 50_800), "inch", 0.5),
        ((72, 72), "inch", None),
        ((300, 300), "inch", None),
        ((4, 4), "none", None),
    ],
)
def test_resolution_tags_count_where_a_microscope_may_have_written_them(tmp_path, resolution, unit, mpp):
    image = write(tmp_path / "a.tif", STACK[0], resolution=resolution, resolutionunit=unit)
    assert image.mpp == (None if mpp is None else pytest.approx(mpp))


def test_pixels_that_are_not_square_need_one_mpp(tmp_path):
    path = ome(tmp_path / "a.ome.tif", STACK[0], "YX", PhysicalSizeX=0.5, PhysicalSizeY=0.52)
    with pytest.raises(UnreadableImage, match="0.5 × 0.52 µm, which are not square"):
        open_image(path)
    assert open_image(path, mpp=0.51).mpp == 0.51
    nearly = ome(tmp_path / "b.ome.tif", STACK[0], "YX", PhysicalSizeX=0.5, PhysicalSizeY=0.504)
    assert open_image(nearly).mpp == pytest.approx(0.502, abs=1e-4)


def test_volumes_and_other_colour_spaces_are_refused_by_name(tmp_path):
    volume = RNG.integers(0, 255, (16, 32, 32), dtype=np.uint8)
    tifffile.imwrite(tmp_path / "v.tif", volume, volumetric=True, tile=(16, 16, 16), photometric="minisblack")
    with pytest.raises(UnreadableImage, match="volumes"):
        open_image(tmp_path / "v.tif")
    tifffile.imwrite(tmp_path / "c.tif", PICTURE, photometric="separated")
    with pytest.raises(UnreadableImage, match="SEPARATED"):
        open_image(tmp_path / "c.tif")


def test_pickled_images_read_the_same(tmp_path):
    image = write(tmp_path / "a.tif", PICTURE[:, :, :3], photometric="rgb", tile=(32, 32), compression="zlib")
    copy = ForkingPickler.loads(ForkingPickler.dumps(image))
    np.testing.assert_array_equal(copy.read(5, 6, 70, 80), PICTURE[6:86, 5:75, :3])


def test_a_result_can_be_written_to_without_harm(tmp_path):
    image = write(tmp_path / "a.tif", STACK[0], compression="zlib", rowsperstrip=100)
    image.read(0, 0, 5, 5)[:] = 0
    np.testing.assert_array_equal(image.read(0, 0, 5, 5)[:, :, 0], STACK[0, :5, :5])


def test_what_was_decoded_in_part_is_kept_and_bounded(tmp_path):
    with write(tmp_path / "a.tif", STACK[0], compression="zlib", rowsperstrip=100) as image:
        before = len(DECODED)
        image.read(0, 0, 5, 5)
        image.read(9, 9, 5, 5)
        assert len(DECODED) == before + 1
    assert len(DECODED) == before


@pytest.mark.parametrize("layout", ["contiguous", "strips", "tiles"])
@pytest.mark.parametrize("keep", [6, 0.3, 0.6, 0.97])
def test_cut_files_are_unreadable_images(tmp_path, layout, keep):
    image = write(tmp_path / "a.tif", STACK, photometric="minisblack", **LAYOUTS[layout])
    content = image.path.read_bytes()
    image.path.write_bytes(content[: keep if keep > 1 else int(keep * len(content))])
    with pytest.raises(UnreadableImage):
        open_image(image.path).read()


@pytest.mark.skipif(not SHARED.is_dir(), reason="needs the shared data")
class TestRealFiles:
    def test_he_field_is_a_tiled_ome_tiff(self):
        image = open_image(SHARED / "he_instanseg" / "HE_example.tif")
        assert isinstance(image, TiffImage)
        assert image.shape == (1484, 1380, 3)
        assert image.mpp == pytest.approx(0.50008, abs=1e-5)
        expected = tifffile.imread(image.path)
        np.testing.assert_array_equal(image.read(300, 400, 300, 200), expected[400:600, 300:600])

    def test_fluorescence_goes_to_the_tiff_reader_with_its_channels(self):
        image = open_image(SHARED / "he_instanseg" / "Fluorescence_example.tif")
        assert isinstance(image, TiffImage)
        assert image.shape == (450, 450, 2)
        assert image.fill == 0
        np.testing.assert_array_equal(image.read(), np.moveaxis(tifffile.imread(image.path), 0, 2))

    def test_mask_of_instances_keeps_its_numbers(self):
        image = open_image(SHARED / "nuclei_stardist_2d" / "mask2d.tif")
        assert len(np.unique(image.read())) == 66  # 65 nuclei and background
