import re
import tracemalloc
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from stroma.core.errors import InvalidData, MissingFile, UsageError
from stroma.regions.rle import RunEncoder, decode_runs, encode_mask
from stroma.regions.rle_csv import read_rle_csv, write_rle_csv

HUBMAP = Path(__file__).parents[3] / "shared" / "data" / "glomeruli_hubmap_tiles"


def example() -> np.ndarray:
    """4 × 5: rows 1-2 of column 2, the pixel (3, 3) and the pixel (0, 4), so that a run crosses columns."""
    mask = np.zeros((4, 5), dtype=np.uint8)
    mask[1:3, 2] = mask[3, 3] = mask[0, 4] = 1
    return mask


def reference_encode(mask: np.ndarray) -> str:
    """The definition, pixel by pixel."""
    runs: list[int] = []
    previous = 0
    for position, value in enumerate(mask.T.ravel(), start=1):
        if value and not previous:
            runs += [position, 0]
        if value:
            runs[-1] += 1
        previous = value
    return " ".join(map(str, runs))


def test_counting_is_column_major_from_one_and_runs_cross_columns():
    assert encode_mask(example()) == "10 2 16 2"
    assert np.array_equal(decode_runs("10 2 16 2", 4, 5).window(0, 0, 5, 4), example() > 0)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int32])
def test_encoding_equals_the_definition_and_decodes_to_the_same_mask(seed, dtype):
    rng = np.random.default_rng(seed)
    height, width = rng.integers(1, 40, 2)
    mask = rng.random((height, width)) < rng.random()
    values = mask if dtype is bool else mask.astype(dtype) * rng.integers(1, 99, mask.shape, dtype=dtype)
    text = encode_mask(values)
    assert text == reference_encode(mask)
    runs = decode_runs(text, height, width)
    assert np.array_equal(runs.window(0, 0, width, height), mask)
    assert runs.encode() == text
    assert runs.pixels == mask.sum()


def test_a_wide_mask_is_compared_in_several_pieces():
    mask = np.zeros((23, 100_003), dtype=bool)
    mask[2:20, ::997] = True
    assert decode_runs(encode_mask(mask), *mask.shape).pixels == mask.sum()
    assert encode_mask(mask).startswith("3 18 22934 18 ")  # column 0, then column 997: 997 * 23 + 3


@pytest.mark.parametrize(("x", "y", "w", "h"), [(0, 0, 7, 5), (13, 9, 20, 30), (-4, -3, 12, 50), (38, 22, 10, 10)])
def test_a_window_is_a_crop_and_false_outside(x, y, w, h):
    mask = np.random.default_rng(1).random((25, 40)) < 0.4
    padded = np.pad(mask, 60)
    runs = decode_runs(encode_mask(mask), 25, 40)
    assert np.array_equal(runs.window(x, y, w, h), padded[y + 60 : y + 60 + h, x + 60 : x + 60 + w])


@pytest.mark.parametrize("downsample", [2, 3, 2.5])
def test_convention_a_coarse_pixel_has_the_value_under_its_centre(downsample):
    mask = np.random.default_rng(2).random((60, 45)) < 0.5
    runs = decode_runs(encode_mask(mask), 60, 45)
    coarse = runs.window(3, 5, 30, 40, downsample=downsample)
    assert coarse.shape == (round(40 / downsample), round(30 / downsample))
    for row, column in np.ndindex(coarse.shape):
        y, x = int(5 + (row + 0.5) * downsample), int(3 + (column + 0.5) * downsample)
        assert coarse[row, column] == mask[y, x]


def test_blocks_in_any_order_give_the_runs_of_the_whole():
    mask = np.random.default_rng(3).random((50, 70)) < 0.6
    encoder = RunEncoder(50, 70)
    corners = [(x, y) for y in range(0, 50, 16) for x in range(0, 70, 16)]
    for x, y in reversed(corners):
        encoder.add(mask[y : y + 16, x : x + 16], x, y)
    assert encoder.finish().encode() == encode_mask(mask)


def test_blocks_beyond_the_image_and_on_others_are_an_error():
    strip = np.ones((10, 20), dtype=bool)
    encoder = RunEncoder(10, 20)
    with pytest.raises(UsageError, match="not inside"):
        encoder.add(strip, 1, 0)
    encoder.add(strip)
    encoder.add(strip)
    with pytest.raises(InvalidData, match="overlaps"):
        encoder.finish()


def test_positions_beyond_32_bits_are_exact():
    """The last pixel of a 60,000 × 80,000 image is number 4.8e9."""
    runs = decode_runs("4799999999 2", 60_000, 80_000)
    corner = runs.window(79_998, 59_996, 2, 4)
    assert corner.tolist() == [[False, False], [False, False], [False, True], [False, True]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1 2 5", "odd count.*run 1"),
        ("1 2 5 x", "run 1 has 'x'"),
        ("1 2 99999999999999999999 1", "run 1 has '99999999999999999999'"),
        ("1 2 1.5 1", "run 1 has '1.5'"),
        ("1 2 0 1", "run 1 .*before the first"),
        ("1 2 8 0", "run 1 .*no pixels"),
        ("1 2 19 3", r"run 1 \(19 3\) ends beyond the last pixel of 4 × 5"),
        ("1 2 9223372036854775807 9", "run 1 .*beyond"),
        ("1 2 6 4 9 1", "run 2 .*overlaps run 1"),
        ("9 1 6 4", r"run 1 .*overlaps run 0"),
    ],
)
def test_bad_runs_are_named_by_their_index(text, message):
    with pytest.raises(InvalidData, match=message) as error:
        decode_runs(text, 4, 5, where="slide a")
    assert "slide a" in str(error.value)


