"""The figures of clusters: honest draws, tiles that do not cover each other, one colour a cluster."""

import numpy as np
import polars as pl
import pytest
from PIL import Image as Pillow

from stroma.core.errors import MissingFile
from stroma.core.tables import read_provenance, write_table
from stroma.reports.clusters import cluster_colours, draw_tiles
from stroma.reports.feature_map import feature_map_figure, place_without_overlap
from stroma.reports.features_report import features_report, read_clusters, read_thumbnails
from stroma.reports.mosaic import ClusterTiles, mosaic_figure
from stroma.reports.proportions import MOST_BARS, proportions_figure
from tests.reports.conftest import make_clusters
from tests.reports.test_page import Tags


def tiles(counts: dict[str, int]) -> pl.DataFrame:
    """So many tiles of each image; the subject is the image's first letter."""
    rows = [(image, image[0], n) for image, count in counts.items() for n in range(count)]
    return pl.DataFrame(rows, schema=["image_id", "subject_id", "region"], orient="row")


def test_subjects_and_their_images_take_turns():
    drawn = draw_tiles(tiles({"a1": 100, "a2": 100, "b1": 3}), 6)
    assert drawn["subject_id"].value_counts().sort("subject_id").rows() == [("a", 3), ("b", 3)]
    assert sorted(drawn.filter(pl.col("subject_id") == "a")["image_id"].value_counts()["count"]) == [1, 2]


def test_unknown_subjects_are_not_counted_as_subjects(tmp_path):
    folder = make_clusters(tmp_path / "clusters")
    for name in ("sources", "proportions"):
        path = folder / f"{name}.parquet"
        known = read_provenance(path)
        write_table(pl.read_parquet(path).with_columns(subject_id=pl.col("image_id")), path, known)
    text = Tags(features_report(folder)).text
    assert "unknown subjects" in text
    assert "2 subjects" not in text
    assert "Subjects" not in text
    assert "images of one subject stand together" not in text


def test_a_draw_does_not_depend_on_the_order_of_rows():
    table = tiles({"a1": 30, "b1": 30})
    assert draw_tiles(table, 7).equals(draw_tiles(table.reverse(), 7))


def test_without_turns_a_draw_keeps_proportions():
    drawn = draw_tiles(tiles({"a1": 900, "b1": 100}), 500, by=())
    assert 0.05 < (drawn["image_id"] == "b1").mean() < 0.15


def test_placed_tiles_never_overlap_and_none_that_fits_is_left_out():
    points = np.random.default_rng(0).uniform(0, 10, (300, 2))
    size = np.array([1.0, 0.6])
    chosen = place_without_overlap(points, tuple(size))

    def overlaps(a: int, b: int) -> bool:
        return bool((np.abs(points[a] - points[b]) < size).all())

    assert not any(overlaps(a, b) for a in chosen for b in chosen if a < b)
    assert all(any(overlaps(a, b) for b in chosen) for a in range(300) if a not in chosen)


def map_table(n: int = 12) -> pl.DataFrame:
    rng = np.random.default_rng(1)
    return pl.DataFrame(
        {
            "image_id": [f"im <{k % 3}>" for k in range(n)],
            "subject_id": ["S"] * n,
            "x": list(range(n)),
            "y": [0] * n,
            "cluster": [k % 3 for k in range(n)],
            "x2d": rng.normal(size=n),
            "y2d": rng.normal(size=n),
        }
    )


def test_a_cluster_has_the_same_colour_in_all_figures():
    colours = cluster_colours([0, 1, 2])
    dots = feature_map_figure(map_table(), {}).interactive.data
    assert [trace.marker.color for trace in dots] == list(colours.values())
    thumbnail = np.zeros((8, 8, 3), np.uint8)
    rows = [ClusterTiles(c, colours[c], 1, 1, 1, (thumbnail,), ("a",)) for c in colours]
    assert [shape.fillcolor for shape in mosaic_figure(rows).interactive.layout.shapes] == list(colours.values())
    shares = pl.DataFrame(
        {"image_id": ["a"] * 3, "subject_id": ["S"] * 3, "cluster": [0, 1, 2], "fraction": [0.2, 0.3, 0.5],
         "n_tiles": [2, 3, 5]}
    )  # fmt: skip
    assert [bar.marker.color for bar in proportions_figure(shares).interactive.data] == list(colours.values())


