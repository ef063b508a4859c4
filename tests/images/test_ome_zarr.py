"""OME-Zarr: the zarr package writes the arrays, the metadata are those of the specification (0.4 and 0.5)."""

from concurrent.futures import ThreadPoolExecutor
from multiprocessing.reduction import ForkingPickler
from pathlib import Path

import numpy as np
import pytest

from stroma.core.errors import StromaError, UnreadableImage, UsageError
from stroma.images.open import open_image

zarr = pytest.importorskip("zarr")

PIXELS = np.random.default_rng(0).integers(0, 256, (3, 150, 200)).astype(np.uint8)
COLOURS = [{"color": colour, "label": f"Channel {i}"} for i, colour in enumerate(("FF0000", "00FF00", "0000FF"))]


def save(
    path: Path,
    levels: list[np.ndarray],
    axes: str,
    *,
    version: str = "0.5",
    unit: str | None = "micrometer",
    scale: float = 0.5,
    omero: list[dict] | None = None,
    **options,
) -> Path:
    """Write an image as the specification of `version` has it; the metadata lie in `ome` since 0.5."""
    names = {"t": "time", "c": "channel"}
    described = [{"name": a, "type": names.get(a, "space")} for a in axes]
    for entry in described:
        if entry["type"] == "space" and unit:
            entry["unit"] = unit
    datasets = []
    for number, level in enumerate(levels):
        factors = [scale * 2.0**number if axis in "yx" else 1.0 for axis in axes]
        transformations = [{"type": "scale", "scale": factors}]
        datasets.append({"path": str(number), "coordinateTransformations": transformations})
        chunks = tuple(min(64, side) if axis in "yx" else 1 for axis, side in zip(axes, level.shape, strict=True))
        zarr.create_array(
            path / str(number), data=level, chunks=chunks, zarr_format=3 if version == "0.5" else 2, **options
        )
    content = {"multiscales": [{"version": version, "axes": described, "datasets": datasets}]}
    if omero:
        content["omero"] = {"channels": omero}
    group = zarr.open_group(path, mode="a", zarr_format=3 if version == "0.5" else 2)
    group.attrs.update({"ome": {"version": "0.5", **content}} if version == "0.5" else content)
    return path


def pyramid(planes: np.ndarray) -> list[np.ndarray]:
    """`planes` and the same at half the size."""
    return [planes, np.ascontiguousarray(planes[..., ::2, ::2])]


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_an_rgb_pyramid_is_a_slide(tmp_path, version):
    image = open_image(save(tmp_path / "ä #1.ome.zarr", pyramid(PIXELS), "cyx", version=version, omero=COLOURS))
    assert image.channels == ("red", "green", "blue") and image.fill == 255 and image.mpp == 0.5
    assert [(level.height, level.width, level.downsample) for level in image.levels] == [(150, 200, 1), (75, 100, 2)]
    whole = np.moveaxis(PIXELS, 0, 2)
    np.testing.assert_array_equal(image.read(30, 20, 100, 90), whole[20:110, 30:130])
    np.testing.assert_array_equal(image.read(100, 60, 50, 40, level=1), whole[::2, ::2][30:50, 50:75])
    np.testing.assert_array_equal(image.read(0, 0, 80, 70, channels=[2, 0]), whole[:70, :80, [2, 0]])
    outside = image.read(190, 140, 20, 20)
    assert (outside[10:] == 255).all() and (outside[:, 10:] == 255).all()
    copy = ForkingPickler.loads(ForkingPickler.dumps(image))
    np.testing.assert_array_equal(copy.read(), whole)


@pytest.mark.parametrize("options", [{"shards": (1, 1, 1, 128, 128)}, {"compressors": None}], ids=["shards", "plain"])
def test_a_stack_has_named_channels_and_a_chosen_plane(tmp_path, options):
    array = np.random.default_rng(1).integers(0, 65536, (2, 4, 3, 128, 192), dtype=np.uint16)
    names = [{"label": name} for name in ("DAPI", "CD3", "CD8", "Ki67")]
    path = save(tmp_path / "a.zarr", [array], "tczyx", omero=names, **options)
    with pytest.raises(UnreadableImage, match=r"holds 3 planes along z.*z=0"):
        open_image(path, t=0)
    with pytest.raises(UsageError, match="no t=2"):
        open_image(path, z=0, t=2)
    image = open_image(path, z=2, t=1)
    assert image.channels == ("DAPI", "CD3", "CD8", "Ki67") and image.dtype == np.uint16
    np.testing.assert_array_equal(image.read(50, 40, 60, 30), np.moveaxis(array[1, :, 2], 0, 2)[40:70, 50:110])


