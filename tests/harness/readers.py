"""Readers for the fuzz harness: what a user's program does with a file."""

import json
import os
import shutil
from multiprocessing.reduction import ForkingPickler
from pathlib import Path

from stroma.images.image import Image
from stroma.images.open import open_image

WHOLE_BELOW_BYTES = 2**26


def read_image(path: Path) -> None:
    """Open an image, read a corner, the middle beyond the edge, every level, and a copy from another process."""
    with open_image(path) as image:
        read_all(image)
        copy = ForkingPickler.loads(ForkingPickler.dumps(image))
        copy.read(0, 0, 1, 1)
        copy.close()


def read_envi(header: Path) -> None:
    """Read an ENVI cube with a data file of 1,000 bytes; `header` is the damaged file."""
    header.with_suffix(".raw").write_bytes(bytes(range(250)) * 4)
    read_image(header)


def read_zarr(file: Path) -> None:
    """Read a Zarr folder whose metadata (`.json` of version 3, `.zarray` of 2) or only chunk is the damaged file."""
    folder = file.with_name(f"{file.stem}.zarr")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    if file.suffix == ".json":
        (folder / "zarr.json").write_bytes(file.read_bytes())
        (folder / "c/0/0").mkdir(parents=True)
        index = [60 * number for number in (0, 1, 1, 1, 2, 1, 3, 1)] if b"shard" in file.read_bytes() else []
        (folder / "c/0/0/0").write_bytes(bytes(range(240)) + b"".join(n.to_bytes(8, "little") for n in index))
    elif file.suffix == ".zarray":
        (folder / ".zarray").write_bytes(file.read_bytes())
        (folder / "0.0.0").write_bytes(bytes(range(240)))
    else:
        compressor = None if file.suffix == ".raw" else {"id": file.suffix[1:]}
        entries = {
            "zarr_format": 2,
            "shape": [8, 9, 5],
            "chunks": [8, 9, 5],
            "dtype": "<u2",
            "compressor": compressor,
        }
        (folder / ".zarray").write_text(json.dumps({**entries, "fill_value": 0, "order": "C", "filters": None}))
        (folder / "0.0.0").write_bytes(file.read_bytes())
    read_image(folder)


def read_all(image: Image) -> None:
    """Read from everywhere, but not more than a reader would hold."""
    height, width, channels = image.shape
    image.read(-2, -2, 6, 6)
    image.read(width // 2, height // 2, min(width, 100), min(height, 100))
    for number, level in enumerate(image.levels):
        factor = level.downsample
        if level.height * level.width * channels * image.dtype.itemsize < WHOLE_BELOW_BYTES:
            image.read(w=max(1, int(level.width * factor)), h=max(1, int(level.height * factor)), level=number)
    if image.mpp is not None:
        image.read(0, 0, min(width, 64), min(height, 64), mpp=image.mpp * 3.3)


def with_fault(path: Path) -> None:
    """A bad reader for the test of the harness itself: on damaged files it does what the environment says."""
    if path.read_bytes() == b"good" * 20:
        return
    fault = os.environ["STROMA_TEST_FAULT"]
    if fault == "crash":
        os.abort()
    elif fault == "MemoryError":
        bytearray(2**40)
    elif fault == "ValueError":
        raise ValueError("broken")
    while fault == "hang":
        pass
