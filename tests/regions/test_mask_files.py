import numpy as np
import PIL.Image
import shapely
import tifffile

from stroma.regions.mask_files import write_mask_png, write_mask_pyramid
from stroma.regions.masks import read_mask
from stroma.regions.polygons import mask_from_polygons


def test_a_paletted_png_shows_colours_and_keeps_indices(tmp_path):
    mask = np.array([[0, 1, 2], [255, 1, 0]], dtype=np.uint8)
    palette = np.zeros((256, 3), dtype=np.uint8)
    palette[1] = (200, 10, 20)
    path = write_mask_png(tmp_path / "a.png", mask, palette)
    assert np.array_equal(read_mask(path), mask)
    assert PIL.Image.open(path).convert("RGB").getpixel((1, 0)) == (200, 10, 20)
    assert np.array_equal(read_mask(write_mask_png(tmp_path / "b.png", mask)), mask)


def test_every_level_of_a_pyramid_is_drawn_from_the_polygons(tmp_path):
    shapes = [
        shapely.Point(900, 700).buffer(400),
        shapely.box(100, 100, 1300, 300),
        shapely.box(1999, 1499, 2000, 1500),
    ]
    path = write_mask_pyramid(tmp_path / "a.tiff", shapes, [3, 7, 9], (1500, 2100), mpp=0.25, background=255)
    with tifffile.TiffFile(path) as tiff:
        pages = [page.asarray() for page in tiff.pages]
        assert tiff.pages[0].tags["XResolution"].value[0] / tiff.pages[0].tags["XResolution"].value[1] == 40_000
    assert [page.shape for page in pages] == [(1500, 2100), (750, 1050), (375, 525)]
    for level, page in enumerate(pages):
        factor = 2**level
        height, width = page.shape
        expected = mask_from_polygons(
            shapes, 0, 0, width * factor, height * factor, downsample=factor, values=[3, 7, 9], background=255
        )
        assert np.array_equal(page, expected)
    assert np.array_equal(read_mask(path), pages[0])
    again = write_mask_pyramid(tmp_path / "b.tiff", shapes, [3, 7, 9], (1500, 2100), mpp=0.25, background=255)
    assert again.read_bytes() == path.read_bytes()
