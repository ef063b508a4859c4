"""Run lengths of a slide's mask: Stroma beside the NumPy lines that Kaggle kernels and their heirs share."""

import tempfile
from pathlib import Path

import numpy as np

from benchmarks.peer import Comparison, Side, compare_measures

_MASK = "import functools\nimport numpy as np\nload = functools.cache(np.load)\n"  # read in the warm-up, not timed
OURS_ENCODE = Side(
    "stroma",
    _MASK + "from stroma.regions import encode_mask\ndef run(path):\n    return len(encode_mask(load(path)))\n",
)
PEER_ENCODE = Side(
    "transpose and diff",
    _MASK + "def run(path):\n"
    "    pixels = np.concatenate([[0], load(path).T.flatten(), [0]])\n"
    "    edges = np.where(pixels[1:] != pixels[:-1])[0] + 1\n"
    "    edges[1::2] -= edges[::2]\n"
    "    return len(' '.join(map(str, edges)))\n",
)
OURS_DECODE = Side(
    "stroma, tiles",
    "from pathlib import Path\nfrom stroma.regions import decode_runs\ndef run(path, height, width):\n"
    "    runs = decode_runs(Path(path).read_text(), height, width)\n"
    "    return sum(int(runs.window(x, y, 4096, 4096).sum())\n"
    "               for y in range(0, height, 4096) for x in range(0, width, 4096))\n",
)
PEER_DECODE = Side(
    "whole mask",
    "from pathlib import Path\nimport numpy as np\ndef run(path, height, width):\n"
    "    numbers = np.array(Path(path).read_text().split(), dtype=np.int64)\n"
    "    mask = np.zeros(height * width, dtype=np.uint8)\n"
    "    for start, length in zip(numbers[::2] - 1, numbers[1::2]):\n"
    "        mask[start:start + length] = 1\n"
    "    mask = mask.reshape(width, height).T\n"
    "    return sum(int(mask[y:y + 4096, x:x + 4096].sum())\n"
    "               for y in range(0, height, 4096) for x in range(0, width, 4096))\n",
)


def run() -> list[Comparison]:
    """A mask of 16,000 × 20,000 with 400 discs of 320 px, 10 % of the area."""
    height, width = 16_000, 20_000
    with tempfile.TemporaryDirectory() as folder:
        array, text = Path(folder) / "mask.npy", Path(folder) / "runs.txt"
        text.write_text(_write_mask(array, height, width))
        measures, size = ("seconds", "cpu_seconds", "peak_mib"), f"{height:,} × {width:,}"
        decode_arguments = [str(text), height, width]
        return [
            *compare_measures(
                f"RLE encode {size}", OURS_ENCODE, PEER_ENCODE, [str(array)], measures=measures, repeats=3
            ),
            *compare_measures(
                f"RLE decode {size}", OURS_DECODE, PEER_DECODE, decode_arguments, measures=measures, repeats=3
            ),
        ]


def _write_mask(path: Path, height: int, width: int) -> str:
    """Write the mask strip by strip, since processes inherit the peak memory of their parent; returns its runs."""
    from stroma.regions.rle import RunEncoder

    corners = np.random.default_rng(0).integers(0, (height - 320, width - 320), (400, 2)).tolist()
    encoder = RunEncoder(height, width)
    with path.open("wb") as handle:
        description = {"descr": "|u1", "fortran_order": False, "shape": (height, width)}
        np.lib.format.write_array_header_1_0(handle, description)
        for top in range(0, height, 500):
            strip = np.zeros((500, width), dtype=np.uint8)
            for y, x in corners:
                rows = np.arange(max(top, y), min(top + 500, y + 320))
                inside = (rows[:, None] - y - 160) ** 2 + (np.arange(320)[None, :] - 160) ** 2 < 160**2
                strip[rows - top, x : x + 320] |= inside.astype(np.uint8)
            handle.write(strip.tobytes())
            encoder.add(strip, 0, top)
    return encoder.finish().encode()
