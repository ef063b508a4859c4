"""`stroma tile`: outputs, resume, failures, and HistoPrep's and HistoEncoder's own tile tables."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray
from PIL import Image as Picture
from pydantic import ValidationError

from stroma.cli.main import run
from stroma.core.errors import OutputConflict
from stroma.core.files import read_json
from stroma.core.tables import ADDRESS_SCHEMA, read_provenance, read_table
from stroma.images.open import open_image
from stroma.prepare import slide_images
from stroma.prepare.slide_tiles import tile_table_path
from stroma.prepare.sources import open_source, read_sources
from stroma.prepare.tile_options import TileOptions
from stroma.prepare.tiles import tile
from tests.harness.kill import kill_and_resume

DATA = Path(__file__).parents[2].parent / "shared" / "data"
HISTOPREP = DATA / "slides_jpeg_histoprep"
HISTOENCODER = DATA / "histoencoder_tiles"
OPENSLIDE = DATA / "wsi_openslide_fixtures"
CMU = DATA / "wsi_svs_cmu1_small_region" / "small_HE.svs"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="the shared data are not beside the checkout")


def options(*inputs: Path, output: Path, **more: Any) -> TileOptions:
    return TileOptions(inputs=inputs, output=output, **more)


def slide(path: Path, height: int = 60, width: int = 100, seed: int = 0) -> Path:
    """A white slide with a dark textured block in columns 20 to 59 and rows 10 to 49."""
    pixels = np.full((height, width, 3), 240, dtype=np.uint8)
    pixels[10:50, 20:60] = np.random.default_rng(seed).integers(60, 140, (40, 40, 3))
    path.parent.mkdir(parents=True, exist_ok=True)
    Picture.fromarray(pixels).save(path)
    return path


def tiles_of(folder: Path, image_id: str) -> pl.DataFrame:
    return read_table(tile_table_path(folder, image_id), format="tiles/1")


def contents(folder: Path) -> dict[str, str]:
    """Hash of every file but the log."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.relative_to(folder).parts[0] != "log"
    }


def test_the_table_holds_the_tiles_with_enough_tissue(tmp_path: Path) -> None:
    slide(tmp_path / "in" / "s.png")
    result = tile(options(tmp_path / "in", output=tmp_path / "out", tile_px=20, sigma=0))
    table = tiles_of(tmp_path / "out", "s")
    assert table.schema == {**ADDRESS_SCHEMA, "tissue": pl.Float64()}
    expected = [(x, y, 1.0 if y == 20 else 0.5) for y in (0, 20, 40) for x in (20, 40)]
    assert list(table.select("x", "y", "tissue").iter_rows()) == expected
    assert table["region"].to_list() == [1, 2, 6, 7, 11, 12]  # of a grid of 5 columns and 3 rows
    assert table["w"].to_list() == table["h"].to_list() == [20] * 6
    assert table["mpp"].is_null().all()
    assert result.summary == {"images": 1, "tiles": 6}
    assert result.exit_code == 0


def test_every_output_of_the_contract_is_there(tmp_path: Path) -> None:
    slide(tmp_path / "in" / "Fall #1" / "ä, b+c@2.png")
    out = tmp_path / "out put"
    tile(options(tmp_path / "in", output=out, tile_px=20))
    name = "Fall%20%231%2F%C3%A4%2C%20b%2Bc%402"
    assert sorted(contents(out)) == [
        f"{name}.done.json",
        "sources.parquet",
        f"thumbnails/{name}.png",
        f"tiles/{name}.parquet",
        f"tissue/{name}.png",
    ]
    done = read_json(out / f"{name}.done.json")
    assert sorted(done["outputs"]) == [f"thumbnails/{name}.png", f"tiles/{name}.parquet", f"tissue/{name}.png"]
    sources = read_sources(out)
    assert sources.row(0) == (
        "Fall #1/ä, b+c@2",
        "Fall #1/ä, b+c@2",
        str(tmp_path / "in" / "Fall #1" / "ä, b+c@2.png"),
    )
    mask = np.asarray(Picture.open(out / "tissue" / f"{name}.png"))
    assert set(np.unique(mask)) == {0, 255}
    assert mask.shape == (60, 100)


