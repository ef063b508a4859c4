"""Blosc files of the htc framework: one array, or a dict of arrays, behind a small pickled header.

The header is never unpickled: its opcodes are read one by one, and only those that spell tuples, dicts, numbers,
texts and `numpy.dtype` are known. Anything else is an error, so a file cannot run code.
"""

from __future__ import annotations

import io
import pickletools
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import imagecodecs
import numpy as np
from numpy.typing import NDArray

from stroma.core.clock import stage
from stroma.core.errors import InvalidData, MissingFile, UnreadableImage, UsageError, nearest

_MARK = object()
_FRAME_HEADER = 16
_LONGEST_HEADER = 1 << 20
_PLAIN = {
    "BININT", "BININT1", "BININT2", "LONG1", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8", "SHORT_BINSTRING",
    "BINFLOAT",
}  # fmt: skip
_CONSTANTS: dict[str, Any] = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_DTYPE = "numpy.dtype"
_DAMAGE = (
    InvalidData, ValueError, TypeError, KeyError, IndexError, EOFError, AttributeError, OverflowError,
)  # fmt: skip
_NUMBER = re.compile(r"[<>|=]?[biufc][1-9]\d?")


def read_htc_blosc(path: Path | str, *, keys: Sequence[str] | None = None) -> NDArray[Any] | dict[Any, NDArray[Any]]:
    """Read a `.blosc` file that htc wrote (segmentations, preprocessed cubes, parameter images).

    Args:
        path: The file.
        keys: Which arrays of a dict to read; the others are skipped. None reads all.

    Returns:
        The array, or name → array in the order of the file.

    Raises:
        MissingFile: there is no such file.
        UnreadableImage: it is damaged, cut off, or not of this kind.
        UsageError: `keys` names an array that the file does not have, or the file has a single one.
    """
    path = Path(path)
    with _opened(path) as handle:
        header = _read_header(handle)
        if isinstance(header, dict):
            return _read_dict(handle, header, keys, path)
        if keys is not None:
            raise UsageError("holds a single array without a name", where=path)
        return _read_array(handle.read(), *header)


def read_htc_header(path: Path | str) -> dict[Any, tuple[tuple[int, ...], np.dtype[Any]]]:
    """Shape and data type of each array in a `.blosc` file, in its order; only its header is read.

    Returns:
        Name → shape and type; a single array without a name has the name None.

    Raises:
        MissingFile: there is no such file.
        UnreadableImage: it is damaged, or not of this kind.
    """
    with _opened(Path(path)) as handle:
        header = _read_header(handle)
    entries = header if isinstance(header, dict) else {None: header}
    return {name: (entry[0], entry[1]) for name, entry in entries.items()}


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    """The open file; what reading it raises on damage is told as such."""
    if not path.is_file():
        raise MissingFile("there is no such file", where=path)
    with path.open("rb") as handle:
        try:
            yield handle
        except _DAMAGE as error:
            text = error.what if isinstance(error, InvalidData) else str(error)
            raise UnreadableImage(f"is no blosc file of htc, or is damaged ({text})", where=path) from error


def _read_dict(
    handle: BinaryIO, header: dict[Any, Any], keys: Sequence[str] | None, path: Path
) -> dict[Any, NDArray[Any]]:
    for key in keys or ():
        if key not in header:
            raise UsageError(f"holds no '{key}'", where=path, next_step=nearest(key, map(str, header)))
    result = {}
    for key, (shape, dtype, count) in header.items():
        if keys is not None and key not in keys:
            handle.seek(count, 1)
            continue
        content = handle.read(count)
        if len(content) != count:
            raise InvalidData(f"'{key}' has {len(content):,} of {count:,} bytes")
        result[key] = _read_array(content, shape, dtype)
    return result