def test_unsorted_and_touching_runs_are_normalised():
    assert decode_runs("16 2 10 1 11 1", 4, 5).encode() == "10 2 16 2"


@pytest.mark.parametrize("text", ["", None, "   "])
def test_no_text_is_an_empty_mask(text):
    runs = decode_runs(text, 4, 5)
    assert not runs.window(0, 0, 5, 4).any()
    assert runs.encode() == ""


def test_csv_files_keep_ids_as_text_and_empty_masks(tmp_path):
    path = write_rle_csv(tmp_path / "a ä#,.csv", {"007": "1 2", "x,y": ""})
    assert path.read_bytes() == b'id,encoding\n007,1 2\n"x,y",\n'
    table = read_rle_csv(path)
    assert table["image_id"].to_list() == ["007", "x,y"]
    assert table["encoding"].to_list() == ["1 2", ""]
    assert table["label"].to_list() == [None, None]


@pytest.mark.parametrize("column", ["encoding", "rle", "predicted"])
def test_the_three_known_columns_are_found(tmp_path, column):
    path = write_rle_csv(tmp_path / "a.csv", {"a": "3 4"}, column=column)
    assert read_rle_csv(path)["encoding"].to_list() == ["3 4"]


def test_one_column_per_class_is_read_by_name(tmp_path):
    (tmp_path / "a.csv").write_text("id,cortex,medulla\nA,1 2,\nB,3 4,5 6\n")
    table = read_rle_csv(tmp_path / "a.csv", columns=["cortex", "medulla"])
    assert table.rows() == [
        ("A", "cortex", "1 2"),
        ("B", "cortex", "3 4"),
        ("A", "medulla", ""),
        ("B", "medulla", "5 6"),
    ]
    with pytest.raises(InvalidData, match="cortex, medulla"):
        read_rle_csv(tmp_path / "a.csv")


def test_broken_csv_files_are_told(tmp_path):
    (tmp_path / "twice.csv").write_text("id,rle\nA,1 2\nA,3 4\n")
    with pytest.raises(InvalidData, match="'A' more than once"):
        read_rle_csv(tmp_path / "twice.csv")
    (tmp_path / "noid.csv").write_text("name,rle\nA,1 2\n")
    with pytest.raises(InvalidData, match="'id'"):
        read_rle_csv(tmp_path / "noid.csv")
    (tmp_path / "empty.csv").write_text("")
    with pytest.raises(InvalidData):
        read_rle_csv(tmp_path / "empty.csv")
    with pytest.raises(MissingFile):
        read_rle_csv(tmp_path / "none.csv")


@pytest.mark.skipif(not HUBMAP.is_dir(), reason="the shared data is not beside the checkout")
@pytest.mark.parametrize(
    ("image_id", "width", "height", "runs", "pixels"),
    [("2f6ecfcdf", 25794, 31278, 41_688, 8_030_180), ("8242609fa", 44066, 31299, 161_083, 32_572_435)],
)
def test_real_hubmap_slides_decode_into_the_tiles_cut_from_them(image_id, width, height, runs, pixels):
    """The tiles were cut at a reduction of 16 from the slide padded to whole tiles; masks by nearest pixel."""
    table = read_rle_csv(HUBMAP / "train.csv")
    text = dict(zip(table["image_id"], table["encoding"], strict=True))[image_id]
    decoded = decode_runs(text, height, width)
    assert (len(decoded), decoded.pixels) == (runs, pixels)
    assert decoded.encode() == text
    size = 16 * 256
    left, top = ((size - length % size) % size // 2 for length in (width, height))
    columns = -(-width // size)
    files = sorted((HUBMAP / "masks").glob(f"{image_id}_*.png"))
    assert len(files) == 6
    for file in files:
        row, column = divmod(int(re.findall(r"_(\d+)red16", file.name)[0]), columns)
        x, y = column * size - left, row * size - top
        # their nearest pixel is the top-left one of 16 × 16, ours the one under the centre: shift by half
        tile = decoded.window(x - 8, y - 8, size, size, downsample=16)
        assert np.array_equal(tile, np.asarray(PIL.Image.open(file)) > 0)


@pytest.mark.skipif(not HUBMAP.is_dir(), reason="the shared data is not beside the checkout")
def test_a_real_slide_of_1_4_gigapixels_decodes_into_tiles_under_200_mb():
    table = read_rle_csv(HUBMAP / "train.csv")
    text = dict(zip(table["image_id"], table["encoding"], strict=True))["8242609fa"]
    tracemalloc.start()
    runs, pixels = decode_runs(text, 31299, 44066), 0
    for y in range(0, 31299, 4096):
        for x in range(0, 44066, 4096):
            pixels += int(runs.window(x, y, 4096, 4096).sum())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert pixels == 32_572_435
    assert peak < 200e6


def test_ids_of_digits_stay_as_they_are_written(tmp_path):
    (tmp_path / "a.csv").write_text("id,encoding\n007,3 4\n1e3,\n")
    assert read_rle_csv(tmp_path / "a.csv").rows() == [("007", None, "3 4"), ("1e3", None, "")]
