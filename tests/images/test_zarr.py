"""Cubes in Zarr folders: what the zarr package writes is read equal, by region and by channel, and nothing else."""

import json
from multiprocessing.reduction import ForkingPickler

import numpy as np
import pytest

from stroma.core.errors import InvalidData, StromaError, UnreadableImage, UsageError
from stroma.images.open import open_image

zarr = pytest.importorskip("zarr")
numcodecs = pytest.importorskip("numcodecs")

CUBE = np.random.default_rng(0).integers(0, 60_000, (19, 23, 7)).astype(np.uint16)
NM = [500.0, 510.0, 520.0, 535.0, 550.0, 600.0, 700.0]
CODECS_3 = {
    "none": {"compressors": None},
    "zstd": {"compressors": zarr.codecs.ZstdCodec(checksum=True)},
    "gzip": {"compressors": zarr.codecs.GzipCodec()},
    "blosc": {"compressors": zarr.codecs.BloscCodec(cname="lz4")},
    "crc32c": {"compressors": [zarr.codecs.ZstdCodec(), zarr.codecs.Crc32cCodec()]},
    "big endian": {"serializer": zarr.codecs.BytesCodec(endian="big")},
    "transpose": {"filters": [zarr.codecs.TransposeCodec(order=(2, 0, 1))]},
    "shards": {"shards": (16, 16, 6)},
    "keys": {"chunk_key_encoding": {"name": "v2", "separator": "."}},
}
CODECS_2 = {
    "none": {"compressors": None},
    "blosc": {"compressors": numcodecs.Blosc(cname="zstd")},
    "zstd": {"compressors": numcodecs.Zstd()},
    "zlib": {"compressors": numcodecs.Zlib()},
    "gzip": {"compressors": numcodecs.GZip()},
    "lz4": {"compressors": numcodecs.LZ4()},
    "bz2": {"compressors": numcodecs.BZ2()},
    "lzma": {"compressors": numcodecs.LZMA()},
    "order F": {"order": "F"},
    "nested": {"chunk_key_encoding": {"name": "v2", "separator": "/"}},
}
EVERY = [(3, name, options) for name, options in CODECS_3.items()]
EVERY += [(2, name, options) for name, options in CODECS_2.items()]


def save(path, array=CUBE, *, attributes=None, version=3, chunks=(8, 8, 3), **options):
    made = zarr.create_array(
        path, data=array, chunks=chunks, zarr_format=version, attributes=attributes, overwrite=True, **options
    )
    return path, made


@pytest.mark.parametrize(("version", "name", "options"), EVERY, ids=[f"{case[0]}-{case[1]}" for case in EVERY])
def test_what_zarr_writes_is_read_equal(version, name, options, tmp_path):
    path, _ = save(tmp_path / "ü #1.zarr", version=version, attributes={"wavelengths": NM}, **options)
    with open_image(path) as image:
        np.testing.assert_array_equal(image.read(), CUBE)
        np.testing.assert_array_equal(image.read(5, 7, 11, 10, channels=[6, 0, 4]), CUBE[7:17, 5:16][:, :, [6, 0, 4]])
        part = image.read(-2, 3, 5, 4, channels=slice(1, 6, 2))
        np.testing.assert_array_equal(part[:, 2:], CUBE[3:7, 0:3, 1:6:2])
        assert part.flags.c_contiguous
        assert (part[:, :2] == 0).all()
        np.testing.assert_array_equal(image.wavelengths_nm, NM)
        copy = ForkingPickler.loads(ForkingPickler.dumps(image))
    np.testing.assert_array_equal(copy.read(22, 18, 1, 1), CUBE[18:, 22:])


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("fill", [0, 7.5, float("nan")])
def test_chunks_that_were_not_written_have_the_fill_value(version, fill, tmp_path):
    made = zarr.create_array(
        tmp_path / "a", shape=(8, 8, 2), chunks=(4, 4, 2), dtype="f4", fill_value=fill, zarr_format=version
    )
    made[4:, 4:] = 1.5
    expected = np.full((8, 8, 2), fill, np.float32)
    expected[4:, 4:] = 1.5
    np.testing.assert_array_equal(open_image(tmp_path / "a").read(), expected)


