import errno
import os
import pickle
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from stroma.core import files
from stroma.core.component import Component
from stroma.core.errors import ConfigError, MissingFile, OutputConflict, UnreadableImage
from stroma.images import open_image, read_cube, write_cube
from stroma.prepare import PrepareOptions, prepare, stores
from stroma.prepare.store_kinds import to_half
from stroma.prepare.stores import DiskFull
from stroma.regions.superpixels import SlicOptions, slic
from stroma.sampling.preparation import Preparation
from stroma.sampling.source import open_input
from stroma.sampling.stores import Stores, choose_stores
from stroma.spectra import l1
from stroma.study.study import open_study
from tests.harness.kill import differences, kill_and_resume
from tests.tiny import cube_study, picture_study

L1 = Preparation(steps=(Component(name="l1"),))


@pytest.fixture
def study(tmp_path):
    return open_study(cube_study(tmp_path / "Süß #1, a+b@c", subjects=3))


def run(study, output, **options):
    return prepare(PrepareOptions(study=study.path, output=output, **options))


def write_htc(path, array):
    """As htc's own writer: a pickled header, then one Blosc frame."""
    import imagecodecs

    path.parent.mkdir(parents=True, exist_ok=True)
    frame = imagecodecs.blosc_encode(array.tobytes(), compressor="zstd", typesize=array.itemsize, shuffle=1)
    path.write_bytes(pickle.dumps((array.shape, array.dtype), protocol=4) + frame)


def test_l1_stores_hold_the_normalised_spectra_as_the_nearest_half_floats(study, tmp_path):
    result = run(study, tmp_path / "stores")
    assert (result.done, result.skipped, list(result.failed)) == (3, 0, [])
    for image_id in study:
        image = Stores(tmp_path / "stores", "l1").open(image_id)
        expected = l1(read_cube(study.image_path(image_id)))
        np.testing.assert_array_equal(image.read(), expected.astype(np.float16))
        np.testing.assert_allclose(image.read(), expected, rtol=2**-11, atol=3e-8)
        np.testing.assert_array_equal(image.wavelengths_nm, study.open(image_id).wavelengths_nm)
        assert image.prepared == L1.steps


def test_raw16_rgb_and_superpixels(tmp_path):
    cubes = open_study(cube_study(tmp_path / "cubes", subjects=1))
    (cube_id,) = cubes
    run(cubes, tmp_path / "out", kind="raw16")
    raw = Stores(tmp_path / "out", "raw16").open(cube_id)
    np.testing.assert_array_equal(raw.read(), read_cube(cubes.image_path(cube_id)).astype(np.float16))
    assert raw.prepared == ()
    run(cubes, tmp_path / "out", kind="superpixels", of="image", segments=20)
    found = Stores(tmp_path / "out", "superpixels").open(cube_id).read()
    np.testing.assert_array_equal(found[:, :, 0], slic(l1(read_cube(cubes.image_path(cube_id))), SlicOptions(20)))
    pictures = open_study(picture_study(tmp_path / "pictures", subjects=1))
    for kind in ("rgb", "superpixels"):
        run(pictures, tmp_path / "out2", kind=kind, segments=20)
    for image_id in pictures:
        rgb = Stores(tmp_path / "out2", "rgb").open(image_id).read()
        np.testing.assert_array_equal(rgb, pictures.rgb(image_id))
        found = Stores(tmp_path / "out2", "superpixels").open(image_id).read()
        np.testing.assert_array_equal(found[:, :, 0], slic(rgb, SlicOptions(20)))


def test_zero_and_not_finite_spectra_are_zero_after_l1_and_stay_in_raw16(study, tmp_path):
    image_id = next(iter(study))
    cube = read_cube(study.image_path(image_id))
    cube[0, 0], cube[1, 1, 3], cube[2, 2, 4] = 0, np.nan, np.inf
    write_cube(study.image_path(image_id), cube)
    lines = run(study, tmp_path / "out").lines
    assert any("1 images have pixels without a measurement" in line for line in lines)
    read = Stores(tmp_path / "out", "l1").open(image_id).read()
    assert not read[[0, 1, 2], [0, 1, 2]].any() and np.isfinite(read).all()
    run(study, tmp_path / "out", kind="raw16")
    np.testing.assert_array_equal(Stores(tmp_path / "out", "raw16").open(image_id).read(), cube.astype(np.float16))
    assert to_half(cube, normalise=True)[1] == 3