def test_provenance_names_settings_and_input_but_no_place(tmp_path: Path) -> None:
    slide(tmp_path / "in" / "s.png")
    tile(options(tmp_path / "in", output=tmp_path / "out", tile_px=20))
    provenance = read_provenance(tile_table_path(tmp_path / "out", "s"))
    assert provenance.settings["tile_px"] == 20
    assert {"inputs", "output", "workers", "overwrite"}.isdisjoint(provenance.settings)
    assert provenance.inputs[0].id == "s"
    assert str(tmp_path) not in "".join(p.read_text("latin-1") for p in (tmp_path / "out").glob("*.done.json"))


def test_min_tissue_is_inclusive_and_zero_keeps_the_whole_grid(tmp_path: Path) -> None:
    slide(tmp_path / "s.png")
    for minimum, count in ((0.5, 6), (0.51, 2), (0, 15)):
        out = tmp_path / str(minimum)
        tile(options(tmp_path / "s.png", output=out, tile_px=20, sigma=0, min_tissue=minimum))
        assert len(tiles_of(out, "s")) == count


def test_a_target_resolution_sets_the_size_of_tiles(tmp_path: Path) -> None:
    slide(tmp_path / "s.png")
    out = tmp_path / "out"
    tile(options(tmp_path / "s.png", output=out, tile_px=10, mpp=0.5, source_mpp=0.25, sigma=0, save_images=True))
    table = tiles_of(out, "s")
    assert table["w"].unique().to_list() == [20]
    assert table["mpp"].unique().to_list() == [0.5]
    saved = sorted((out / "images" / "s").iterdir())
    assert len(saved) == len(table) == 6
    assert saved[0].name == "x20_y0_w20_h20.jpg"
    assert Picture.open(saved[0]).size == (10, 10)


def test_a_target_finer_than_the_slide_is_said(tmp_path: Path) -> None:
    slide(tmp_path / "s.png")
    result = tile(options(tmp_path / "s.png", output=tmp_path / "out", tile_px=20, mpp=0.25, source_mpp=0.5))
    assert any("read tiles are enlarged" in line for line in result.lines)


def test_images_open_again_with_the_resolution_they_were_tiled_with(tmp_path: Path) -> None:
    slide(tmp_path / "s.png")
    tile(options(tmp_path / "s.png", output=tmp_path / "out", tile_px=10, mpp=0.5, source_mpp=0.25))
    settings = read_provenance(tile_table_path(tmp_path / "out", "s")).settings
    assert open_source(tmp_path / "s.png", settings).mpp == 0.25


def test_saved_tiles_are_the_pixels_of_the_slide(tmp_path: Path) -> None:
    slide(tmp_path / "s.png", width=75)
    out = tmp_path / "out"
    tile(
        options(
            tmp_path / "s.png", output=out, tile_px=20, sigma=0, save_images=True, image_format="png", min_tissue=0
        )
    )
    saved = np.asarray(Picture.open(out / "images" / "s" / "x60_y0_w20_h20.png"))
    whole = np.asarray(Picture.open(tmp_path / "s.png"))
    np.testing.assert_array_equal(saved[:, :15], whole[:20, 60:])
    assert (saved[:, 15:] == 255).all()


def test_specks_are_dropped_and_holes_filled_on_request(tmp_path: Path) -> None:
    pixels = np.full((60, 100, 3), 240, dtype=np.uint8)
    pixels[10:50, 20:60] = np.random.default_rng(0).integers(60, 140, (40, 40, 3))
    pixels[20:30, 30:40] = 240  # a hole of 100 pixels
    pixels[5:9, 80:84] = 90  # a speck of 16 pixels, 4 µm² at 0.5 µm/px
    Picture.fromarray(pixels).save(tmp_path / "s.png")
    for more, area in (
        ({}, 1516),
        ({"fill_holes": True}, 1616),
        ({"min_area_px": 16}, 1516),
        ({"min_area_px": 17}, 1500),
        ({"min_area_um2": 4.0, "source_mpp": 0.5}, 1516),
        ({"min_area_um2": 4.1, "source_mpp": 0.5}, 1500),
    ):
        out = tmp_path / f"out {more}"
        tile(options(tmp_path / "s.png", output=out, tile_px=20, sigma=0, **more))
        assert (np.asarray(Picture.open(out / "tissue" / "s.png")) == 255).sum() == area