@pytest.mark.filterwarnings("ignore")  # zarr's own, about texts
@pytest.mark.parametrize("version", [2, 3])
def test_a_group_with_coordinates_as_xarray_writes_them(version, tmp_path):
    group = zarr.create_group(tmp_path / "a.zarr", zarr_format=version)
    named = {"dimension_names": ("band", "y", "x")} if version == 3 else {}
    data = group.create_array("reflectance", data=np.moveaxis(CUBE, 2, 0), chunks=(2, 9, 9), **named)
    coordinate = {"dimension_names": ("band",)} if version == 3 else {}
    wavelengths = group.create_array("wavelength", data=np.array(NM) / 1000, **coordinate)
    wavelengths.attrs["units"] = "um"
    group.create_array("names", data=np.array(["a", "b"]))
    group.create_array("mask", data=CUBE[:, :, 0] > 3)
    if version == 2:
        data.attrs["_ARRAY_DIMENSIONS"] = ["band", "y", "x"]
    image = open_image(tmp_path / "a.zarr")
    assert image.variable == "reflectance"
    assert image.shape == CUBE.shape
    np.testing.assert_allclose(image.wavelengths_nm, NM)
    np.testing.assert_array_equal(image.read(channels=[2, 1]), CUBE[:, :, [2, 1]])
    mask = open_image(tmp_path / "a.zarr", variable="mask")
    np.testing.assert_array_equal(mask.read()[:, :, 0], CUBE[:, :, 0] > 3)


def test_only_the_chunks_of_a_region_are_read(tmp_path):
    path, _ = save(tmp_path / "a", chunks=(8, 8, 3))
    for chunk in (path / "c").rglob("*"):
        if chunk.is_file() and chunk.relative_to(path / "c").as_posix() != "1/2/0":
            chunk.write_bytes(b"damaged")
    image = open_image(path)
    np.testing.assert_array_equal(image.read(16, 8, 7, 8, channels=slice(0, 3)), CUBE[8:16, 16:23, :3])
    with pytest.raises(UnreadableImage, match=r"damaged"):
        image.read(0, 0, 1, 1)


def test_what_to_name_when_it_is_not_clear(tmp_path):
    group = zarr.create_group(tmp_path / "a.zarr")
    group.create_array("one", data=CUBE)
    group.create_array("sub/two", data=CUBE + 1)
    with pytest.raises(InvalidData, match=r"2 arrays of three dimensions.*one \(19×23×7.*sub/two"):
        open_image(tmp_path / "a.zarr")
    np.testing.assert_array_equal(open_image(tmp_path / "a.zarr", variable="sub/two").read(), CUBE + 1)
    with pytest.raises(UsageError, match="no variable 'ome'"):
        open_image(tmp_path / "a.zarr", variable="ome")
    path, _ = save(tmp_path / "b.zarr", np.moveaxis(CUBE, 2, 0), attributes={"wavelengths": NM})
    with pytest.raises(InvalidData, match=r"23 channels \(axis 2 of 7×19×23\), but 7 wavelengths.*channel_axis=0"):
        open_image(path)
    image = open_image(path, channel_axis=0)
    np.testing.assert_array_equal(image.read(), CUBE)
    assert open_image(path, channel_axis=0, wavelengths=[w + 1 for w in NM]).wavelengths_nm[0] == 501


def change(path, **entries):
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, **entries}))


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"filters": [{"id": "pickle"}]}, "filters.*pickle.*not read"),
        ({"compressor": {"id": "pickle"}}, "codec 'pickle'.*not read"),
        ({"shape": [10**9, 10**9, 7]}, "cannot hold|needs more memory"),
        ({"chunks": [10**9, 10**9, 7]}, "cannot hold"),
        ({"chunks": [8, 0, 3]}, "chunks"),
        ({"shape": [19, 23, -7]}, "shape"),
        ({"chunks": [8, 8]}, "chunks"),
        ({"dtype": "|O"}, "no array of three dimensions"),
        ({"dimension_separator": "/../"}, "separates"),
    ],
)
def test_metadata_that_is_damaged_or_dangerous(entries, message, tmp_path):
    path, _ = save(tmp_path / "a.zarr", version=2)
    change(path / ".zarray", **entries)
    with pytest.raises(StromaError, match=message):
        open_image(path).read()


def test_a_chunk_that_states_more_than_its_shape_is_refused_before_memory_is_asked_for(tmp_path):
    path, _ = save(tmp_path / "a.zarr", version=2, compressors=numcodecs.Blosc())
    chunk = bytearray((path / "0.0.0").read_bytes())
    chunk[4:8] = (2**31 - 1).to_bytes(4, "little")
    (path / "0.0.0").write_bytes(chunk)
    with pytest.raises(UnreadableImage, match=r"0\.0\.0.*states 2,147,483,647 bytes"):
        open_image(path).read(0, 0, 1, 1)
    path, _ = save(tmp_path / "b.zarr", version=2, compressors=numcodecs.GZip())
    (path / "0.0.0").write_bytes(numcodecs.GZip().encode(bytes(2**20)))
    with pytest.raises(UnreadableImage, match="a chunk has"):
        open_image(path).read(0, 0, 1, 1)
