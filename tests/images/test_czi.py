"""CZI: files written by ZEISS's own library and here; that library and OpenSlide are oracles where they read them."""

from concurrent.futures import ThreadPoolExecutor
from multiprocessing.reduction import ForkingPickler
from pathlib import Path

import numpy as np
import openslide
import pytest

from stroma.core.errors import StromaError, UnreadableImage, UsageError
from stroma.images.czi import CziImage
from stroma.images.open import open_image
from stroma.images.slide import SlideImage
from tests.images.czi_writer import Piece, write_czi
from tests.images.test_slide import tissue

RGB = tissue(400, 600)
STACK = np.random.default_rng(0).integers(0, 65536, (4, 90, 120), dtype=np.uint16)


def mosaic(packing: str = "jpeg xr", x: int = -300, y: int = 1000) -> list[Piece]:
    """`RGB` in six pieces, one column of which overlaps its neighbour by 20 px; the later lies above."""
    pieces = []
    for number, (top, left) in enumerate((t, e) for t in (0, 200) for e in (0, 180, 400)):
        pixels = RGB[top : top + 200, left : left + 200].copy()
        pixels[:, :20] //= 2 if left == 180 else 1
        dims = {"C": 0, "S": 0, "M": number}
        pieces.append(Piece(pixels, x + left, y + top, dims=dims, packing=packing))
    return pieces


def shown() -> np.ndarray:
    whole = RGB.copy()
    whole[:, 180:200] //= 2
    whole[:, 380:400] = 255  # covered by no piece
    return whole


@pytest.mark.parametrize("packing", ["jpeg xr", "zstd 0", "zstd 1", "none"])
def test_a_mosaic_is_composed_in_its_order(tmp_path, packing):
    path = write_czi(tmp_path / "ü #1.czi", mosaic(packing))
    image = CziImage(path)
    assert image.channels == ("red", "green", "blue") and image.shape == (400, 600, 3)
    assert image.mpp == pytest.approx(0.22)
    np.testing.assert_array_equal(image.read(), shown())
    np.testing.assert_array_equal(image.read(150, 120, 300, 200), shown()[120:320, 150:450])
    copy = ForkingPickler.loads(ForkingPickler.dumps(image))
    np.testing.assert_array_equal(copy.read(90, 80, 70, 60, channels=[2]), shown()[80:140, 90:160, 2:])


def test_openslide_shows_the_same_of_what_it_unpacks(tmp_path):
    image = open_image(write_czi(tmp_path / "b.czi", mosaic("zstd 1")))
    assert isinstance(image, CziImage)
    with openslide.OpenSlide(tmp_path / "b.czi") as slide:
        oracle = np.array(slide.read_region((0, 0), 0, slide.dimensions))
    oracle[:, 180:200, 3] = 0  # of two pieces it shows the other one; ZEISS's library shows ours
    covered = oracle[:, :, 3] == 255
    np.testing.assert_array_equal(image.read()[covered], oracle[covered][:, :3])
    named = SlideImage(tmp_path / "b.czi")
    assert named.mpp == pytest.approx(image.mpp) and "secret" not in str(named.properties)


