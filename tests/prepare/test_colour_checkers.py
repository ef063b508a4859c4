"""`stroma annotations colour-checker`: masks beside recordings, spectra of chips, failures by name."""

import numpy as np
import polars as pl
import pytest
from PIL import Image

from stroma.cli.main import run
from stroma.images import write_cube
from stroma.spectra.colour_boards import BOARDS
from stroma.spectra.colour_masks import read_chip_mask

CHIPS = BOARDS["cc_classic"].rgb[0] / 255


def board(step=40):
    """A board on a grey table, upright: 160 × 240 pixels of chips with dark lines between."""
    picture = np.full((300, 400, 3), 0.45)
    picture[50 : 50 + 4 * step + 20, 60 : 60 + 6 * step + 20] = 0.05
    for row in range(4):
        for column in range(6):
            y, x = 60 + row * step + 4, 70 + column * step + 4
            picture[y : y + step - 8, x : x + step - 8] = CHIPS[row, column]
    return picture


@pytest.fixture
def folder(tmp_path):
    """A recording with a board, one without, and a photograph, under names that are no ASCII."""
    root = tmp_path / "Prüfung #1"
    for time, picture in {"2022_12_25_20_37_40": board(), "2022_12_25_20_40_00": board()[:40, :50]}.items():
        (root / time).mkdir(parents=True)
        nm = np.linspace(500, 1000, 12)
        cube = np.stack([picture[..., 2 if w < 520 else 1 if w < 590 else 0] for w in nm], -1)
        write_cube(root / time / f"{time}_SpecCube.dat", cube.astype(np.float32))
        rgb = (255 * picture).astype(np.uint8)
        Image.fromarray(rgb).save(root / time / f"{time}_RGB-Image.png")
    return root


def test_masks_overlays_and_spectra(folder, tmp_path):
    out = tmp_path / "out"
    assert run(["annotations", "colour-checker", str(folder), "-o", str(out)]) == 3  # one of two failed
    mask = read_chip_mask(out / "masks" / "2022_12_25_20_37_40#squares#automask#cc_classic.png").mask
    assert mask.shape == (300, 400)
    for row in range(4):
        for column in range(6):
            assert mask[60 + row * 40 + 20, 70 + column * 40 + 20] == 1 + 6 * row + column
    chips = pl.read_parquet(out / "chips.parquet")
    assert chips.height == 24
    white = chips.row(by_predicate=pl.col("label") == "white", named=True)
    np.testing.assert_allclose(white["median_spectrum"], [0xF2 / 255] * 1 + [0xF3 / 255] * 11, atol=0.01)
    assert (out / "overlays" / "2022_12_25_20_37_40.png").is_file()
    failures = pl.read_parquet(out / "failures.parquet")
    assert "2022_12_25_20_40_00" in failures["item"].item()
    assert "shows no colour checker" in failures["message"].item()


def test_a_photograph(tmp_path):
    Image.fromarray((255 * board()).astype(np.uint8)).save(tmp_path / "ü a.png")
    assert run(["annotations", "colour-checker", str(tmp_path / "ü a.png"), "-o", str(tmp_path / "o")]) == 0
    chips = pl.read_parquet(tmp_path / "o" / "chips.parquet")
    red = chips.row(by_predicate=pl.col("label") == "red", named=True)
    np.testing.assert_allclose(red["median_spectrum"], [0xAF, 0x36, 0x3C], atol=1)


def test_nothing_is_written_twice(folder, tmp_path, capsys):
    command = ["annotations", "colour-checker", str(folder / "2022_12_25_20_37_40"), "-o", str(tmp_path / "o")]
    assert run([*command, "--dry-run"]) == 0
    assert not (tmp_path / "o" / "chips.parquet").exists()
    assert run(command) == 0
    assert run(command) == 1
    assert "exists already" in capsys.readouterr().err
    assert run([*command, "--overwrite"]) == 0