def test_axes_may_stand_in_any_order_and_channels_lack(tmp_path):
    image = open_image(save(tmp_path / "last.zarr", [np.moveaxis(PIXELS, 0, 2)], "yxc"), rgb=True)
    assert image.channels == ("red", "green", "blue")
    np.testing.assert_array_equal(image.read(5, 6, 70, 80), np.moveaxis(PIXELS, 0, 2)[6:86, 5:75])
    gray = open_image(save(tmp_path / "gray.zarr", [PIXELS[0]], "yx"))
    assert gray.channels == ("gray",)
    np.testing.assert_array_equal(gray.read()[:, :, 0], PIXELS[0])


def test_three_8_bit_channels_of_markers_are_not_rgb(tmp_path):
    omero = [{**entry, "label": label} for entry, label in zip(COLOURS, ("CD3", "CD8", "DAPI"), strict=True)]
    assert open_image(save(tmp_path / "a.zarr", [PIXELS], "cyx", omero=omero)).channels == ("CD3", "CD8", "DAPI")


@pytest.mark.parametrize(
    ("unit", "scale", "mpp"), [("micrometer", 0.25, 0.25), ("nanometer", 250, 0.25), ("millimeter", 1e-3, 1.0)]
)
def test_the_size_of_a_pixel_is_read_in_its_unit(tmp_path, unit, scale, mpp):
    assert open_image(save(tmp_path / "a.zarr", [PIXELS], "cyx", unit=unit, scale=scale)).mpp == pytest.approx(mpp)


def test_a_scale_without_unit_is_none(tmp_path):
    assert open_image(save(tmp_path / "a.zarr", [PIXELS], "cyx", unit=None)).mpp is None


def test_scenes_of_bioformats2raw_are_chosen(tmp_path):
    for number in (0, 1):
        save(tmp_path / "a.zarr" / str(number), [PIXELS + number], "cyx", version="0.4")
    group = zarr.open_group(tmp_path / "a.zarr", mode="a", zarr_format=2)
    group.attrs["bioformats2raw.layout"] = 3
    np.testing.assert_array_equal(open_image(tmp_path / "a.zarr", series=1).read()[:, :, 0], PIXELS[0] + 1)
    with pytest.raises(UsageError, match="no series 2.*0, 1"):
        open_image(tmp_path / "a.zarr", series=2)


def test_only_the_chunks_of_a_region_are_read(tmp_path):
    path = save(tmp_path / "a.zarr", [PIXELS], "cyx")
    for chunk in (path / "0" / "c").rglob("*"):
        if chunk.is_file() and chunk.relative_to(path / "0" / "c").parts[1:] != ("0", "0"):
            chunk.write_bytes(b"damaged")
    image = open_image(path)
    np.testing.assert_array_equal(image.read(0, 0, 64, 64), np.moveaxis(PIXELS, 0, 2)[:64, :64])
    with pytest.raises(UnreadableImage):
        image.read(60, 0, 10, 10)


def damage(path: Path, **changes) -> Path:
    group = zarr.open_group(path, mode="a", zarr_format=2)
    scales = group.attrs["multiscales"]
    scales[0].update(changes)
    group.attrs["multiscales"] = scales
    return path


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"datasets": [{"path": "../b"}]}, "outside itself"),
        ({"datasets": [{"path": "7"}]}, "level '7'"),
        ({"datasets": []}, "damaged"),
        ({"datasets": 5}, "damaged"),
        ({"axes": [{"name": "q"}, {"name": "y"}, {"name": "x"}]}, "axes q, y, x"),
        ({"axes": [{"name": "y"}, {"name": "x"}]}, "no array along y, x"),
    ],
)
def test_metadata_that_do_not_fit_are_named(tmp_path, changes, message):
    path = damage(save(tmp_path / "a.zarr", [PIXELS], "cyx", version="0.4"), **changes)
    with pytest.raises(StromaError, match=message):
        open_image(path)


def test_a_plate_names_a_field_to_open(tmp_path):
    zarr.open_group(tmp_path / "a.zarr", mode="w", zarr_format=2).attrs["plate"] = {"wells": []}
    with pytest.raises(UnreadableImage, match="plate of many fields"):
        open_image(tmp_path / "a.zarr")


def test_many_threads_read_one_image(tmp_path):
    image = open_image(save(tmp_path / "a.zarr", pyramid(PIXELS), "cyx", omero=COLOURS))
    boxes = [(x, y, 50, 40) for x in range(0, 150, 30) for y in range(0, 110, 30)]
    with ThreadPoolExecutor(4) as pool:
        for (x, y, w, h), part in zip(boxes, pool.map(lambda box: image.read(*box), boxes), strict=True):
            np.testing.assert_array_equal(part, np.moveaxis(PIXELS, 0, 2)[y : y + h, x : x + w])
