"""Slides: OpenSlide itself is the oracle, on pyramids written here and on real files."""

import shutil
from functools import cache
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from threading import Thread

import numpy as np
import openslide
import pytest
import tifffile
from PIL import Image as Pillow

from stroma.core.errors import UnreadableImage
from stroma.images.image import Box
from stroma.images.open import open_image
from stroma.images.picture import PictureImage
from stroma.images.slide import SlideImage, _scan_bounds
from stroma.images.tiff import TiffImage

SHARED = Path(__file__).parents[2].parent / "shared" / "data"
HEIGHT, WIDTH = 503, 603  # a quarter of it is 125.75 × 150.75, so OpenSlide's downsample is 4.022


@cache
def tissue(height=HEIGHT, width=WIDTH):
    """Smooth stains with some noise, so that JPEG has chroma to subsample."""
    y, x = np.mgrid[:height, :width]
    waves = [128 + 100 * np.sin(x / a + y / b) for a, b in ((31, 47), (53, 29), (17, 71))]
    noise = np.random.default_rng(0).normal(0, 6, (height, width, 3))
    return np.clip(np.stack(waves, axis=2) + noise, 0, 255).astype(np.uint8)


def pyramid(path, **options):
    """A generic tiled TIFF of two levels."""
    top = tissue()
    levels = [top, np.ascontiguousarray(top[: HEIGHT // 4 * 4 : 4, : WIDTH // 4 * 4 : 4])]
    if options.get("planarconfig") == "separate":
        levels = [np.ascontiguousarray(np.moveaxis(level, 2, 0)) for level in levels]
    with tifffile.TiffWriter(path) as tiff:
        for number, level in enumerate(levels):
            tiff.write(level, tile=(128, 128), subfiletype=int(number > 0), metadata=None, **options)
    return path


KINDS = {
    "jpeg rgb": {"photometric": "rgb", "compression": "jpeg", "compressionargs": {"outcolorspace": "rgb"}},
    "jpeg 4:4:4": {"photometric": "rgb", "compression": "jpeg", "subsampling": (1, 1)},
    "jpeg 4:2:0": {"photometric": "rgb", "compression": "jpeg", "subsampling": (2, 2)},
    "deflate": {"photometric": "rgb", "compression": "zlib"},
    "read by OpenSlide": {"photometric": "rgb", "compression": "zlib", "planarconfig": "separate"},
}


@pytest.fixture(scope="module", params=KINDS)
def kind(request):
    return request.param


@pytest.fixture(scope="module")
def slide_file(kind, tmp_path_factory):
    return pyramid(tmp_path_factory.mktemp("slide") / "Präparat #1, a+b@c.tiff", **KINDS[kind])


def by_openslide(path, level, location, size):
    with openslide.OpenSlide(path) as slide:
        return np.asarray(slide.read_region(location, level, size))[:, :, :3]


def test_own_decoding_gives_the_bytes_of_openslide(slide_file, kind):
    image = open_image(slide_file)
    assert isinstance(image, SlideImage)
    assert (image._planes is None) == (kind == "read by OpenSlide")
    np.testing.assert_array_equal(image.read(), by_openslide(slide_file, 0, (0, 0), (WIDTH, HEIGHT)))
    if image._planes is not None:
        level = image.read(w=600, h=500, level=1)
        np.testing.assert_array_equal(level, by_openslide(slide_file, 1, (0, 0), (150, 125)))


@pytest.mark.parametrize("box", [(0, 0, 128, 128), (100, 90, 300, 200), (550, 400, 53, 103)])
def test_a_region_is_the_crop_of_the_whole(slide_file, box):
    image = open_image(slide_file)
    x, y, w, h = box
    np.testing.assert_array_equal(image.read(x, y, w, h), image.read()[y : y + h, x : x + w])
    np.testing.assert_array_equal(image.read(x, y, w, h, channels=[2, 0]), image.read(x, y, w, h)[:, :, [2, 0]])


@pytest.mark.parametrize("box", [(0, 0, 60, 60), (33, 17, 100, 100), (120, 100, 30, 25)])
def test_a_region_of_a_level_is_the_crop_of_the_level_also_at_odd_downsamples(slide_file, box):
    """OpenSlide interpolates there, by a shift that depends on where a read begins."""
    image = open_image(slide_file)
    x, y, w, h = box
    whole = image.read(w=600, h=500, level=1)
    part = image.read(4 * x, 4 * y, 4 * w, 4 * h, level=1)
    np.testing.assert_array_equal(part, whole[y : y + h, x : x + w])
    exact = tissue()[: HEIGHT // 4 * 4 : 4, : WIDTH // 4 * 4 : 4][y : y + h, x : x + w]
    assert np.abs(part.astype(int) - exact).mean() < 8  # JPEG, or a shift below a quarter pixel


def test_levels_are_height_width_downsample(slide_file):
    image = open_image(slide_file)
    assert image.shape == (HEIGHT, WIDTH, 3)
    assert [(level.height, level.width, level.downsample) for level in image.levels] == [
        (HEIGHT, WIDTH, 1),
        (125, 150, 4),
    ]
    assert image.channels == ("red", "green", "blue")
    assert image.dtype == np.uint8
    assert image.vendor == "generic-tiff"
    assert image.scan_bounds == Box(0, 0, WIDTH, HEIGHT)


def test_outside_is_white(slide_file):
    image = open_image(slide_file)
    part = image.read(-10, HEIGHT - 10, 20, 20)
    assert part[:, :10].min() == part[10:].min() == 255
    np.testing.assert_array_equal(part[:10, 10:], image.read(0, HEIGHT - 10, 10, 10))


def test_pickled_slides_read_the_same(slide_file):
    image = open_image(slide_file, mpp=0.25)
    image.read(0, 0, 8, 8)
    copy = ForkingPickler.loads(ForkingPickler.dumps(image))
    assert copy.mpp == 0.25
    np.testing.assert_array_equal(copy.read(90, 80, 70, 60), image.read(90, 80, 70, 60))


def test_reading_goes_on_after_closing(slide_file):
    with open_image(slide_file) as image:
        before = image.read(0, 0, 50, 50)
    np.testing.assert_array_equal(image.read(0, 0, 50, 50), before)


def test_many_slides_are_read_from_many_threads(tmp_path):
    """More slides than stay open, each asked for by two threads."""
    first = pyramid(tmp_path / "0.tiff", **KINDS["read by OpenSlide"])
    files = [first, *(Path(shutil.copy(first, tmp_path / f"{i}.tiff")) for i in range(1, 10))]
    expected = tissue()[200:300, 100:400]
    wrong = []

    def work(offset):
        for i in range(10):
            pixels = open_image(files[(i + offset) % 10]).read(100, 200, 300, 100)
            if not np.array_equal(pixels, expected):
                wrong.append(i)

    threads = [Thread(target=work, args=(offset,)) for offset in (0, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_a_replaced_slide_is_opened_anew(tmp_path):
    path = pyramid(tmp_path / "a.tiff", **KINDS["deflate"])
    open_image(path).read(0, 0, 8, 8)
    white = np.full((64, 64, 3), 255, np.uint8)
    tifffile.imwrite(path, white, tile=(32, 32), photometric="rgb", compression="zlib")
    image = open_image(path)
    assert image.shape == (64, 64, 3)
    assert image.read().min() == 255


@pytest.mark.parametrize(
    ("resolution", "mpp"), [((20_000, 20_000), 0.5), ((20_000, 20_100), 0.4988), ((28.3, 28.3), None)]
)
def test_pixel_size_of_generic_tiffs(tmp_path, resolution, mpp):
    """72 dpi is a default of writers, not a pixel of 353 µm."""
    more = {"resolution": resolution, "resolutionunit": "centimeter"}
    image = open_image(pyramid(tmp_path / "a.tiff", **KINDS["deflate"], **more))
    assert isinstance(image, SlideImage)
    assert image.mpp == (None if mpp is None else pytest.approx(mpp, rel=1e-3))


def test_pixels_that_are_not_square_need_one_mpp(tmp_path):
    more = {"resolution": (20_000, 21_000), "resolutionunit": "centimeter"}
    path = pyramid(tmp_path / "a.tiff", **KINDS["deflate"], **more)
    with pytest.raises(UnreadableImage, match="not square"):
        open_image(path)
    assert open_image(path, mpp=0.49).mpp == 0.49


@pytest.mark.parametrize(
    ("array", "options"),
    [
        (np.zeros((3, 300, 300), np.uint16), {"photometric": "minisblack"}),
        (np.zeros((300, 300), np.uint8), {"photometric": "minisblack"}),
        (np.zeros((300, 300, 3), np.uint16), {"photometric": "rgb"}),
        (np.zeros((300, 300, 3), np.uint8), {"photometric": "rgb", "compression": "lerc"}),
        (np.zeros((300, 300, 3), np.uint8), {"photometric": "rgb", "ome": True}),
    ],
    ids=["several channels", "gray", "16 bit", "a compression OpenSlide lacks", "OME"],
)
def test_tiled_tiffs_that_openslide_would_not_show_in_full_go_to_the_tiff_reader(tmp_path, array, options):
    tifffile.imwrite(tmp_path / "a.tif", array, tile=(128, 128), **options)
    image = open_image(tmp_path / "a.tif")
    assert isinstance(image, TiffImage)
    assert image.read().dtype == array.dtype


def test_flat_tiffs_go_to_the_tiff_reader_and_jpegs_named_svs_to_pictures(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", tissue(20, 20), photometric="rgb")
    assert isinstance(open_image(tmp_path / "a.tif"), TiffImage)
    Pillow.fromarray(tissue(20, 20)).save(tmp_path / "a.svs", format="JPEG")
    assert isinstance(open_image(tmp_path / "a.svs"), PictureImage)


def test_a_damaged_tile_is_an_unreadable_image_and_spoils_no_other(tmp_path, kind):
    path = pyramid(tmp_path / "a.tiff", **KINDS[kind])
    with tifffile.TiffFile(path) as tiff:
        start, count = tiff.pages.first.dataoffsets[0], tiff.pages.first.databytecounts[0]
    content = bytearray(path.read_bytes())
    content[start : start + count] = bytes(count)
    path.write_bytes(content)
    image = open_image(path)
    good = tissue()[300:310, 400:410]
    with pytest.raises(UnreadableImage):
        image.read(0, 0, 10, 10)
    assert np.abs(image.read(400, 300, 10, 10).astype(int) - good).mean() < 20
    with pytest.raises(UnreadableImage):
        image.read(0, 0, 10, 10)


@pytest.mark.skipif(not SHARED.is_dir(), reason="needs the shared data")
class TestRealSlides:
    SVS = SHARED / "wsi_svs_cmu1_small_region" / "small_HE.svs"
    FIXTURES = SHARED / "wsi_openslide_fixtures"

    def test_aperio(self):
        image = open_image(self.SVS)
        assert image.shape == (2967, 2220, 3)
        assert image.mpp == 0.499
        assert image.vendor == "aperio"
        expected = by_openslide(self.SVS, 0, (1000, 900), (700, 600))
        np.testing.assert_array_equal(image.read(1000, 900, 700, 600), expected)

    def test_properties_hold_no_identifiers(self):
        properties = open_image(self.SVS).properties
        assert properties["aperio.AppMag"] == "20"
        assert properties["openslide.objective-power"] == "20"
        text = " ".join(f"{key}={value}" for key, value in properties.items())
        for secret in ("CMU-1", "b414003d", "CPAPERIOCS", "1004486", "12/29/09", "09:59:15"):
            assert secret not in text
        dicom = open_image(self.FIXTURES / "boxes_0.dcm").properties
        assert not [key for key in dicom if key.startswith("dicom.")]

    def test_pyramid(self):
        image = open_image(self.FIXTURES / "boxes.tiff")
        assert [level.downsample for level in image.levels] == [1, 2, 4, 8]
        for number, level in enumerate(image.levels):
            expected = by_openslide(image.path, number, (0, 0), (level.width, level.height))
            factor = int(level.downsample)
            part = image.read(w=factor * level.width, h=factor * level.height, level=number)
            np.testing.assert_array_equal(part, expected)

    @pytest.mark.parametrize("name", ["small.svs", "boxes_0.dcm", "boxes_1.dcm"])
    def test_small_files(self, name):
        image = open_image(self.FIXTURES / name)
        assert image.shape == (16, 16, 3)
        assert image.mpp == 0.499
        np.testing.assert_array_equal(image.read(3, 4, 9, 8), by_openslide(image.path, 0, (3, 4), (9, 8)))

    @pytest.mark.parametrize("name", ["unopenable.tiff", "unreadable.svs"])
    def test_files_that_cannot_be_read(self, name):
        with pytest.raises(UnreadableImage, match=name):
            open_image(self.FIXTURES / name).read()

    def test_dicom_that_openslide_declines_says_why(self):
        path = SHARED / "dicom_sm_seg_highdicom" / "sm_image_grayscale.dcm"
        with pytest.raises(UnreadableImage, match="BitsAllocated value 16"):
            open_image(path)

    def test_a_folder_with_one_dicom_slide_is_a_slide(self, tmp_path):
        for name in ("sm_image.dcm", "sm_annotations.dcm"):
            (tmp_path / name).write_bytes((SHARED / "dicom_sm_seg_highdicom" / name).read_bytes())
        image = open_image(tmp_path)
        assert isinstance(image, SlideImage)
        assert image.shape == (50, 50, 3)

    def test_a_folder_with_several_dicom_slides_is_none(self, tmp_path):
        (tmp_path / "a.dcm").write_bytes((SHARED / "dicom_sm_seg_highdicom" / "sm_image.dcm").read_bytes())
        (tmp_path / "b.dcm").write_bytes((self.FIXTURES / "boxes_0.dcm").read_bytes())
        with pytest.raises(UnreadableImage, match="holds 2 DICOM slides. Name the file itself"):
            open_image(tmp_path)


def test_scan_bounds_are_the_part_that_the_scanner_filled():
    """OpenSlide's properties, as MIRAX and Ventana files have them."""
    stated = {f"openslide.bounds-{k}": v for k, v in {"x": "100", "y": "50", "width": "700", "height": "400"}.items()}
    assert _scan_bounds(stated, Box(0, 0, 1000, 400)) == Box(100, 50, 700, 350)
    assert _scan_bounds({}, Box(0, 0, 1000, 400)) == Box(0, 0, 1000, 400)