def test_values_too_large_for_half_floats_fail_by_name_and_stop_no_other(study, tmp_path):
    image_id = next(iter(study))
    write_cube(study.image_path(image_id), read_cube(study.image_path(image_id)) + np.float32(1e6))
    result = run(study, tmp_path / "out", kind="raw16")
    assert result.exit_code == 3 and "float16" in result.failed[0].message
    table = pl.read_parquet(tmp_path / "out" / "raw16" / "failures.parquet")
    assert table["item"].to_list() == [image_id]
    assert run(study, tmp_path / "out", kind="l1").exit_code == 0


def test_a_cube_that_was_cut_off_fails_and_is_made_after_it_was_mended(study, tmp_path):
    image_id = next(iter(study))
    path = study.image_path(image_id)
    content = path.read_bytes()
    path.write_bytes(content[:-100])
    assert len(run(study, tmp_path / "out").failed) == 1
    path.write_bytes(content)
    result = run(study, tmp_path / "out")
    assert (result.done, result.skipped) == (1, 2)
    assert not (tmp_path / "out" / "l1" / "failures.parquet").exists()


def test_complete_stores_are_skipped_and_parallel_runs_give_the_same_bytes(study, tmp_path):
    run(study, tmp_path / "one")
    assert run(study, tmp_path / "one").skipped == 3
    run(study, tmp_path / "two", workers=2)
    assert differences(tmp_path / "one", tmp_path / "two") == []


def test_a_store_without_its_record_is_not_complete(study, tmp_path):
    run(study, tmp_path / "out")
    chosen, image_id = Stores(tmp_path / "out", "l1"), next(iter(study))
    chosen.record(image_id).unlink()
    with pytest.raises(MissingFile, match="no complete store"):
        chosen.open(image_id)
    assert run(study, tmp_path / "out").done == 1


