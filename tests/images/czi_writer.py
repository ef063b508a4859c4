"""Writes small CZI files: mosaics, pyramids, scenes, any packing."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from pathlib import Path

import imagecodecs
import numpy as np

PIXELS = {("u1", 1): 0, ("u2", 1): 1, ("f4", 1): 2, ("u1", 3): 3, ("u2", 3): 4}
RGB_FORMAT = bytes.fromhex("24c3dd6f034efe4bb1853d77768dc9")
XML = """<?xml version="1.0"?><ImageDocument><Metadata>
<Information><User><Name>secret</Name></User><Image>
<SizeX>{size[0]}</SizeX><SizeY>{size[1]}</SizeY><SizeS>1</SizeS><Dimensions><Channels>{channels}</Channels></Dimensions></Image>
</Information><Scaling><Items><Distance Id="X"><Value>{m}</Value></Distance>
<Distance Id="Y"><Value>{m}</Value></Distance></Items></Scaling></Metadata></ImageDocument>"""


@dataclass
class Piece:
    """Pixels (h, w) or (h, w, 3) RGB at `x`, `y`, a pixel of which spans `factor` pixels of the finest level."""

    pixels: np.ndarray
    x: int = 0
    y: int = 0
    factor: int = 1
    dims: dict[str, int] = field(default_factory=dict)  # C, Z, T, S, M
    packing: str = "none"


def packed(pixels: np.ndarray, packing: str) -> tuple[int, bytes]:
    stored = np.ascontiguousarray(pixels[:, :, ::-1] if pixels.ndim == 3 else pixels).tobytes()  # blue first
    if packing == "jpeg xr":
        data = imagecodecs.jpegxr_encode(pixels)
        return 4, data.replace(RGB_FORMAT + b"\x0d", RGB_FORMAT + b"\x0c")  # in these files it is called BGR
    if packing == "zstd 0":
        return 5, imagecodecs.zstd_encode(stored)
    if packing == "zstd 1":
        return 6, bytes([1]) + imagecodecs.zstd_encode(stored)
    if packing == "zstd 1 halves":
        halves = np.frombuffer(stored, np.uint8).reshape(-1, 2).T.tobytes()
        return 6, bytes([3, 1, 1]) + imagecodecs.zstd_encode(halves)
    return 0, stored


def entry(piece: Piece, packing: int, position: int) -> bytes:
    height, width = piece.pixels.shape[:2]
    kind = PIXELS[piece.pixels.dtype.str[1:], 1 if piece.pixels.ndim == 2 else 3]
    dims = {"X": (piece.x, width * piece.factor, width), "Y": (piece.y, height * piece.factor, height)}
    dims |= {name: (start, 1, 1) for name, start in piece.dims.items()}
    head = b"DV" + struct.pack("<iqiiB5si", kind, position, 0, packing, int(piece.factor > 1), b"", len(dims))
    each = [
        struct.pack("<4siifi", name.encode(), start, size, 0.0, stored)
        for name, (start, size, stored) in dims.items()
    ]
    return head + b"".join(each)


def segment(name: str, content: bytes) -> bytes:
    padded = content + bytes(-len(content) % 32)
    return struct.pack("<16sqq", name.encode(), len(padded), len(content)) + padded


def write_czi(path: Path, pieces: list[Piece], *, mpp: float = 0.22, channels: tuple[str, ...] = ()) -> Path:
    """Write a file: header, pieces, directory, metadata."""
    body, entries, begin = b"", [], 32 + 512
    for piece in pieces:
        packing, data = packed(piece.pixels, piece.packing)
        entries.append(entry(piece, packing, begin + len(body)))
        head = struct.pack("<iiq", 0, 0, len(data)) + entries[-1]
        body += segment("ZISRAWSUBBLOCK", head + bytes(max(0, 256 - len(head))) + data)
    directory = begin + len(body)
    body += segment("ZISRAWDIRECTORY", struct.pack("<i", len(entries)) + bytes(124) + b"".join(entries))
    named = "".join(f'<Channel Id="Channel:{i}" Name="{name}"/>' for i, name in enumerate(channels))
    size = [
        max(o + n * p.factor for o, n, p in spans) - min(o for o, _, _ in spans)
        for spans in (
            [(p.x, p.pixels.shape[1], p) for p in pieces],
            [(p.y, p.pixels.shape[0], p) for p in pieces],
        )
    ]
    xml = XML.format(m=mpp * 1e-6, channels=named, size=size).encode()
    metadata = begin + len(body)
    body += segment("ZISRAWMETADATA", struct.pack("<ii", len(xml), 0) + bytes(248) + xml)
    attachments = begin + len(body)
    body += segment("ZISRAWATTDIR", bytes(256))
    header = struct.pack("<iiii16s16siqqiq", 1, 0, 0, 0, b"", b"", 0, directory, metadata, 0, attachments)
    path.write_bytes(segment("ZISRAWFILE", header.ljust(512, b"\0")) + body)
    return path
