"""No damaged file crashes, hangs or exhausts a reader: it is read, or refused with a StromaError."""

import bz2
import gzip
import json
import lzma
from pathlib import Path

import imagecodecs
import numpy as np
import polars as pl
import pytest
import scipy.io
import tifffile
from PIL import Image as Pillow

from stroma.core.done import done_path, write_done
from stroma.core.provenance import Provenance
from stroma.core.tables import write_table
from stroma.images import write_cube
from tests.images.czi_writer import Piece, write_czi

from .fuzz import damaged, fuzz

SHARED = Path(__file__).parents[2].parent / "shared" / "data"
RNG = np.random.default_rng(0)
RGB = np.clip(np.add.outer(np.arange(70), np.arange(80))[:, :, None] + RNG.integers(0, 99, 3), 0, 255).astype(
    np.uint8
)
STACK = RNG.integers(0, 65536, (3, 40, 50), dtype=np.uint16)


def tivita(folder: Path) -> list[Path]:
    return [write_cube(folder / "a_SpecCube.dat", RNG.random((5, 6, 7), dtype=np.float32))]


def png(folder: Path) -> list[Path]:
    Pillow.fromarray(RGB).save(folder / "rgb.png")
    Pillow.fromarray(RGB).convert("P").save(folder / "palette.png", transparency=3)
    Pillow.fromarray(RGB[:, :, 0] > 80).save(folder / "bilevel.png")
    (folder / "deep.png").write_bytes(imagecodecs.png_encode(np.ascontiguousarray(np.moveaxis(STACK, 0, 2))))
    return [folder / f"{name}.png" for name in ("rgb", "palette", "bilevel", "deep")]


def jpeg(folder: Path) -> list[Path]:
    Pillow.fromarray(RGB).save(folder / "rgb.jpg")
    Pillow.fromarray(RGB).save(folder / "progressive.jpg", progressive=True)
    Pillow.fromarray(RGB).convert("CMYK").save(folder / "cmyk.jpg")
    Pillow.fromarray(RGB).save(folder / "rgb.bmp")
    Pillow.fromarray(RGB).convert("P").save(folder / "palette.bmp")
    return [folder / name for name in ("rgb.jpg", "progressive.jpg", "cmyk.jpg", "rgb.bmp", "palette.bmp")]


TIFFS = {
    "flat": (RGB, {"photometric": "rgb"}),
    "lzw": (RGB, {"photometric": "rgb", "compression": "lzw", "rowsperstrip": 16, "predictor": True}),
    "jpeg": (RGB, {"photometric": "rgb", "compression": "jpeg", "tile": (32, 32)}),
    "zlib": (RGB, {"photometric": "rgb", "compression": "zlib", "tile": (32, 32)}),
    "big": (STACK, {"photometric": "minisblack", "bigtiff": True, "byteorder": ">", "tile": (16, 16)}),
    "stack": (STACK, {"photometric": "minisblack", "compression": "zstd"}),
    "ome": (STACK, {"photometric": "minisblack", "ome": True, "metadata": {"axes": "CYX", "PhysicalSizeX": 0.5}}),
    "imagej": (STACK, {"imagej": True, "resolution": (2, 2), "metadata": {"axes": "CYX", "unit": "um"}}),
    "bilevel": (RGB[:, :, 0] > 80, {}),
    "palette": (RGB[:, :, 0], {"photometric": "palette", "colormap": np.zeros((3, 256), np.uint16)}),
}


def tiff(folder: Path) -> list[Path]:
    for name, (array, options) in TIFFS.items():
        tifffile.imwrite(folder / f"{name}.tif", array, **options)
    return [folder / f"{name}.tif" for name in TIFFS]


def slides(folder: Path) -> list[Path]:
    path = folder / "pyramid.tiff"
    with tifffile.TiffWriter(path) as writer:
        for step in (1, 2):
            options = {"photometric": "rgb", "compression": "jpeg", "tile": (32, 32), "metadata": None}
            writer.write(np.ascontiguousarray(RGB[::step, ::step]), subfiletype=step - 1, **options)
    fixtures = SHARED / "wsi_openslide_fixtures"
    real = [fixtures / name for name in ("small.svs", "boxes.tiff", "boxes_0.dcm")] if fixtures.is_dir() else []
    return [path, *real]