def test_a_half_written_store_is_named_and_made_again(study, tmp_path):
    run(study, tmp_path / "out")
    chosen, image_id = Stores(tmp_path / "out", "l1"), next(iter(study))
    content = chosen.path(image_id).read_bytes()
    chosen.path(image_id).write_bytes(content[:-50])
    with pytest.raises(UnreadableImage, match="cut off"):
        chosen.open(image_id)
    assert run(study, tmp_path / "out").done == 1
    changed = bytearray(content)
    changed[len(content) // 2] ^= 255
    chosen.path(image_id).write_bytes(bytes(changed))
    assert run(study, tmp_path / "out").done == 0
    assert run(study, tmp_path / "out", verify=True).done == 1
    assert chosen.path(image_id).read_bytes() == content


def test_a_changed_cube_is_noticed(study, tmp_path):
    run(study, tmp_path / "out")
    path = study.image_path(next(iter(study)))
    write_cube(path, read_cube(path) * np.float32(2))
    with pytest.raises(OutputConflict, match="has changed"):
        run(study, tmp_path / "out")
    assert run(study, tmp_path / "out", overwrite=True).done == 1


def test_free_disk_is_checked_before_the_first_byte(study, tmp_path, monkeypatch):
    usage = type("Usage", (), {"free": 1000})
    monkeypatch.setattr(stores.shutil, "disk_usage", lambda folder: usage)
    with pytest.raises(DiskFull, match="nothing has been written"):
        run(study, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_disk_that_fills_loses_nothing_and_the_next_run_goes_on(study, tmp_path, monkeypatch):
    """The second store gets half of its bytes before the disk is full."""
    written = []
    original = Path.write_bytes

    def filling(path, content):
        if ".b2nd" in path.name:
            written.append(path)
            if len(written) == 2:
                original(path, content[: len(content) // 2])
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return original(path, content)

    monkeypatch.setattr(files.Path, "write_bytes", filling)
    result = run(study, tmp_path / "out")
    assert result.done == 1 and [failure.error for failure in result.failed] == ["DiskFull"]
    assert any("1 images were not tried" in line for line in result.lines)
    place = tmp_path / "out" / "l1"
    assert len(list(place.glob("*.b2nd"))) == len(list(place.glob("*.done.json"))) == 1
    assert not list(place.glob(".tmp-*"))
    monkeypatch.undo()
    assert (run(study, tmp_path / "out").done, run(study, tmp_path / "out").skipped) == (2, 3)


def test_dry_run_writes_nothing(study, tmp_path):
    result = run(study, tmp_path / "out", dry_run=True)
    assert result.summary["to do"] == 3 and not (tmp_path / "out").exists()


def test_files_of_htc_are_used_as_they_are(study, tmp_path):
    """Two of three images have one; `--anew` makes stores of those two as well."""
    cubes = {image_id: l1(read_cube(study.image_path(image_id))).astype(np.float16) for image_id in study}
    preprocessing = study.root / "intermediates" / "preprocessing"
    for image_id in list(cubes)[:2]:
        write_htc(preprocessing / "L1" / f"{image_id}.blosc", cubes[image_id] + np.float16(0.001))
    result = run(study, tmp_path / "out")
    assert any("2 of 3 images" in line and "--anew" in line for line in result.lines)
    chosen = Stores(tmp_path / "out", "l1")
    for number, image_id in enumerate(study):
        shift = np.float16(0.001 if number < 2 else 0)
        with chosen.open(image_id) as image:
            np.testing.assert_array_equal(image.read(3, 4, 8, 9), (cubes[image_id] + shift)[4:13, 3:11])
            np.testing.assert_array_equal(image.wavelengths_nm, study.open(image_id).wavelengths_nm)
    assert run(study, tmp_path / "out").skipped == 3
    assert run(study, tmp_path / "out", anew=True).done == 2
    for image_id in study:
        np.testing.assert_array_equal(chosen.open(image_id).read(), cubes[image_id])
    direct = choose_stores(preprocessing, "image", L1)
    assert direct.open(next(iter(study))).prepared == L1.steps


def test_files_of_htc_of_another_shape_or_damaged_fail_by_name(study, tmp_path):
    first, second, _ = study
    place = study.root / "intermediates" / "preprocessing" / "L1"
    write_htc(place / f"{first}.blosc", np.zeros((3, 4, 10), np.float16))
    write_htc(place / f"{second}.blosc", np.zeros((24, 32, 10), np.float16))
    damaged = place / f"{second}.blosc"
    damaged.write_bytes(damaged.read_bytes()[:20])
    result = run(study, tmp_path / "out")
    assert {failure.item.image_id for failure in result.failed} == {first, second}
    assert "shape" in result.failed[0].message


def test_the_store_that_saves_most_is_chosen(study, tmp_path):
    with pytest.raises(MissingFile):
        choose_stores(tmp_path / "absent", "image", L1)
    run(study, tmp_path / "out", kind="raw16")
    assert choose_stores(tmp_path / "out", "image", L1).kind == "raw16"
    with pytest.raises(ConfigError, match="rgb"):
        choose_stores(tmp_path / "out", "rgb", L1)
    run(study, tmp_path / "out", kind="l1")
    assert choose_stores(tmp_path / "out", "image", L1).kind == "l1"
    assert choose_stores(tmp_path / "out", "image", Preparation()).kind == "raw16"


def test_samples_from_stores_are_those_of_the_images_within_half_precision(study, tmp_path):
    wanted = Preparation(steps=(*L1.steps, Component(name="mean_std", mean=[0.1] * 10, std=[0.02] * 10)))
    for kind in ("l1", "raw16"):
        run(study, tmp_path / kind, kind=kind)
        for image_id in study:
            with open_input(study, image_id, "image") as image:
                expected = wanted.apply(image.read(5, 6, 16, 16))
            with open_input(study, image_id, "image", choose_stores(tmp_path / kind, "image", wanted)) as image:
                found = wanted.after(image.prepared).apply(image.read(5, 6, 16, 16))
            np.testing.assert_allclose(found, expected, atol=2**-10 * 0.5 / 0.02)


def test_stores_that_are_prepared_otherwise_are_refused(study, tmp_path):
    run(study, tmp_path / "out")
    with open_image(Stores(tmp_path / "out", "l1").path(next(iter(study)))) as image:
        with pytest.raises(ConfigError, match="gone through l1"):
            Preparation().after(image.prepared)
        assert L1.after(image.prepared).steps == ()


@pytest.mark.proof
def test_preparing_survives_kills(tmp_path):
    study = cube_study(tmp_path / "study", subjects=8, height=200, width=300)
    comparison = kill_and_resume(["prepare", str(study), "--workers", "2"], tmp_path, kills=4, seed=2)
    assert comparison.kills >= 1
    assert comparison.differences == []
