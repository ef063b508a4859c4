"""The figures of a run: numbers from first principles, colours, and what happens where something is missing."""

import numpy as np
import polars as pl
import pytest
from matplotlib.colors import to_hex

from stroma.core.errors import InvalidData
from stroma.evaluation.dice import aggregate
from stroma.evaluation.schema import CONFUSION_SCHEMA, SCORES_SCHEMA
from stroma.reports.confusion import confusion_figure, confusion_over_subjects
from stroma.reports.learning import best_epochs, learning_figure
from stroma.reports.overlays import OverlayItem, compose, outlines, overlay_figure
from stroma.reports.scores import scores_figure
from stroma.reports.spectra import spectra_figure
from stroma.spectra.medians import medians_schema
from stroma.study.labels import IGNORE, LabelMapping
from tests.reports.conftest import curves

LABELS = LabelMapping.of(["liver", "spleen <b>", "colon"], colours={"liver": "#123456"})


def scores(values: list[tuple[str, str, str, float]]) -> pl.DataFrame:
    """A table of scores from (subject, image, label, value)."""
    rows = [("image", i, s, name, "dice", "reference-present", "a", v, None, None, 1, 1) for s, i, name, v in values]
    return aggregate(pl.DataFrame(rows, schema=SCORES_SCHEMA, orient="row"))


def confusion(counts: list[tuple[str, str, str, int]]) -> pl.DataFrame:
    """A table of confusions from (subject, reference, predicted, count)."""
    rows = [("pixel", f"{s}/1", s, reference, predicted, n) for s, reference, predicted, n in counts]
    return pl.DataFrame(rows, schema=CONFUSION_SCHEMA, orient="row")


def medians(spectra: list[tuple[str, str, str, list[float]]], annotator: str = "a") -> pl.DataFrame:
    """A table of median spectra from (subject, image, label, spectrum)."""
    rows = [(i, s, annotator, name, 9, x, x, x, x) for s, i, name, x in spectra]
    return pl.DataFrame(rows, schema=medians_schema(3), orient="row")


SCORES = scores(
    [("P1", "a", "liver", 0.9), ("P1", "b", "liver", 0.7), ("P2", "c", "liver", 0.6), ("P2", "c", "spleen <b>", 0.5)]
)
CONFUSION = confusion([("P1", "liver", "liver", 3), ("P1", "spleen <b>", "liver", 2), ("P2", "colon", "colon", 1)])
MEDIANS = medians(
    [("P1", "a", "liver", [1, 2, 3]), ("P1", "b", "liver", [3, 4, 5]), ("P2", "c", "liver", [4, 5, 6]),
     ("P2", "c", "spleen <b>", [1, 1, 1])]
)  # fmt: skip


def opaque(colour: str) -> str:
    """`rgba(r,g,b,a)` or `#rrggbb` as `#rrggbb`."""
    if colour.startswith("#"):
        return colour
    return to_hex([int(part) / 255 for part in colour.split("(")[1].split(",")[:3]])


def test_a_class_has_the_same_colour_in_all_figures():
    liver = LABELS.colour("liver")
    assert liver == "#123456"
    marks = [opaque(t.marker.color) for t in scores_figure(SCORES, LABELS).interactive.data if "liver" in str(t.text)]
    assert marks and set(marks) == {liver}
    lines = {
        opaque(t.line.color)
        for t in spectra_figure(MEDIANS, LABELS).interactive.data
        if t.hovertemplate and "liver" in t.hovertemplate
    }
    assert lines == {liver}
    strip = [shape for shape in confusion_figure(CONFUSION, LABELS).interactive.layout.shapes if shape.y0 == -0.48]
    assert [shape.fillcolor for shape in strip] == [liver]
    mask = np.zeros((20, 20), np.uint8)
    overlay = overlay_figure([OverlayItem("one", None, mask, mask)], LABELS)
    assert {t.line.color for t in overlay.interactive.data if t.name == "liver"} == {liver}
    assert to_hex(compose(None, mask, LABELS)[0, 0] / 255) == liver


def test_static_figures_use_the_same_colours():
    liver = LABELS.colour("liver")
    spectra = spectra_figure(MEDIANS, LABELS).static
    assert liver in {to_hex(line.get_color()) for line in spectra.axes[0].lines}
    matrix = confusion_figure(CONFUSION, LABELS).static
    assert liver in {to_hex(patch.get_facecolor()) for patch in matrix.axes[0].patches}
    drawn = scores_figure(SCORES, LABELS).static.axes[0].collections
    assert liver in {to_hex(color) for dots in drawn for color in dots.get_facecolor()}