def pyramid(factor: int = 2, scenes: tuple[int, ...] = (0,), small: tuple[int, ...] = (0,)) -> list[Piece]:
    """Scenes side by side, 700 px apart, those in `small` with a smaller level of other colours."""
    pieces = []
    for scene in scenes:
        dims = {"C": 0, "S": scene}
        pieces.append(Piece(RGB, 700 * scene, 0, dims={**dims, "M": 0}, packing="jpeg xr"))
        if scene in small:
            reduced = np.ascontiguousarray(255 - RGB[::factor, ::factor][: 400 // factor, : 600 // factor])
            pieces.append(Piece(reduced, 700 * scene, 0, factor, dims, packing="jpeg xr"))
    return pieces


@pytest.mark.parametrize("factor", [2, 3, 4])
def test_the_pyramid_of_the_file_is_used(tmp_path, factor):
    image = open_image(write_czi(tmp_path / "a.czi", pyramid(factor)))
    assert [level.downsample for level in image.levels] == [1, factor]
    expected = 255 - RGB[::factor, ::factor][: 400 // factor, : 600 // factor]
    part = image.read(10 * factor, 20 * factor, 50 * factor, 60 * factor, level=1)
    np.testing.assert_array_equal(part, expected[20:80, 10:60])


def test_a_level_that_lacks_a_scene_is_not_used(tmp_path):
    image = open_image(write_czi(tmp_path / "a.czi", pyramid(scenes=(0, 1), small=(0,))))
    assert len(image.levels) == 1  # else the second piece of tissue would be white there
    image = open_image(write_czi(tmp_path / "b.czi", pyramid(scenes=(0, 1), small=(0, 1))))
    assert len(image.levels) == 2 and image.shape == (400, 1300, 3)


def test_a_scene_can_be_chosen(tmp_path):
    path = write_czi(tmp_path / "a.czi", pyramid(scenes=(0, 2), small=(0, 2)))
    image = open_image(path, scene=2)
    assert image.shape == (400, 600, 3)
    np.testing.assert_array_equal(image.read(), RGB)
    with pytest.raises(UsageError, match=r"no scene 1.*\[0, 2\]"):
        open_image(path, scene=1)


@pytest.mark.parametrize("packing", ["none", "zstd 1", "zstd 1 halves", "jpeg xr"])
def test_fluorescence_has_named_channels(tmp_path, packing):
    pieces = [Piece(plane, dims={"C": number}, packing=packing) for number, plane in enumerate(STACK)]
    image = open_image(write_czi(tmp_path / "a.czi", pieces, channels=("DAPI", "CD3", "CD8", "Ki67")))
    assert image.channels == ("DAPI", "CD3", "CD8", "Ki67") and image.dtype == np.uint16 and image.fill == 0
    np.testing.assert_array_equal(image.read(30, 20, 50, 40), np.moveaxis(STACK, 0, 2)[20:60, 30:80])
    np.testing.assert_array_equal(image.read(channels=[3, 1]), np.moveaxis(STACK, 0, 2)[:, :, [3, 1]])


def test_a_channel_that_is_only_there_in_small_is_refused(tmp_path):
    small = Piece(np.ascontiguousarray(STACK[1][::2, ::2]), factor=2, dims={"C": 1})
    path = write_czi(tmp_path / "a.czi", [Piece(STACK[0], dims={"C": 0}), small], channels=("DAPI", "CD3"))
    with pytest.raises(UnreadableImage, match="lacks channels at full resolution"):
        open_image(path)


def test_a_plane_of_a_stack_is_chosen(tmp_path):
    path = write_czi(tmp_path / "a.czi", [Piece(plane, dims={"C": 0, "Z": z}) for z, plane in enumerate(STACK)])
    with pytest.raises(UnreadableImage, match=r"4 planes along z.*z=0"):
        open_image(path)
    np.testing.assert_array_equal(open_image(path, z=2).read()[:, :, 0], STACK[2])
    with pytest.raises(UsageError, match="no z=4"):
        open_image(path, z=4)


@pytest.mark.parametrize("options", ["", "zstd1:ExplicitLevel=2;PreProcess=HiLoByteUnpack"])
def test_what_the_library_of_zeiss_writes_and_reads_is_read_equal(tmp_path, options):
    czi = pytest.importorskip("pylibCZIrw.czi")
    path = str(tmp_path / "a.czi")
    with czi.create_czi(path, compression_options=options or None) as document:
        for number, plane in enumerate(STACK[:2]):
            document.write(data=plane, location=(-7, 12), plane={"C": number})
        document.write_metadata("t", channel_names={0: "DAPI", 1: "GFP"}, scale_x=0.5e-6, scale_y=0.5e-6)
    image = CziImage(Path(path))
    assert image.channels == ("DAPI", "GFP") and image.mpp == pytest.approx(0.5)
    with czi.open_czi(path) as document:
        for channel in (0, 1):
            expected = document.read(roi=(3, 22, 60, 50), plane={"C": channel})[:, :, 0]
            np.testing.assert_array_equal(image.read(10, 10, 60, 50)[:, :, channel], expected)


@pytest.mark.parametrize("packing", ["jpeg xr", "zstd 0", "none"])
def test_the_library_of_zeiss_shows_the_same_mosaic(tmp_path, packing):
    czi = pytest.importorskip("pylibCZIrw.czi")
    path = write_czi(tmp_path / "a.czi", mosaic(packing))
    with czi.open_czi(str(path)) as document:
        assert document.total_bounding_rectangle[:] == (-300, 1000, 600, 400)
        expected = document.read(background_pixel=(1, 1, 1))[:, :, ::-1]
    np.testing.assert_array_equal(CziImage(path).read(), expected)


@pytest.mark.parametrize("keep", [0.02, 0.3, 0.6, 0.9, 0.999])
def test_cut_files_are_unreadable_images(tmp_path, keep):
    path = write_czi(tmp_path / "a.czi", mosaic())
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * keep)])
    with pytest.raises(StromaError):
        CziImage(path).read()
        open_image(path).read()


def test_damaged_files_are_unreadable_images_and_nothing_else(tmp_path):
    path = write_czi(tmp_path / "a.czi", mosaic("zstd 0"))
    whole, rng = path.read_bytes(), np.random.default_rng(0)
    for _ in range(200):
        damaged = bytearray(whole)
        for _ in range(int(rng.integers(1, 6))):
            damaged[int(rng.integers(len(damaged)))] = int(rng.integers(256))
        path.write_bytes(damaged)
        try:
            CziImage(path).read()
        except StromaError:
            continue


def test_one_damaged_piece_spoils_no_other(tmp_path):
    path = write_czi(tmp_path / "a.czi", mosaic("jpeg xr"))
    content = path.read_bytes()
    place = content.rindex(b"II\xbc")  # the last piece
    path.write_bytes(content[:place] + bytes(4000) + content[place + 4000 :])
    image = CziImage(path)
    np.testing.assert_array_equal(image.read(0, 0, 300, 200), shown()[:200, :300])
    with pytest.raises(UnreadableImage):
        image.read(400, 200, 100, 100)


def test_many_threads_read_one_slide(tmp_path):
    image = CziImage(write_czi(tmp_path / "a.czi", mosaic("jpeg xr")))
    boxes = [(x, y, 120, 90) for x in range(0, 480, 60) for y in range(0, 300, 60)]
    with ThreadPoolExecutor(4) as pool:
        for (x, y, w, h), part in zip(boxes, pool.map(lambda box: image.read(*box), boxes), strict=True):
            np.testing.assert_array_equal(part, shown()[y : y + h, x : x + w])
