"""TIFFs of scanners and competitions: JPEG 2000, YCbCr, QPTIFF, planar and 5-D BigTIFF."""

import subprocess
import sys

import numpy as np
import pytest
import tifffile
from PIL import Image as Pillow

from stroma.core.errors import UnreadableImage
from stroma.images.open import open_image
from stroma.images.slide import SlideImage
from tests.images.test_slide import by_openslide, tissue

APERIO = "Aperio Image Library v11\n603x503 (256x256) J2K |AppMag = 20|MPP = 0.499|Filename = secret"


@pytest.mark.parametrize("compression", [34712, 33005, 33003], ids=["JPEG 2000", "of Aperio", "of Aperio, YCbCr"])
@pytest.mark.parametrize("description", [None, APERIO], ids=["plain", "Aperio"])
def test_jpeg_2000_is_read_by_openslide_or_by_us(tmp_path, compression, description):
    stored, more = tissue(), {}
    if compression == 33003:  # luma and differences of colour, whatever the page says
        stored, more = np.asarray(Pillow.fromarray(stored).convert("YCbCr")), {"compressionargs": {"mct": False}}
    path = tmp_path / "a.svs"
    tifffile.imwrite(
        path, stored, tile=(128, 128), compression=compression, photometric="rgb", description=description,
        metadata=None, **more,
    )  # fmt: skip
    with open_image(path) as image:
        assert isinstance(image, SlideImage) == (description is not None and compression != 34712)
        assert image.channels == ("red", "green", "blue")
        assert image.mpp == (None if description is None else 0.499)
        region = image.read(100, 90, 200, 150)
    difference = np.abs(region.astype(int) - tissue()[90:240, 100:300])
    assert difference.max() <= (3 if compression == 33003 else 0)  # rounding to 8-bit YCbCr


@pytest.mark.parametrize("compression", [None, "lzw", "zlib", "zstd"])
@pytest.mark.parametrize("reader", ["openslide", "tiff"])
def test_ycbcr_that_no_decoder_turns_into_rgb_is_turned_by_us(tmp_path, compression, reader):
    stored = np.asarray(Pillow.fromarray(tissue()).convert("YCbCr"))
    path = tmp_path / "a.tif"
    tifffile.imwrite(
        path, stored, tile=(128, 128), compression=compression, photometric="ycbcr", subsampling=(1, 1), metadata=None
    )
    region = open_image(path, reader=reader).read(64, 64, 200, 200).astype(int)
    assert np.abs(region - by_openslide(path, 0, (64, 64), (200, 200))).max() <= 1
    assert np.abs(region - tissue()[64:264, 64:264]).max() <= 3


def test_ycbcr_of_16_bits_is_refused(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((64, 64, 3), np.uint16), photometric="ycbcr", subsampling=(1, 1))
    with pytest.raises(UnreadableImage, match="YCbCr"):
        open_image(tmp_path / "a.tif")


# --- QPTIFF --------------------------------------------------------------------------------------------------

MARKERS = ("DAPI", "CD8 (Opal 520)", "PanCK")


def qptiff(path, *, names=MARKERS, element="Name"):
    """Laid out as Akoya's scanners do: channels, thumbnail, smaller levels, macro and label."""
    channels = np.random.default_rng(1).integers(0, 65536, (len(names), 512, 768), dtype=np.uint16)

    def page(tiff, array, kind, name=""):
        text = f"<{element}>{name}</{element}>" if name else ""
        description = (
            '<?xml version="1.0" encoding="utf-16"?><PerkinElmer-QPI-ImageDescription>'
            f"<DescriptionVersion>2</DescriptionVersion><ImageType>{kind}</ImageType>{text}<Barcode>P 1</Barcode>"
            "</PerkinElmer-QPI-ImageDescription>"
        )
        tile = (256, 256) if "Resolution" in kind else None
        tiff.write(
            array, tile=tile, compression="lzw", software="PerkinElmer-QPI", description=description, metadata=None,
            photometric="rgb" if array.ndim == 3 else "minisblack", resolution=(2e4, 2e4), resolutionunit=3,
        )  # fmt: skip

    with tifffile.TiffWriter(path, bigtiff=True) as tiff:
        for name, channel in zip(names, channels, strict=True):
            page(tiff, channel, "FullResolution", name)
        page(tiff, np.zeros((100, 150, 3), np.uint8), "Thumbnail")
        for name, channel in zip(names, channels, strict=True):
            page(tiff, np.ascontiguousarray(channel[::2, ::2]), "ReducedResolution", name)
        page(tiff, np.zeros((120, 300, 3), np.uint8), "Overview")
        page(tiff, np.zeros((130, 140, 3), np.uint8), "Label")
    return channels