def test_one_dot_an_image_and_one_diamond_a_subject():
    figure = scores_figure(SCORES, LABELS)
    liver = [t for t in figure.interactive.data if t.text is not None and "<b>liver</b>" in t.text[0]]
    dots, diamonds = ([t for t in liver if t.marker.symbol == symbol][0] for symbol in ("circle", "diamond"))
    assert sorted(dots.x) == [0.6, 0.7, 0.9]
    assert sorted(diamonds.x) == pytest.approx([0.6, 0.8])
    assert set(dots.y) == set(diamonds.y)  # one line a subject


def test_the_mean_of_subjects_stands_with_its_interval_and_counts():
    text = scores_figure(SCORES, LABELS).text
    assert "liver 0.70 [0.00, 1.00] 2 / 3" in text  # Student's t of 0.8 and 0.6, cut: 0.7 ± 12.7 · 0.1


def test_one_subject_has_no_interval_and_a_class_without_reference_no_score():
    text = scores_figure(SCORES, LABELS).text
    assert "spleen <b> 0.50 [no interval] 1 / 1" in text
    assert "colon not in the reference" in text


def test_the_scale_of_dice_keeps_all_marks_inside():
    axis = scores_figure(SCORES, LABELS).interactive.layout.xaxis.range
    assert axis[0] < 0
    assert axis[1] > 1


def test_without_any_value_there_is_no_figure():
    assert scores_figure(SCORES, LABELS, "nsd") is None
    assert scores_figure(SCORES.clear(), LABELS) is None
    assert confusion_figure(CONFUSION.clear(), LABELS) is None
    assert spectra_figure(MEDIANS.clear(), LABELS) is None
    assert learning_figure(curves("a").clear()) is None
    assert overlay_figure([], LABELS) is None


def test_every_subject_weighs_the_same_in_the_confusion_matrix():
    table = confusion([("P1", "liver", "liver", 1), ("P2", "liver", "liver", 0), ("P2", "liver", "colon", 999)])
    matrix = confusion_over_subjects(table, LABELS.names)
    assert matrix.fraction[0].tolist() == [0.5, 0, 0.5]
    assert matrix.counts[0].tolist() == [1, 0, 999]
    assert matrix.sd[0, 0] == pytest.approx(np.std([1, 0], ddof=1))
    assert matrix.n_subjects.tolist() == [2, 0, 0]


def test_images_of_a_subject_are_summed_before_they_become_fractions():
    table = confusion([("P1", "liver", "liver", 9), ("P1", "liver", "liver", 0), ("P1", "liver", "colon", 1)])
    assert confusion_over_subjects(table, LABELS.names).fraction[0, 0] == pytest.approx(0.9)


def test_a_class_absent_in_the_reference_has_an_empty_row():
    table = confusion_figure(confusion([("P1", "liver", "colon", 4)]), LABELS).table
    absent = table.filter(pl.col("reference") == "colon")
    assert absent["fraction"].null_count() == 3
    assert absent["n_subjects"].to_list() == [0, 0, 0]
    assert "Not in the reference: spleen <b>, colon" in confusion_figure(CONFUSION.head(1), LABELS).text


def test_not_predicted_is_a_column_behind_the_classes():
    matrix = confusion_over_subjects(confusion([("P1", "liver", "not predicted", 2)]), LABELS.names)
    assert matrix.predictions[-1] == "not predicted"
    assert matrix.fraction[0].tolist() == [0, 0, 0, 1]


def test_names_are_escaped_for_plotly():
    text = confusion_figure(CONFUSION, LABELS).interactive.layout.xaxis.ticktext
    assert "spleen &lt;b&gt;" in text


def test_spectra_are_averaged_over_the_images_of_a_subject_first():
    table = spectra_figure(MEDIANS, LABELS, [500, 600, 700]).table
    liver = table.filter(pl.col("label") == "liver")
    assert liver["wavelength_nm"].to_list() == [500, 600, 700]
    assert liver["mean"].to_list() == [3, 4, 5]  # subjects: (2, 3, 4) and (4, 5, 6)
    assert liver["sd"].to_list() == pytest.approx([np.std([2, 4], ddof=1)] * 3)
    assert liver["n_subjects"][0] == 2
    assert liver["n_images"][0] == 3