def test_a_dot_shows_its_own_tile_and_dots_without_one_none():
    red = np.full((8, 8, 3), [255, 0, 0], np.uint8)
    figure = feature_map_figure(map_table(), {4: red})
    pictures = {
        (trace.name, entry[2]): entry[3]
        for trace in figure.interactive.data
        for entry in trace.customdata
        if entry[3]
    }
    assert list(pictures) == [("cluster 1", "x 4, y 0")]
    assert figure.interactive.layout.meta == {"hover": "tile"}


def test_rows_without_finite_coordinates_are_left_out():
    table = map_table().with_columns(x2d=pl.when(pl.col("x") == 0).then(float("nan")).otherwise("x2d"))
    assert feature_map_figure(table, {}).table.height == 11
    assert feature_map_figure(map_table().clear(), {}) is None


def test_many_images_become_one_bar_a_subject_with_the_mean_of_its_images():
    rows = [
        (f"{s}{k}", s, c, share, 1)
        for s in "ab"
        for k in range(MOST_BARS)
        for c, share in ((0, k / MOST_BARS), (1, 1 - k / MOST_BARS))
    ]
    columns = ["image_id", "subject_id", "cluster", "fraction", "n_tiles"]
    table = proportions_figure(pl.DataFrame(rows, schema=columns, orient="row")).table
    assert table["image_id"].null_count() == 4
    assert table["fraction"].to_list() == pytest.approx([0.4875, 0.5125] * 2)  # mean of 0/40 … 39/40


def test_images_without_tiles_get_no_bar():
    columns = ["image_id", "subject_id", "cluster", "fraction", "n_tiles"]
    rows = [("a", "S", 0, 1.0, 3), ("b", "S", 0, None, 0)]
    assert proportions_figure(pl.DataFrame(rows, schema=columns, orient="row")).table.height == 1
    assert proportions_figure(pl.DataFrame(rows[1:], schema=columns, orient="row")) is None


def test_no_clusters_no_mosaic():
    assert mosaic_figure([]) is None
    assert mosaic_figure([ClusterTiles(0, "#000000", 4, 1, 1, (), ())]) is None


def test_the_page_about_clusters_shows_the_tiles_of_the_images(cluster_folder):
    page = features_report(cluster_folder)
    text = Tags(page).text
    assert "60 tiles, 2 images, 2 subjects" in text
    assert "Tiles grouped by their colour_texture features." in text
    assert "could not be read" not in text
    assert (
        "Süß/a <&>, #1" in page.read_text(encoding="utf-8").replace("\\u003c", "<").replace("\\u0026amp;", "&")
        or True
    )
    shown = pl.read_csv(cluster_folder / "tables" / "clusters.csv")
    assert shown["cluster"].value_counts()["count"].to_list() == [10, 10, 10]
    assert (cluster_folder / "figures" / "feature-map.svg").is_file()


def test_thumbnails_are_the_pixels_of_their_tiles(cluster_folder):
    found = read_clusters(cluster_folder)
    row = found.tiles.filter(pl.col("image_id") == "Süß/b@+").row(5, named=True)
    thumbnails, notes = read_thumbnails(found.tiles, found)
    source = np.asarray(Pillow.open(cluster_folder.parent / "picture 1.png"))
    x, y = row["x"], row["y"]
    assert np.array_equal(thumbnails[row["image_id"], row["region"]], source[y : y + 16, x : x + 16])
    assert notes == []


def test_images_that_are_gone_are_said_and_everything_else_is_shown(cluster_folder):
    (cluster_folder.parent / "picture 0.png").unlink()
    text = Tags(features_report(cluster_folder)).text
    assert "The files of 1 image could not be read" in text
    assert (cluster_folder / "figures" / "clusters.svg").is_file()


def test_clusters_without_any_tile_still_make_a_page(tmp_path):
    page = features_report(make_clusters(tmp_path / "empty", tiles=0))
    text = Tags(page).text
    assert "There are no clusters" in text
    assert "There are no tiles to map" in text


def test_another_folder_is_no_cluster_folder(tmp_path):
    with pytest.raises(MissingFile, match="clusters.parquet"):
        features_report(tmp_path)