@pytest.mark.parametrize("element", ["Name", "Biomarker"])
def test_qptiff_is_a_pyramid_of_named_channels(tmp_path, element):
    channels = qptiff(tmp_path / "a.qptiff", element=element)
    image = open_image(tmp_path / "a.qptiff")
    assert image.channels == MARKERS
    assert image.mpp == pytest.approx(0.5)
    assert [(level.height, level.width, level.downsample) for level in image.levels] == [(512, 768, 1), (256, 384, 2)]
    region = image.read(100, 50, 300, 200, channels=[image.channel_index("PanCK")])
    np.testing.assert_array_equal(region[:, :, 0], channels[2, 50:250, 100:400])
    np.testing.assert_array_equal(image.read(0, 0, 768, 512, level=1)[:, :, 1], channels[1, ::2, ::2])


def test_qptiff_with_equal_names_has_numbered_channels(tmp_path):
    qptiff(tmp_path / "a.qptiff", names=("Opal", "Opal"))
    assert open_image(tmp_path / "a.qptiff").channels == ("channel 0", "channel 1")


# --- planar and 5-D ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(3, 200, 300), (1, 1, 3, 200, 300)], ids=["planar", "5-D"])
@pytest.mark.parametrize("layout", [{}, {"tile": (64, 64), "compression": "zlib"}, {"rowsperstrip": 8}])
def test_planar_and_5d_tiffs_of_hubmap_are_rgb(tmp_path, shape, layout):
    array = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    tifffile.imwrite(tmp_path / "a.tiff", array, bigtiff=True, photometric="rgb", planarconfig="separate", **layout)
    image = open_image(tmp_path / "a.tiff")
    assert image.shape == (200, 300, 3) and image.channels == ("red", "green", "blue") and image.fill == 255
    np.testing.assert_array_equal(
        image.read(7, 5, 90, 100), np.moveaxis(array.reshape(3, 200, 300), 0, 2)[5:105, 7:97]
    )


def test_three_pages_are_rgb_only_when_somebody_says_so(tmp_path):
    tifffile.imwrite(tmp_path / "a.tiff", np.zeros((3, 50, 60), np.uint8), photometric="minisblack", metadata=None)
    assert open_image(tmp_path / "a.tiff").channels == ("channel 0", "channel 1", "channel 2")
    assert open_image(tmp_path / "a.tiff", rgb=True).channels == ("red", "green", "blue")


_READ = """
import resource, sys
import numpy as np
from stroma.images.open import open_image
image = open_image(sys.argv[1])
image.read(0, 0, 64, 64)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for place in range(0, 8000, 1000):
    image.read(place, place, 512, 512)
image.read(0, 0, 1024, 1024, downsample=4)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="the peak is asked of a Unix kernel")
@pytest.mark.parametrize("layout", ["contiguous", "tiles"])
def test_regions_of_a_large_5d_tiff_are_read_without_the_rest(tmp_path, layout):
    """Whole it needs 1.2 GB as one piece, 0.4 GB as tiles; reading regions of it takes less than a tenth."""
    side = 20_000 if layout == "contiguous" else 11_776
    path, shape = tmp_path / "a.tiff", (1, 1, 3, side, side)
    options = {"bigtiff": True, "photometric": "rgb", "planarconfig": "separate", "shape": shape, "dtype": np.uint8}
    if layout == "contiguous":
        tifffile.imwrite(path, **options)  # a sparse file
    else:
        blank = np.zeros((512, 512), np.uint8)
        count = 3 * (-(-side // 512)) ** 2
        tifffile.imwrite(path, (blank for _ in range(count)), tile=(512, 512), compression="zlib", **options)
    answer = subprocess.run([sys.executable, "-c", _READ, str(path)], capture_output=True, text=True, check=True)
    grown = int(answer.stdout) * (1 if sys.platform == "darwin" else 1024)
    assert grown < 3 * side**2 / 10
    assert grown < 64 * 2**20
