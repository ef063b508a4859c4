"""Guards around libraries that parse foreign bytes: damage becomes `UnreadableImage`, sizes must be plausible."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from stroma.core.errors import StromaError, UnreadableImage

_DAMAGE = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    MemoryError,
    NotImplementedError,
    OSError,
    RuntimeError,
    SyntaxError,  # Pillow's word for a broken chunk
    TypeError,
    ValueError,
    struct.error,
)
"""What decoders raise on damaged files: fuzzing them yields every one of these."""

_AGAIN = "Copy or export the file again"
_LARGEST_RATIO = 10_000
_SLACK_BYTES = 64 * 2**20


@contextmanager
def foreign_bytes(path: Path, *also: type[Exception], next_step: str = _AGAIN) -> Iterator[None]:
    """Turn what a decoding library raises into `UnreadableImage`.

    As little as possible belongs inside, so that no mistake of ours is taken for a damaged file.

    Args:
        path: The file, for the message.
        *also: Errors of the library's own.
        next_step: What the user can do.
    """
    damage: tuple[type[Exception], ...] = (*_DAMAGE, *also)
    try:
        yield
    except StromaError:
        raise
    except OSError as error:
        if error.filename is not None and error.strerror:
            raise UnreadableImage(f"cannot be opened ({error.strerror})", where=path) from error
        raise UnreadableImage(_describe(error, path), where=path, next_step=next_step) from error
    except damage as error:
        raise UnreadableImage(_describe(error, path), where=path, next_step=next_step) from error


def _describe(error: Exception, path: Path) -> str:
    if isinstance(error, MemoryError):
        return "needs more memory than there is"
    text = " ".join(str(error).replace(f"Reading {path}: ", "").split()) or type(error).__name__
    text = text if len(text) <= 160 else text[:159] + "…"
    return f"is damaged or not supported ({text})"


def check_plausible(path: Path, height: int, width: int, channels: int, itemsize: int, stored_bytes: int) -> None:
    """Refuse sizes that the bytes on disk cannot hold, before memory is asked for.

    No codec in use packs more than about 1:8,000 (deflate over one bit a pixel), and sparse slides stay below
    1:10,000, which is the limit here.

    Args:
        path: The file, for the message.
        height: Declared height in pixels.
        width: Declared width in pixels.
        channels: Declared samples per pixel.
        itemsize: Bytes a sample.
        stored_bytes: Bytes on disk.

    Raises:
        UnreadableImage: a side is empty, or the declared size is out of proportion.
    """
    if height <= 0 or width <= 0 or channels <= 0:
        raise UnreadableImage(f"is damaged: it declares {width}×{height} pixels", where=path)
    if height * width * channels * itemsize > _LARGEST_RATIO * stored_bytes + _SLACK_BYTES:
        raise UnreadableImage(
            f"is damaged: {stored_bytes:,} bytes cannot hold the {width}×{height}×{channels} pixels that it declares",
            where=path,
            next_step=_AGAIN,
        )