def test_a_slide_without_tissue_is_done_with_an_empty_table(tmp_path: Path) -> None:
    Picture.new("RGB", (64, 64), "white").save(tmp_path / "blank.png")
    result = tile(options(tmp_path / "blank.png", output=tmp_path / "out", tile_px=16, save_images=True))
    assert (result.exit_code, result.done, result.summary["tiles"]) == (0, 1, 0)
    assert any("no tissue found" in line for line in result.lines)
    table = tiles_of(tmp_path / "out", "blank")
    assert len(table) == 0
    assert table.schema == {**ADDRESS_SCHEMA, "tissue": pl.Float64()}
    assert tile(options(tmp_path / "blank.png", output=tmp_path / "out", tile_px=16, save_images=True)).skipped == 1


def test_unknown_subjects_are_said(tmp_path: Path) -> None:
    slide(tmp_path / "s.png")
    result = tile(options(tmp_path / "s.png", output=tmp_path / "out", tile_px=20))
    assert "subjects unknown: each image counts as its own subject" in result.lines


def test_subjects_of_a_study_reach_the_sources(tmp_path: Path) -> None:
    for name in ("patient 7/a.png", "patient 8/b.png"):
        slide(tmp_path / "data" / name)
    (tmp_path / "study.yaml").write_text(
        "name: slides\nroot: data\nlayout: {name: slides, pictures: true}\nopen: {mpp: 0.5}\n"
        "subjects: {rule: path-level, level: 1}\n"
    )
    result = tile(options(tmp_path / "study.yaml", output=tmp_path / "out", tile_px=10, mpp=1.0))
    assert result.done == 2
    assert not any("subjects unknown" in line for line in result.lines)
    assert read_sources(tmp_path / "out")["subject_id"].to_list() == ["patient 7", "patient 8"]
    table = tiles_of(tmp_path / "out", "patient 7/a")
    assert table["w"].unique().to_list() == [20]
    settings = read_provenance(tile_table_path(tmp_path / "out", "patient 7/a")).settings
    assert open_source(tmp_path / "data" / "patient 7" / "a.png", settings).mpp == 0.5


# --- run again -----------------------------------------------------------------------------------------------


def test_two_runs_and_two_workers_give_identical_bytes(tmp_path: Path) -> None:
    for seed in range(3):
        slide(tmp_path / "in" / f"{seed}.png", seed=seed)
    for name, workers in (("one", 1), ("two", 2)):
        tile(options(tmp_path / "in", output=tmp_path / name, tile_px=20, save_images=True, workers=workers))
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


def test_complete_slides_are_skipped_and_missing_ones_made(tmp_path: Path) -> None:
    for seed in range(3):
        slide(tmp_path / "in" / f"{seed}.png", seed=seed)
    again = options(tmp_path / "in", output=tmp_path / "out", tile_px=20)
    tile(again)
    before = contents(tmp_path / "out")
    (tmp_path / "out" / "tiles" / "1.parquet").unlink()
    result = tile(again)
    assert (result.done, result.skipped) == (1, 2)
    assert contents(tmp_path / "out") == before


def test_verify_notices_a_changed_output(tmp_path: Path) -> None:
    slide(tmp_path / "s.png")
    tile(options(tmp_path / "s.png", output=tmp_path / "out", tile_px=20))
    before = contents(tmp_path / "out")
    mask = tmp_path / "out" / "tissue" / "s.png"
    damaged = bytearray(mask.read_bytes())
    damaged[-20] ^= 1
    mask.write_bytes(damaged)
    assert tile(options(tmp_path / "s.png", output=tmp_path / "out", tile_px=20)).skipped == 1
    assert tile(options(tmp_path / "s.png", output=tmp_path / "out", tile_px=20, verify=True)).done == 1
    assert contents(tmp_path / "out") == before