def documents(folder: Path) -> list[Path]:
    """What `stroma inspect` looks into beside images."""
    table = pl.DataFrame({"image_id": ["a", "b"] * 20, "x": range(40), "y": RNG.random(40)})
    provenance = Provenance("tiles/1", {"mpp": 0.5})
    parquet = write_table(table, folder / "a.parquet", provenance)
    table.write_ipc(folder / "a.feather")
    table.write_csv(folder / "a.csv")
    np.save(folder / "a.npy", STACK)
    (folder / "a.yaml").write_text("data: {study: s.yaml}\nmodel: {name: unet, encoder: [1, 2]}\n")
    (folder / "a_HRC1.txt").write_text(">>>>>Begin\n" + "".join(f"{500 + i} {i}\n" for i in range(40)))
    (folder / "a_DarkPattern.dpic").write_bytes(np.array([4, 5], ">i4").tobytes() + bytes(160))
    header = json.dumps({"w": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}}).encode()
    (folder / "a.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes(24))
    return [write_done(done_path(folder, "a"), provenance, [parquet]), *sorted(folder.glob("a[._][!d]*"))]


def arrays(folder: Path) -> list[Path]:
    cube, wavelengths = np.ascontiguousarray(STACK[:, :9, :11]), np.linspace(500.0, 600.0, 11)
    scipy.io.savemat(
        folder / "packed.mat", {"hsi": cube, "wavelengths": wavelengths, "s": {"a": 1}}, do_compression=True
    )
    scipy.io.savemat(folder / "plain.mat", {"hsi": cube, "wavelengths": wavelengths, "text": "abc"})
    np.save(folder / "cube.npy", cube)
    np.savez(folder / "plain.npz", hsi=cube, wavelengths=wavelengths)
    np.savez_compressed(folder / "packed.npz", hsi=cube, other=wavelengths)
    return [folder / name for name in ("packed.mat", "plain.mat", "cube.npy", "plain.npz", "packed.npz")]


def hdf5(folder: Path) -> list[Path]:
    h5py = pytest.importorskip("h5py")
    cube = np.ascontiguousarray(STACK[:, :9, :11])
    with h5py.File(folder / "a.mat", "w", userblock_size=512) as file:
        data = file.create_dataset("hsi", data=cube, chunks=(2, 4, 4), compression="gzip", shuffle=True)
        data.attrs["MATLAB_class"] = np.bytes_("uint16")
        file["wavelengths"] = np.linspace(500.0, 600.0, 3)
    with h5py.File(folder / "b.h5", "w", libver="latest") as file:
        file.create_group("g").create_dataset("x", data=cube, chunks=(2, 3, 4), compression="lzf", fletcher32=True)
    return [folder / "a.mat", folder / "b.h5"]


def envi(folder: Path) -> list[Path]:
    """Headers; the reader puts a data file of 1,000 bytes beside each."""
    common = "samples = 5\nlines = 4\nbands = 3\ndata type = 12\nbyte order = 0\nheader offset = 10\n"
    more = "; note\nwavelength units = um\nwavelength = {\n0.5, 0.6,\n0.7}\ndefault bands = {1, 2, 3}\n"
    (folder / "a.hdr").write_text("ENVI\n" + common + "interleave = bil\n")
    (folder / "b.hdr").write_text("ENVI\n" + common + more + "reflectance scale factor = 100\n")
    return [folder / "a.hdr", folder / "b.hdr"]


def zarr(folder: Path) -> list[Path]:
    """Metadata, and the only chunk of an array of 8 × 9 × 5 in every compression."""
    common = {"shape": [4, 6, 5], "fill_value": 0, "attributes": {"wavelengths": [500, 510, 520, 530, 540]}}
    chunks = {"name": "regular", "configuration": {"chunk_shape": [4, 6, 5]}}
    plain, shards = [{"name": "bytes", "configuration": {"endian": "little"}}], {"chunk_shape": [2, 3, 5]}
    shards |= {"codecs": plain, "index_codecs": plain, "index_location": "end"}
    for name, codecs in {"a": plain, "b": [{"name": "sharding_indexed", "configuration": shards}]}.items():
        content = {"zarr_format": 3, "node_type": "array", "data_type": "uint16", "chunk_grid": chunks}
        encoding = {"name": "default", "configuration": {"separator": "/"}}
        (folder / f"{name}.json").write_text(
            json.dumps({**content, **common, "codecs": codecs, "chunk_key_encoding": encoding})
        )
    old = {"zarr_format": 2, "chunks": [4, 6, 5], "dtype": "<u2", "order": "F", "compressor": None, "filters": None}
    (folder / "c.zarray").write_text(json.dumps({**common, **old}))
    data = STACK.ravel()[:360].astype("<u2").tobytes()
    packed = {"raw": data, "gzip": gzip.compress(data), "bz2": bz2.compress(data), "lzma": lzma.compress(data)}
    packed["zstd"] = bytes(imagecodecs.zstd_encode(data))
    packed["lz4"] = bytes(imagecodecs.lz4_encode(data, header=True))
    packed["blosc"] = bytes(imagecodecs.blosc_encode(data, typesize=2))
    for name, content in packed.items():
        (folder / f"{name}_chunk.{name}").write_bytes(content)
    return sorted(folder.iterdir())


def czi(folder: Path) -> list[Path]:
    pieces = [
        Piece(RGB, 5, 7, packing="jpeg xr"),
        Piece(np.ascontiguousarray(RGB[::2, ::2]), 5, 7, 2, packing="zstd 1"),
    ]
    stack = [Piece(plane, dims={"C": number}, packing="zstd 1 halves") for number, plane in enumerate(STACK)]
    gray = [Piece(plane, dims={"C": number}, packing="jpeg xr") for number, plane in enumerate(STACK)]
    return [write_czi(folder / f"{name}.czi", one) for name, one in (("a", pieces), ("b", stack), ("c", gray))]


def scanners(folder: Path) -> list[Path]:
    """TIFFs of JPEG 2000, JPEG XR, YCbCr, and a description of channels."""
    options = {"tile": (32, 32), "photometric": "rgb"}
    for name, compression in (("a", "jpeg2000"), ("b", 33003), ("c", "jpegxr"), ("d", "webp")):
        tifffile.imwrite(folder / f"{name}.tif", RGB, compression=compression, **options)
    tifffile.imwrite(folder / "e.tif", RGB, photometric="ycbcr", subsampling=(1, 1), compression="lzw", tile=(32, 32))
    about = "<PerkinElmer-QPI-ImageDescription><Name>DAPI</Name></PerkinElmer-QPI-ImageDescription>"
    tifffile.imwrite(
        folder / "f.tif", STACK[0], software="PerkinElmer-QPI", description=about, metadata=None, tile=(16, 16)
    )
    return sorted(folder.iterdir())


KINDS = {
    "czi": czi,
    "scanners": scanners,
    "zarr": zarr,
    "tivita": tivita,
    "arrays": arrays,
    "hdf5": hdf5,
    "envi": envi,
    "png": png,
    "jpeg": jpeg,
    "tiff": tiff,
    "slides": slides,
    "documents": documents,
}

READERS = {"documents": "stroma.support.describe:describe", "envi": "tests.harness.readers:read_envi"}
READERS["zarr"] = "tests.harness.readers:read_zarr"


def check(kind: str, folder: Path, cases: int, seed: int) -> None:
    (folder / "good").mkdir()
    reader = READERS.get(kind, "tests.harness.readers:read_image")
    report = fuzz(KINDS[kind](folder / "good"), reader, folder, cases=cases, seed=seed)
    listed = "\n\n".join(f"{f.outcome}: {f.detail}\n{f.replay}" for f in report.findings[:20])
    assert report.findings == [], f"{len(report.findings)} findings\n{listed}"
    assert report.read + report.refused == cases
    assert report.refused > 0


@pytest.mark.parametrize("kind", KINDS)
def test_damaged_files_are_read_or_refused(kind, tmp_path):
    check(kind, tmp_path, cases=60, seed=0)


@pytest.mark.proof
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(1, 5))
def test_many_damaged_files_are_read_or_refused(kind, seed, tmp_path):
    check(kind, tmp_path, cases=3000, seed=seed)


@pytest.mark.parametrize("outcome", ["crash", "hang", "MemoryError", "ValueError"])
def test_the_harness_notices(outcome, tmp_path, monkeypatch):
    good = tmp_path / "good.txt"
    good.write_bytes(b"good" * 20)
    monkeypatch.setenv("STROMA_TEST_FAULT", outcome)
    (tmp_path / "damaged").mkdir()
    report = fuzz([good], "tests.harness.readers:with_fault", tmp_path / "damaged", cases=2, seconds=0.5)
    assert [finding.outcome for finding in report.findings] == [outcome] * 2
    assert f"tests.harness.readers:with_fault 0 1 '{good}'" in report.findings[1].replay


def test_a_case_is_the_same_whenever_it_is_made():
    good = [bytes(range(256)) * 8, b"other" * 100]
    assert damaged(good, 3, 17) == damaged(good, 3, 17)
    assert len({damaged(good, 3, number) for number in range(50)}) > 45
