"""`stroma cluster`: planted tissue is found, fractions add up, and the same input gives the same picture."""

import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from sklearn.decomposition import PCA
from sklearn.metrics import adjusted_rand_score

from stroma.core.errors import InvalidData, MissingExtra, MissingFile, OutputConflict, UsageError
from stroma.core.tables import ADDRESS_SCHEMA, read_provenance, read_table
from stroma.core.verbs import VerbResult
from stroma.features import cluster as cluster_module
from stroma.features import table as features_table
from stroma.features.cluster import CLUSTERS_SCHEMA, ClusterOptions, cluster
from stroma.features.embed import EmbedOptions, embed
from stroma.features.moments import Moments
from stroma.features.proportions import PROPORTIONS_SCHEMA, SUBJECT_PROPORTIONS_SCHEMA
from stroma.prepare.sources import read_sources
from tests.features.conftest import SLIDES, PlantFeatures, is_gland


def run(*features: Path, output: Path, **more: object) -> VerbResult:
    return cluster(ClusterOptions.model_validate({"features": features, "output": output, **more}))


def read(output: Path, name: str = "clusters") -> pl.DataFrame:
    return read_table(output / f"{name}.parquet")


def groups(sizes: list[int], dim: int = 5, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Rows of well separated groups in random order, and the group of each."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.repeat(np.arange(len(sizes)), sizes))
    centres = 20 * np.eye(max(dim, len(sizes)))[: len(sizes), :dim]
    return (centres[labels] + rng.normal(size=(len(labels), dim))).astype(np.float32), labels


def test_two_planted_tissues_fall_into_two_clusters(tiles: Path, tmp_path: Path):
    embed(EmbedOptions(tiles=(tiles,), output=tmp_path / "features", encoder="colour-texture"))
    result = run(tmp_path / "features", output=tmp_path / "out", clusters=2)
    table = read(tmp_path / "out")
    assert table.schema == CLUSTERS_SCHEMA and len(table) == 24 + 15
    glands = [is_gland(row["x"], SLIDES[row["image_id"]][1]) for row in table.rows(named=True)]
    # 12 of 24 and 9 of 15 tiles are glands, so they are the larger cluster, number 0
    assert [row == 0 for row in table["cluster"]] == glands
    assert result.summary["tiles_per_cluster"] == [21, 18]
    proportions = read(tmp_path / "out", "proportions")
    assert dict(proportions.schema) == PROPORTIONS_SCHEMA
    expected = [("Präparat #1, a+b", 0, 0.5, 12), ("Präparat #1, a+b", 1, 0.5, 12)]
    expected += [("slide @2", 0, 0.6, 9), ("slide @2", 1, 0.4, 6)]
    assert proportions.drop("subject_id").rows() == expected


def test_clusters_are_numbered_by_size(plant: PlantFeatures, tmp_path: Path):
    features, labels = groups([5, 40, 20])
    run(plant({"a": features}), output=tmp_path / "out", clusters=3)
    found = read(tmp_path / "out")["cluster"].to_numpy()
    np.testing.assert_array_equal(found, np.array([2, 0, 1])[labels])


def test_rows_keep_their_addresses_and_order(plant: PlantFeatures, tmp_path: Path):
    features, _ = groups([10, 10])
    folder = plant({"b": features[:12], "a": features[12:]})
    run(folder, output=tmp_path / "out", clusters=2)
    table = read(tmp_path / "out")
    assert table["image_id"].to_list() == ["a"] * 8 + ["b"] * 12
    assert table["region"].to_list() == [*range(8), *range(12)]
    assert list(table.schema)[: len(ADDRESS_SCHEMA)] == list(ADDRESS_SCHEMA)


def test_fractions_of_images_and_subjects(plant: PlantFeatures, tmp_path: Path):
    """A subject's fraction is the mean over its images, whatever their sizes; an image without tiles has none."""
    near, far = np.zeros((1, 3)), np.full((1, 3), 9.0)
    images = {
        "a": np.concatenate([near] * 8),  # all in the large cluster
        "b": np.concatenate([near, far]),  # half
        "c": np.concatenate([far, far, far, near]),  # a quarter
        "d": np.zeros((0, 3)),
    }
    subjects = {"a": "P1", "b": "P1", "c": "P2", "d": "P3"}
    result = run(plant(images, subjects), output=tmp_path / "out", clusters=2)
    proportions = read(tmp_path / "out", "proportions")
    large = proportions.filter(pl.col("cluster") == 0)
    assert large["fraction"].to_list() == [1.0, 0.5, 0.25, None]
    assert large["n_tiles"].to_list() == [8, 1, 1, 0]
    sums = proportions.drop_nulls("fraction").group_by("image_id").agg(pl.col("fraction").sum())
    assert sums["fraction"].to_list() == pytest.approx([1, 1, 1])
    by_subject = read(tmp_path / "out", "subject_proportions")
    assert dict(by_subject.schema) == SUBJECT_PROPORTIONS_SCHEMA
    rows = by_subject.filter(pl.col("cluster") == 0).drop("cluster").rows()
    assert rows == [("P1", 0.75, 9, 2), ("P2", 0.25, 1, 1), ("P3", None, 0, 0)]
    assert "1 images have no features" in result.lines[0]


def test_points_are_principal_components_with_a_fixed_sign(plant: PlantFeatures, tmp_path: Path):
    """Up to the sign, which makes the largest loading positive, those of scikit-learn on standardised features."""
    rng = np.random.default_rng(1)
    features = (rng.normal(size=(50, 6)) @ rng.normal(size=(6, 6)) * [1, 5, 0.1, 30, 2, 1] + 7).astype(np.float32)
    run(plant({"a": features[:20], "b": features[20:]}), output=tmp_path / "out", clusters=2)
    found = read(tmp_path / "out").select("x2d", "y2d").to_numpy()
    scaled = (features - features.mean(axis=0, dtype=np.float64)) / features.std(axis=0, dtype=np.float64)
    model = PCA(2).fit(scaled)
    signs = np.sign(model.components_[np.arange(2), np.abs(model.components_).argmax(axis=1)])
    np.testing.assert_allclose(found, model.transform(scaled) * signs, atol=1e-4)


def test_moments_do_not_depend_on_batches_and_survive_large_means():
    rng = np.random.default_rng(2)
    rows = rng.normal(1e5, [1, 0.1, 0], size=(1000, 3))
    whole, parts = Moments(3), Moments(3)
    whole.add(rows)
    for part in np.array_split(rows, 7):
        parts.add(part)
    for moments in (whole, parts):
        standard = moments.standard()
        np.testing.assert_allclose(standard.mean, rows.mean(axis=0), rtol=1e-12)
        np.testing.assert_allclose(1 / standard.scale[:1], rows.std(axis=0)[:1], rtol=1e-6)
        np.testing.assert_allclose(standard.correlation[:1, :1], [[1]], atol=1e-9)
        assert standard.scale[2] == 0  # constant: does not vary, so it says nothing


def test_a_constant_feature_says_nothing(plant: PlantFeatures, tmp_path: Path):
    features, labels = groups([12, 8])
    constant = np.concatenate([features, np.full((20, 1), 0.1)], axis=1)
    run(plant({"a": constant}), output=tmp_path / "out", clusters=2)
    np.testing.assert_array_equal(read(tmp_path / "out")["cluster"].to_numpy(), labels)


def test_one_feature_is_a_line(plant: PlantFeatures, tmp_path: Path):
    run(plant({"a": np.array([[0.0], [1.0], [10.0]])}), output=tmp_path / "out", clusters=2)
    table = read(tmp_path / "out")
    assert table["cluster"].to_list() == [0, 0, 1] and table["y2d"].to_list() == [0, 0, 0]


def test_more_tiles_than_fit_in_memory(plant: PlantFeatures, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The centres start from a sample and are refined over pieces of all slides; the planted groups are found."""
    monkeypatch.setattr(cluster_module, "SAMPLE_ROWS", 64)
    monkeypatch.setattr(features_table, "_PIECE_BYTES", 4 * 5 * 50)
    features, labels = groups([500, 300, 150, 50])
    order = np.argsort(labels, kind="stable")  # each slide holds one kind of tissue, the worst order
    images = {f"s{i}": features[part] for i, part in enumerate(np.array_split(order, 7))}
    result = run(plant(images), output=tmp_path / "out", clusters=4)
    found = read(tmp_path / "out")["cluster"].to_numpy()
    assert adjusted_rand_score(labels[order], found) == 1
    assert result.summary["tiles_per_cluster"] == [500, 300, 150, 50]


def test_the_same_features_give_the_same_bytes(plant: PlantFeatures, tmp_path: Path):
    features, _ = groups([30, 20, 10], seed=3)
    folder = plant({"a": features[:30], "b": features[30:]})
    for name in ("one", "two"):
        run(folder, output=tmp_path / name, clusters=5)
    for name in ("clusters", "proportions", "subject_proportions"):
        first, second = (tmp_path / run_name / f"{name}.parquet" for run_name in ("one", "two"))
        assert first.read_bytes() == second.read_bytes()


def test_features_of_several_folders_are_clustered_together(plant: PlantFeatures, tmp_path: Path):
    features, labels = groups([14, 6])
    folders = plant({"a": features[:10]}, folder="one"), plant({"b": features[10:]}, folder="two")
    run(*folders, output=tmp_path / "out", clusters=2)
    np.testing.assert_array_equal(read(tmp_path / "out")["cluster"].to_numpy(), labels)
    assert read_sources(tmp_path / "out")["image_id"].to_list() == ["a", "b"]


def test_what_is_complete_is_not_made_again(plant: PlantFeatures, tmp_path: Path):
    folder = plant({"a": groups([10, 10])[0]})
    run(folder, output=tmp_path / "out", clusters=2)
    assert run(folder, output=tmp_path / "out", clusters=2).skipped == 1
    with pytest.raises(OutputConflict, match="clusters was 2, is 3"):
        run(folder, output=tmp_path / "out", clusters=3)
    assert run(folder, output=tmp_path / "out", clusters=3, overwrite=True).done == 1
    settings = read_provenance(tmp_path / "out" / "clusters.parquet").settings
    assert settings["clusters"] == 3 and settings["encoder"] == {"name": "planted"}


def test_fewer_tiles_than_clusters(plant: PlantFeatures, tmp_path: Path):
    with pytest.raises(UsageError, match="8 clusters cannot be made of 5 tiles"):
        run(plant({"a": np.eye(5)}), output=tmp_path / "out")
    with pytest.raises(UsageError, match="8 clusters cannot be made of 0 tiles"):
        run(plant({"a": np.zeros((0, 3))}, folder="empty"), output=tmp_path / "out")


def test_equal_tiles_leave_clusters_empty_and_say_so(plant: PlantFeatures, tmp_path: Path):
    result = run(plant({"a": np.repeat(np.eye(2), 5, axis=0)}), output=tmp_path / "out", clusters=3)
    assert result.summary["tiles_per_cluster"] == [5, 5, 0]
    assert "1 clusters are empty" in result.lines[0]


def test_features_that_are_not_finite_are_named(plant: PlantFeatures, tmp_path: Path):
    features = groups([10, 10])[0]
    features[13, 2] = np.nan
    with pytest.raises(InvalidData, match="b%20%C3%A4.parquet: the feature of image 'b ä' in row 13 is not"):
        run(plant({"a": groups([5])[0], "b ä": features}), output=tmp_path / "out", clusters=2)


def test_two_encoders_are_not_mixed(plant: PlantFeatures, tmp_path: Path):
    features = groups([10])[0]
    one, two = plant({"a": features}, folder="one"), plant({"b": features}, folder="two", encoder="other")
    with pytest.raises(InvalidData, match='another encoder.*encoder was "planted", is "other"'):
        run(one, two, output=tmp_path / "out", clusters=2)


def test_an_image_counts_once(plant: PlantFeatures, tmp_path: Path):
    features = groups([10])[0]
    with pytest.raises(InvalidData, match="same image"):
        run(plant({"a": features}, folder="one"), plant({"a": features}, folder="two"), output=tmp_path / "out")


def test_a_folder_that_holds_no_features(plant: PlantFeatures, tmp_path: Path):
    with pytest.raises(MissingFile, match="is no output folder of stroma embed"):
        run(tmp_path, output=tmp_path / "out")
    folder = plant({"a": groups([10])[0]})
    (folder / "a.done.json").unlink()
    with pytest.raises(MissingFile, match="holds no features"):
        run(folder, output=tmp_path / "out")


def test_random_features_are_called_so(plant: PlantFeatures, tiles: Path, tmp_path: Path):
    pytest.importorskip("timm")
    options = {"tiles": (tiles,), "output": tmp_path / "f", "encoder": "resnet10t", "weights": "random"}
    embed(EmbedOptions.model_validate({**options, "device": "cpu"}))
    result = run(tmp_path / "f", output=tmp_path / "out", clusters=2)
    assert result.summary["encoder"] == "resnet10t, random weights: these clusters say nothing about the tissue"


def test_umap_is_an_extra(plant: PlantFeatures, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "umap", None)
    with pytest.raises(MissingExtra, match=r"stroma\[umap\]"):
        run(plant({"a": groups([10])[0]}), output=tmp_path / "out", projection="umap", clusters=2)


@pytest.mark.proof
def test_umap_keeps_groups_apart(plant: PlantFeatures, tmp_path: Path):
    pytest.importorskip("umap")
    features, labels = groups([40, 30])
    folder = plant({"a": features})
    points = []
    for name in ("one", "two"):
        run(folder, output=tmp_path / name, projection="umap", clusters=2)
        points.append(read(tmp_path / name).select("x2d", "y2d").to_numpy())
    np.testing.assert_array_equal(points[0], points[1])
    centres = [points[0][labels == i].mean(axis=0) for i in (0, 1)]
    spread = max(points[0][labels == i].std() for i in (0, 1))
    assert np.linalg.norm(centres[0] - centres[1]) > spread