def test_one_subject_has_no_band():
    figure = spectra_figure(MEDIANS, LABELS)
    spleen = figure.table.filter(pl.col("label") == "spleen <b>")
    assert spleen["sd"].null_count() == 3
    assert sum(trace.fill == "toself" for trace in figure.interactive.data) == 1  # of liver
    assert figure.table.columns[1] == "channel"


def test_annotators_are_never_averaged():
    both = pl.concat([MEDIANS, medians([("P1", "a", "liver", [1, 2, 3])], annotator="b")])
    with pytest.raises(InvalidData, match="several annotators"):
        spectra_figure(both, LABELS)


def test_wavelengths_must_fit():
    with pytest.raises(InvalidData, match="3 channels for 2 wavelengths"):
        spectra_figure(MEDIANS, LABELS, [500, 600])


def test_colours_lie_half_over_the_picture():
    rgb = np.full((2, 2, 3), 100, np.uint8)
    mask = np.array([[0, 0], [0, IGNORE]], np.uint8)
    result = compose(rgb, mask, LABELS)
    assert result[0, 0].tolist() == [round(0.5 * 100 + 0.5 * c) for c in (0x12, 0x34, 0x56)]


def test_pixels_without_a_label_are_grey_with_stripes():
    rgb = np.random.default_rng(0).integers(0, 255, (30, 30, 3), dtype=np.uint8)
    result = compose(rgb, np.full((30, 30), IGNORE, np.uint8), LABELS).astype(int)
    assert (result.max(axis=2) == result.min(axis=2)).all()
    grey = compose(np.full((30, 30, 3), 90, np.uint8), np.full((30, 30), IGNORE, np.uint8), LABELS)
    assert len(np.unique(grey)) == 2


def test_outlines_follow_regions_and_their_holes_and_leave_out_specks():
    mask = np.full((40, 40), IGNORE, np.uint8)
    mask[5:25, 5:25] = 1
    mask[10:15, 10:15] = 0
    mask[30:33, 30:33] = 2
    lines = outlines(mask)
    assert sorted(lines) == [0, 1]
    assert len(lines[1]) == 2
    outer = max(lines[1], key=lambda line: np.ptp(line[:, 0]))
    assert (outer.min(axis=0).tolist(), outer.max(axis=0).tolist()) == ([5, 5], [25, 25])
    assert (outer[0] == outer[-1]).all()


def test_the_table_of_an_overlay_counts_all_pixels_of_the_unshrunk_masks():
    mask = np.full((1000, 500), IGNORE, np.uint8)
    mask[:250] = 0
    figure = overlay_figure([OverlayItem("large", None, mask, None)], LABELS)
    assert figure.table.rows() == [
        ("large", "reference", "liver", 0.25),
        ("large", "reference", "not annotated", 0.75),
    ]


def test_images_and_masks_of_different_sizes_are_not_drawn():
    item = OverlayItem("P1#a", np.zeros((4, 6, 3), np.uint8), np.zeros((6, 4), np.uint8), None)
    with pytest.raises(InvalidData, match="P1#a: .*4 × 6, 6 × 4"):
        overlay_figure([item], LABELS)


def test_every_column_has_its_heading_also_where_the_first_image_has_no_picture():
    mask, rgb = np.zeros((8, 8), np.uint8), np.zeros((8, 8, 3), np.uint8)
    items = [OverlayItem("one", None, mask, None), OverlayItem("two", rgb, mask, mask)]
    notes = overlay_figure(items, LABELS).interactive.layout.annotations
    assert {"<b>Image</b>", "<b>Reference</b>", "<b>Prediction</b>"} <= {note.text for note in notes}


def test_the_first_of_the_highest_epochs_is_the_best():
    table = curves("fold_0").with_columns(pl.col("value").replace({0.6: 0.7}))
    assert best_epochs(table, "validation_dice").rows() == [("fold_0", 2, 0.7)]


def test_the_first_epoch_is_1_in_figures_and_their_numbers():
    figure = learning_figure(curves("fold_0"))
    assert figure.table["epoch"].unique().to_list() == [1, 2, 3, 4]
    assert figure.interactive.data[0].x == (1, 2, 3, 4)


def test_losses_stand_first_and_values_that_are_not_finite_are_left_out():
    table = pl.concat([curves("fold_0"), curves("fold_1").with_columns(value=pl.lit(float("nan")))])
    figure = learning_figure(table)
    assert [note.text for note in figure.interactive.layout.annotations] == ["Train loss", "Validation Dice"]
    assert figure.table["fold"].unique().to_list() == ["fold_0"]
