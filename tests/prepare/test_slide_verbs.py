"""`stroma slide info`, `thumbnail`, `convert`: pixels, scale and privacy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from openslide import OpenSlide
from PIL import Image as Picture

from stroma.cli.main import run
from stroma.images.open import open_image
from stroma.prepare.slide_convert import ConvertOptions, ThumbnailOptions, slide_convert, slide_thumbnail
from stroma.prepare.slide_info import SlideInfoOptions, slide_info
from tests.harness.kill import kill_and_resume
from tests.prepare.test_tiles import CMU, OPENSLIDE, contents, failures, needs_data

FORMATS = {"tiff": ".tiff", "ome-tiff": ".ome.tiff"}


def noise(path: Path, height: int, width: int, seed: int = 0) -> np.ndarray:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Picture.fromarray(pixels).save(path)
    return pixels


def converted(*inputs: Path, output: Path, **more: Any) -> Path:
    result = slide_convert(ConvertOptions(inputs=inputs, output=output, **more))
    assert result.exit_code == 0, result.failed
    return output


@pytest.mark.parametrize("kind", FORMATS)
def test_lossless_pixels_scale_and_levels(tmp_path: Path, kind: str) -> None:
    pixels = noise(tmp_path / "ä b.png", 603, 2101)
    converted(tmp_path / "ä b.png", output=tmp_path / "out", format=kind, compression="lossless", source_mpp=0.25)
    path = tmp_path / "out" / f"%C3%A4%20b{FORMATS[kind]}"
    with open_image(path) as image:
        assert image.mpp == pytest.approx(0.25)
        assert image.channels == ("red", "green", "blue")
        assert [(level.height, level.width) for level in image.levels] == [(603, 2101), (301, 1050), (150, 525)]
        np.testing.assert_array_equal(image.read(), pixels)
        quads = pixels[:602, :2100].reshape(301, 2, 1050, 2, 3).astype(int)
        np.testing.assert_array_equal(image.read(level=1)[:301, :1050], (quads.sum(axis=(1, 3)) + 2) // 4)


@pytest.mark.parametrize("more", [{"downsample": 3}, {"mpp": 0.75, "source_mpp": 0.25}, {"downsample": 2.5}])
def test_a_slide_can_be_written_at_a_coarser_resolution(tmp_path: Path, more: dict[str, Any]) -> None:
    noise(tmp_path / "s.png", 1503, 2101)
    converted(tmp_path / "s.png", output=tmp_path / "out", compression="lossless", **more)
    factor = more.get("downsample", 3)
    with open_image(tmp_path / "s.png") as image, open_image(tmp_path / "out" / "s.tiff") as smaller:
        assert smaller.shape == (round(1503 / factor), round(2101 / factor), 3)
        assert smaller.mpp == (pytest.approx(0.75, rel=1e-3) if "mpp" in more else None)
        whole = image.read(downsample=factor).astype(int)
        # noise of a standard deviation of 74: strips begin at whole level-0 pixels, so rows may lie half of one aside
        assert np.abs(smaller.read().astype(int) - whole).mean() < (0.1 if factor == 3 else 6)


def test_a_slide_is_not_written_finer_than_it_is(tmp_path: Path) -> None:
    noise(tmp_path / "s.png", 60, 70)
    options = ConvertOptions(inputs=(tmp_path / "s.png",), output=tmp_path / "out", mpp=0.25, source_mpp=0.5)
    assert "coarser than 0.25" in slide_convert(options).failed[0].message


def test_openslide_reads_what_was_written(tmp_path: Path) -> None:
    noise(tmp_path / "s.png", 700, 1300)
    out = converted(tmp_path / "s.png", output=tmp_path / "out", source_mpp=0.5)
    with OpenSlide(out / "s.tiff") as slide:
        assert slide.level_dimensions == ((1300, 700), (650, 350))
        assert float(slide.properties["openslide.mpp-x"]) == pytest.approx(0.5)


def test_ome_metadata_are_read_by_others(tmp_path: Path) -> None:
    noise(tmp_path / "s.png", 700, 1300)
    out = converted(tmp_path / "s.png", output=tmp_path / "out", format="ome-tiff", source_mpp=0.5)
    with tifffile.TiffFile(out / "s.ome.tiff") as tiff:
        assert tiff.is_ome
        assert 'PhysicalSizeX="0.5"' in str(tiff.ome_metadata)
        assert [level.shape for level in tiff.series[0].levels] == [(700, 1300, 3), (350, 650, 3)]


@pytest.mark.parametrize("kind", FORMATS)
def test_gray_pictures_stay_gray(tmp_path: Path, kind: str) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (40, 1030), dtype=np.uint8)
    Picture.fromarray(pixels).save(tmp_path / "s.png")
    out = converted(tmp_path / "s.png", output=tmp_path / "out", format=kind, compression="lossless")
    with open_image(out / f"s{FORMATS[kind]}") as image:
        assert image.mpp is None
        np.testing.assert_array_equal(image.read()[:, :, 0], pixels)


def test_two_runs_and_two_workers_give_identical_bytes(tmp_path: Path) -> None:
    for seed in range(2):
        noise(tmp_path / "in" / f"{seed}.png", 300, 1100, seed)
    for kind in FORMATS:
        one, two = (
            converted(tmp_path / "in", output=tmp_path / f"{kind}{n}", format=kind, workers=n) for n in (1, 2)
        )
        assert contents(one) == contents(two)
        assert slide_convert(ConvertOptions(inputs=(tmp_path / "in",), output=one, format=kind)).skipped == 2


@needs_data
def test_label_and_macro_leave_the_slide_only_on_request(tmp_path: Path) -> None:
    with OpenSlide(CMU) as slide:
        assert {"label", "macro"} <= set(slide.associated_images)
        description = slide.properties["tiff.ImageDescription"]
    for kind, suffix in FORMATS.items():
        out = converted(CMU, output=tmp_path / kind, format=kind)
        with tifffile.TiffFile(out / f"small_HE{suffix}") as tiff:
            shapes = {page.shape for page in tiff.pages} | {level.shape for level in tiff.series[0].levels}
            assert shapes == {(2967, 2220, 3), (1483, 1110, 3), (741, 555, 3)}
        assert description[:12].encode() not in (out / f"small_HE{suffix}").read_bytes()
        assert not (out / "associated").exists()
    out = converted(CMU, output=tmp_path / "all", with_identifiers=True)
    names = sorted(path.name for path in (out / "associated").iterdir())
    assert names == ["small_HE.label.png", "small_HE.macro.png", "small_HE.thumbnail.png"]


@needs_data
def test_jpeg_is_close_to_the_slide(tmp_path: Path) -> None:
    out = converted(CMU, output=tmp_path, quality=95)
    with open_image(CMU) as one, open_image(out / "small_HE.tiff") as other:
        assert other.mpp == pytest.approx(one.mpp)
        difference = one.read(500, 500, 512, 512).astype(int) - other.read(500, 500, 512, 512)
        assert np.abs(difference).mean() < 3


def test_what_is_not_8_bit_rgb_or_gray_is_refused(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "deep.tif", np.zeros((40, 40, 3), np.uint16), photometric="rgb")
    result = slide_convert(ConvertOptions(inputs=(tmp_path / "deep.tif",), output=tmp_path / "out"))
    assert result.exit_code == 1
    assert "uint16" in result.failed[0].message


@needs_data
def test_broken_slides_are_named_and_the_others_converted(tmp_path: Path) -> None:
    assert run(["slide", "convert", str(OPENSLIDE), "-o", str(tmp_path / "out")]) == 3
    assert sorted(failures(tmp_path / "out")) == ["unopenable", "unreadable"]
    assert not any(path.name.startswith(("un", ".tmp")) for path in (tmp_path / "out").iterdir())


@pytest.mark.proof
def test_killed_at_any_moment_and_run_again_gives_the_same_bytes(tmp_path: Path) -> None:
    for seed in range(3):
        noise(tmp_path / "in" / f"{seed}.png", 700, 1100, seed)
    comparison = kill_and_resume(["slide", "convert", str(tmp_path / "in")], tmp_path / "kills", kills=5)
    assert comparison.kills > 0
    assert comparison.differences == []


def test_thumbnails_are_small_pictures(tmp_path: Path) -> None:
    noise(tmp_path / "s.png", 300, 900)
    slide_thumbnail(ThumbnailOptions(inputs=(tmp_path / "s.png",), output=tmp_path / "out", max_dimension=300))
    assert Picture.open(tmp_path / "out" / "s.png").size == (300, 100)
    assert not (tmp_path / "out" / "associated").exists()


@needs_data
@pytest.mark.parametrize("more", [{"downsample": 4.5}, {"mpp": 2.25, "source_mpp": 0.5}])
def test_thumbnails_of_all_slides_can_have_one_resolution(tmp_path: Path, more: dict[str, Any]) -> None:
    noise(tmp_path / "s.png", 603, 901)
    assert slide_thumbnail(ThumbnailOptions(inputs=(tmp_path / "s.png",), output=tmp_path / "out", **more)).done == 1
    drawn = np.asarray(Picture.open(tmp_path / "out" / "s.png")).astype(int)
    with open_image(tmp_path / "s.png") as image:
        whole = image.read(downsample=4.5).astype(int)
    assert drawn.shape == (134, 200, 3)
    assert np.abs(drawn - whole).mean() < 1


def test_a_thumbnail_cannot_be_larger_than_memory(tmp_path: Path) -> None:
    noise(tmp_path / "s.png", 10, 30_000)
    options = ThumbnailOptions(inputs=(tmp_path / "s.png",), output=tmp_path / "out", downsample=1)
    assert "1.5 or more" in slide_thumbnail(options).failed[0].message


def test_thumbnails_bring_the_label_only_on_request(tmp_path: Path) -> None:
    for wanted in (False, True):
        out = tmp_path / str(wanted)
        slide_thumbnail(ThumbnailOptions(inputs=(CMU,), output=out, with_identifiers=wanted))
        assert (out / "associated" / "small_HE.label.png").exists() == wanted


@needs_data
def test_info_says_what_a_slide_is_and_nothing_about_the_patient() -> None:
    result = slide_info(SlideInfoOptions(inputs=(CMU,)))
    facts = result.details["slides"]["small_HE"]
    assert (facts["height"], facts["width"], facts["mpp"], facts["format"]) == (2967, 2220, 0.499, "aperio")
    assert facts["associated"] == ["label", "macro", "thumbnail"]
    with OpenSlide(CMU) as slide:
        hidden = [slide.properties[key] for key in ("aperio.Date", "aperio.ScanScope ID", "aperio.Filename")]
    assert not any(value in " ".join([*result.lines, str(facts)]) for value in hidden)


def test_a_missing_scale_is_said(tmp_path: Path) -> None:
    noise(tmp_path / "s.png", 30, 90)
    result = slide_info(SlideInfoOptions(inputs=(tmp_path / "s.png",)))
    assert any("--source-mpp" in line for line in result.lines)
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nxx")
    assert slide_info(SlideInfoOptions(inputs=(tmp_path,))).exit_code == 3