def test_a_run_killed_midway_leaves_nothing_that_looks_complete(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for seed in range(2):
        slide(tmp_path / "in" / f"{seed}.png", seed=seed)
    again = {"tile_px": 20, "save_images": True}
    tile(options(tmp_path / "in", output=tmp_path / "whole", **again))
    calls = []

    def killed(path: Path, pixels: NDArray[np.uint8], *more: Any) -> None:
        calls.append(path)
        if len(calls) == 9:  # in the second slide
            raise KeyboardInterrupt
        original(path, pixels, *more)

    original = slide_images.write_unsynced
    monkeypatch.setattr(slide_images, "write_unsynced", killed)
    with pytest.raises(KeyboardInterrupt):
        tile(options(tmp_path / "in", output=tmp_path / "killed", **again))
    left = contents(tmp_path / "killed")
    assert "0.done.json" in left
    assert "1.done.json" not in left
    assert "sources.parquet" not in left
    monkeypatch.undo()
    assert tile(options(tmp_path / "in", output=tmp_path / "killed", **again)).skipped == 1
    assert contents(tmp_path / "killed") == contents(tmp_path / "whole")


@pytest.mark.proof
def test_killed_at_any_moment_and_run_again_gives_the_same_bytes(tmp_path: Path) -> None:
    for seed in range(4):
        slide(tmp_path / "in" / f"{seed}.png", 300, 400, seed)
    arguments = ["tile", str(tmp_path / "in"), "--tile-px", "16", "--min-tissue", "0", "--save-images"]
    comparison = kill_and_resume(arguments, tmp_path / "kills", kills=6)
    assert comparison.kills > 0
    assert comparison.differences == []


def test_other_settings_are_an_error_naming_them_or_overwrite(tmp_path: Path) -> None:
    slide(tmp_path / "s.png")
    tile(options(tmp_path / "s.png", output=tmp_path / "out", tile_px=20, save_images=True))
    with pytest.raises(OutputConflict, match="tile_px was 20, is 30"):
        tile(options(tmp_path / "s.png", output=tmp_path / "out", tile_px=30, save_images=True))
    tile(options(tmp_path / "s.png", output=tmp_path / "out", tile_px=30, save_images=True, overwrite=True))
    tile(options(tmp_path / "s.png", output=tmp_path / "fresh", tile_px=30, save_images=True))
    assert contents(tmp_path / "out") == contents(tmp_path / "fresh")


def test_another_slide_under_the_same_id_is_an_error(tmp_path: Path) -> None:
    slide(tmp_path / "a" / "s.png")
    slide(tmp_path / "b" / "s.png", seed=1)
    tile(options(tmp_path / "a", output=tmp_path / "out", tile_px=20))
    with pytest.raises(OutputConflict, match="'s' has changed"):
        tile(options(tmp_path / "b", output=tmp_path / "out", tile_px=20))


def test_a_second_batch_joins_the_first(tmp_path: Path) -> None:
    slide(tmp_path / "in" / "a.png")
    slide(tmp_path / "in" / "b.png", seed=1)
    for batch in (["a.png"], ["b.png"]):
        tile(options(*(tmp_path / "in" / name for name in batch), output=tmp_path / "out", tile_px=20))
    tile(options(tmp_path / "in", output=tmp_path / "fresh", tile_px=20))
    assert contents(tmp_path / "out") == contents(tmp_path / "fresh")


def test_dry_run_writes_nothing(tmp_path: Path) -> None:
    slide(tmp_path / "s.png")
    result = tile(options(tmp_path / "s.png", output=tmp_path / "out", tile_px=20, dry_run=True))
    assert not (tmp_path / "out").exists()
    assert result.summary == {"images": 1, "to do": 1}
    assert any(str(tmp_path / "s.png") in line for line in result.lines)


# --- bad input -----------------------------------------------------------------------------------------------


def failures(folder: Path) -> dict[str, str]:
    table = read_table(folder / "failures.parquet")
    return dict(table.select("item", "message").iter_rows())


def test_broken_files_are_recorded_and_the_rest_goes_on(tmp_path: Path) -> None:
    slide(tmp_path / "in" / "good.png")
    (tmp_path / "in" / "text.png").write_text("no picture")
    (tmp_path / "in" / "cut.png").write_bytes((tmp_path / "in" / "good.png").read_bytes()[:2000])
    (tmp_path / "in" / "empty.svs").touch()
    result = tile(options(tmp_path / "in", output=tmp_path / "out", tile_px=20))
    assert (result.done, len(result.failed), result.exit_code) == (1, 3, 3)
    messages = failures(tmp_path / "out")
    assert sorted(messages) == ["cut", "empty", "text"]
    assert all(str(tmp_path / "in") in message for message in messages.values())
    assert read_sources(tmp_path / "out")["image_id"].to_list() == ["good"]
    assert sorted(p.name for p in (tmp_path / "out").glob("*.done.json")) == ["good.done.json"]


def test_a_repaired_file_is_made_and_the_failure_forgotten(tmp_path: Path) -> None:
    slide(tmp_path / "in" / "good.png")
    (tmp_path / "in" / "bad.png").write_text("no picture")
    tile(options(tmp_path / "in", output=tmp_path / "out", tile_px=20))
    slide(tmp_path / "in" / "bad.png", seed=1)
    result = tile(options(tmp_path / "in", output=tmp_path / "out", tile_px=20))
    assert (result.done, result.skipped, result.exit_code) == (1, 1, 0)
    assert not (tmp_path / "out" / "failures.parquet").exists()


def test_a_target_resolution_needs_a_source_resolution(tmp_path: Path) -> None:
    slide(tmp_path / "s.png")
    result = tile(options(tmp_path / "s.png", output=tmp_path / "out", mpp=0.5))
    assert result.exit_code == 1
    assert "Give it with --source-mpp" in failures(tmp_path / "out")["s"]


def test_a_tile_larger_than_the_slide_is_padded_or_refused_with_both_sizes(tmp_path: Path) -> None:
    slide(tmp_path / "s.png")
    kept = tile(options(tmp_path / "s.png", output=tmp_path / "keep", tile_px=128, min_tissue=0.05))
    assert any("reach beyond the slide, 100 wide × 60 high" in line for line in kept.lines)
    assert list(tiles_of(tmp_path / "keep", "s").select("x", "y", "w", "h").iter_rows()) == [(0, 0, 128, 128)]
    result = tile(options(tmp_path / "s.png", output=tmp_path / "drop", tile_px=128, out_of_bounds="drop"))
    assert result.exit_code == 1
    message = failures(tmp_path / "drop")["s"]
    assert "128 × 128" in message
    assert "100 wide × 60 high" in message


def test_an_image_that_is_no_rgb_is_refused(tmp_path: Path) -> None:
    Picture.fromarray(np.zeros((20, 20), dtype=np.uint16)).save(tmp_path / "deep.png")
    result = tile(options(tmp_path / "deep.png", output=tmp_path / "out", tile_px=16))
    assert result.exit_code == 1
    assert "8-bit RGB" in failures(tmp_path / "out")["deep"]


def test_gray_pictures_give_rgb_tiles(tmp_path: Path) -> None:
    slide(tmp_path / "rgb.png")
    Picture.open(tmp_path / "rgb.png").convert("L").save(tmp_path / "g.png")
    tile(options(tmp_path / "g.png", output=tmp_path / "out", tile_px=20, save_images=True))
    saved = next((tmp_path / "out" / "images" / "g").iterdir())
    assert Picture.open(saved).mode == "RGB"


def test_an_output_that_is_a_file_is_refused(tmp_path: Path) -> None:
    slide(tmp_path / "s.png")
    (tmp_path / "out").touch()
    with pytest.raises(OutputConflict, match="is a file"):
        tile(options(tmp_path / "s.png", output=tmp_path / "out"))


@pytest.mark.parametrize(
    "wrong",
    [{"tile_px": 0}, {"overlap": 1.0}, {"min_tissue": 1.5}, {"threshold": 256}, {"mpp": 0.0}, {"mpp": float("nan")}],
)
def test_values_out_of_range_are_refused(tmp_path: Path, wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        options(tmp_path, output=tmp_path / "out", **wrong)


def test_the_command_line_ends_with_exit_codes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    slide(tmp_path / "in" / "s.png")
    arguments = ["tile", str(tmp_path / "in"), "-o", str(tmp_path / "out"), "--tile-px", "20"]
    assert run(arguments) == 0
    assert "stroma embed" in capsys.readouterr().out
    assert run([*arguments, "--overlap", "1"]) == 2
    assert run(["tile", str(tmp_path / "nowhere"), "-o", str(tmp_path / "out")]) == 1
    assert "there is no such file" in capsys.readouterr().err
    (tmp_path / "in" / "bad.png").write_text("no picture")
    assert run(arguments) == 3


# --- real slides ---------------------------------------------------------------------------------------------


@needs_data
def test_histoencoder_tiles_are_reproduced(tmp_path: Path) -> None:
    """The 90 tiles of 224 px with at most half background, from the mask of level 0 without blur (threshold 200)."""
    out = tmp_path / "out"
    tile(options(HISTOPREP / "slide.jpeg", output=out, tile_px=224, min_tissue=0.5, sigma=0, save_images=True))
    ours = tiles_of(out, "slide").select("x", "y", "w", "h")
    theirs = pl.read_parquet(HISTOENCODER / "metadata.parquet").select("x", "y", "w", "h")
    assert ours.cast(pl.Int64).equals(theirs.cast(pl.Int64))
    for name in ("x0_y0_w224_h224", "x2240_y448_w224_h224"):
        saved = np.asarray(Picture.open(out / "images" / "slide" / f"{name}.jpg"))
        np.testing.assert_array_equal(saved, np.asarray(Picture.open(HISTOENCODER / "tiles" / f"{name}.jpeg")))


@needs_data
def test_histoprep_command_line_counts_are_reproduced(tmp_path: Path) -> None:
    """640 px, at most 0.75 background, masks up to 8192 px: 15 tiles, 11 with ink, none of the small TMA spots."""
    tile(options(HISTOPREP, output=tmp_path, tile_px=640, tissue_max_dimension=8192))
    assert {name: len(tiles_of(tmp_path, name)) for name in ("slide", "slide_with_ink", "tma_spots")} == {
        "slide": 15,
        "slide_with_ink": 11,
        "tma_spots": 0,
    }
    first = 1 - tiles_of(tmp_path, "slide")["tissue"].to_numpy()[:4]
    np.testing.assert_allclose(first, [0.3410, 0.3953, 0.2039, 0.4063], atol=5e-5)


@needs_data
def test_unreadable_and_unopenable_slides_fail_and_the_others_are_tiled(tmp_path: Path) -> None:
    result = tile(options(OPENSLIDE, output=tmp_path, tile_px=64, min_tissue=0))
    assert result.exit_code == 3
    assert sorted(failures(tmp_path)) == ["unopenable", "unreadable"]
    assert read_sources(tmp_path)["image_id"].to_list() == ["boxes", "boxes_0", "small"]


@needs_data
def test_tiles_of_an_svs_at_a_target_resolution(tmp_path: Path) -> None:
    """0.499 µm/px: 256 px at 1 µm/px are 513.03 level-0 pixels, so 513, and reading them gives 256 again."""
    tile(options(CMU, output=tmp_path, tile_px=256, mpp=1.0))
    table = tiles_of(tmp_path, "small_HE")
    assert len(table) > 0
    row = table.row(0, named=True)
    assert (row["w"], row["h"]) == (513, 513)
    assert row["mpp"] == pytest.approx(513 * 0.499 / 256)
    with open_image(CMU) as image:
        assert image.read(row["x"], row["y"], row["w"], row["h"], mpp=row["mpp"]).shape == (256, 256, 3)


def test_a_photograph_of_immunohistochemistry_is_tiled(tmp_path: Path) -> None:
    data = pytest.importorskip("skimage.data")
    Picture.fromarray(data.immunohistochemistry()).save(tmp_path / "ihc.png")
    result = tile(options(tmp_path / "ihc.png", output=tmp_path / "out", tile_px=128))
    assert result.exit_code == 0
    table = tiles_of(tmp_path / "out", "ihc")
    assert 0 < len(table) <= 16
    assert table["tissue"].is_between(0.25, 1).all()