def _read_array(frame: bytes, shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
    if not all(isinstance(length, int) and length >= 0 for length in shape):
        raise InvalidData(f"the shape {shape} is none")
    expected = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    stated = int.from_bytes(frame[4:8], "little") if len(frame) >= _FRAME_HEADER else -1
    if stated != expected:
        raise InvalidData(f"{stated:,} bytes are stated where {shape} of {dtype} needs {expected:,}")
    if int.from_bytes(frame[12:16], "little") != len(frame):
        raise InvalidData(f"the compressed part has {len(frame):,} bytes and states another number")
    if expected == 0:
        return np.zeros(shape, dtype=dtype)
    with stage("decode"):
        result = np.empty(expected, dtype=np.uint8)
        try:
            imagecodecs.blosc_decode(frame, out=result.data)
        except imagecodecs.BloscError as error:
            raise InvalidData(str(error)) from error
        return result.view(dtype).reshape(shape)


def _read_header(handle: BinaryIO) -> Any:
    """Interpret the opcodes of the header; afterwards the file stands behind it."""
    stack: list[Any] = []
    memo: dict[int, Any] = {}
    beginning = io.BytesIO(handle.read(_LONGEST_HEADER))
    argument: Any
    for opcode, argument, _ in pickletools.genops(beginning):
        name = opcode.name
        if name in ("PROTO", "FRAME"):
            continue
        if name == "STOP":
            break
        if name in _PLAIN:
            stack.append(argument)
        elif name in _CONSTANTS:
            stack.append(_CONSTANTS[name])
        elif name in _TUPLES:
            count = _TUPLES[name]
            stack[-count:] = [tuple(stack[-count:])]
        elif name in ("MEMOIZE", "BINPUT", "LONG_BINPUT"):
            memo[len(memo) if name == "MEMOIZE" else argument] = stack[-1]
        elif name in ("BINGET", "LONG_BINGET"):
            stack.append(memo[argument])
        else:
            _apply(name, argument, stack)
    handle.seek(beginning.tell())
    if len(stack) != 1:
        raise InvalidData("the header is no single value")
    return _checked(stack[0])


def _apply(name: str, argument: Any, stack: list[Any]) -> None:
    """The opcodes that build containers and data types."""
    if name == "MARK":
        stack.append(_MARK)
    elif name == "EMPTY_DICT":
        stack.append({})
    elif name == "TUPLE":
        values = _since_mark(stack)
        stack.append(tuple(values))
    elif name == "SETITEM":
        value, key = stack.pop(), stack.pop()
        stack[-1][key] = value
    elif name == "SETITEMS":
        values = _since_mark(stack)
        stack[-1].update(zip(values[::2], values[1::2], strict=True))
    elif name in ("STACK_GLOBAL", "GLOBAL"):
        path = ".".join(argument.split(" ")) if name == "GLOBAL" else ".".join([stack.pop(-2), stack.pop()])
        if path != _DTYPE:
            raise InvalidData(f"the header asks for '{path}', which is not allowed")
        stack.append(_DTYPE)
    elif name == "REDUCE":
        arguments, function = stack.pop(), stack.pop()
        if function != _DTYPE:
            raise InvalidData("the header calls something, which is not allowed")
        if not _NUMBER.fullmatch(str(arguments[0])):
            raise InvalidData(f"the header has the data type {arguments[0]!r}, which is none of numbers")
        stack.append(np.dtype(str(arguments[0])))
    elif name == "BUILD":
        state = stack.pop()
        if not isinstance(stack[-1], np.dtype) or state[1] not in ("<", ">", "|", "="):
            raise InvalidData("the header sets a state, which is not allowed")
        stack[-1] = stack[-1].newbyteorder(state[1])
    else:
        raise InvalidData(f"the header has the opcode {name}, which is not allowed")


def _since_mark(stack: list[Any]) -> list[Any]:
    places = [i for i, value in enumerate(stack) if value is _MARK]
    place = places[-1]
    values = stack[place + 1 :]
    del stack[place:]
    return values


def _checked(header: Any) -> Any:
    entries = header.values() if isinstance(header, dict) else [header]
    length = 3 if isinstance(header, dict) else 2
    for entry in entries:
        is_entry = isinstance(entry, tuple) and len(entry) == length and isinstance(entry[0], tuple)
        if not is_entry or not isinstance(entry[1], np.dtype) or entry[1].hasobject:
            raise InvalidData("the header does not describe arrays")
    return header
