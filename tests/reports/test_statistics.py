"""`stroma stats` on every kind of table, its files, its figure and its errors."""

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from stroma.cli.main import run
from stroma.core.errors import OutputConflict
from stroma.core.provenance import Provenance
from stroma.core.tables import read_provenance, read_table, write_table
from stroma.evaluation.comparison import STATISTICS_FORMAT, compare_groups
from stroma.evaluation.dice import aggregate, score_rows
from stroma.evaluation.schema import SCORES_FORMAT
from stroma.evaluation.subjects import subject_values
from stroma.features.proportions import image_proportions
from stroma.regions.objects import OBJECTS_SCHEMA
from stroma.reports.comparison import comparison_figure
from stroma.reports.statistics import StatsOptions, stats
from stroma.spectra.medians import median_rows

SUBJECTS = [f"Süß #{i}, a+b" for i in range(8)]


@pytest.fixture
def parameters(tmp_path: Path) -> Path:
    """StO2 of two labels, two states and two images of each subject; ischaemia lowers that of the liver."""
    rng = np.random.default_rng(0)
    columns = ["image_id", "subject_id", "label_name", "perfusion_state", "median_sto2"]
    entries = []
    for subject in SUBJECTS:
        level = rng.normal(0.6, 0.05)
        for label in ("liver", "colon"):
            for state in ("normal", "ischemic"):
                for image in range(2):
                    effect = -0.2 if (label, state) == ("liver", "ischemic") else 0.0
                    value = level + effect + rng.normal(0, 0.02)
                    entries.append((f"{subject}#{state}{image}", subject, label, state, value))
    path = tmp_path / "parameters #1.parquet"
    pl.DataFrame(entries, schema=columns, orient="row").write_parquet(path)
    return path


def options(path: Path, **more: object) -> StatsOptions:
    values = {"value": "median_sto2", "group": "perfusion_state", "paired": True, "by": "label_name"}
    return StatsOptions(tables=(path,), groups=("normal", "ischemic"), **{**values, **more})


def test_the_command_of_the_issue(parameters: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "out, ü"
    command = [
        "stats",
        str(parameters),
        "--value",
        "median_sto2",
        "--group",
        "perfusion_state",
        "--subject",
        "subject_id",
    ]
    assert run([*command, "--paired", "--by", "label_name", "-o", str(output)]) == 0
    printed = capsys.readouterr().out
    assert "64 rows of 64 from 8 subjects" in printed
    assert "Of 2 values of label_name compared between ischemic and normal (8 subjects compared with" in printed
    assert "median_sto2 differed in 1, liver (0.2" in printed
    table = read_table(output / "statistics.parquet", format=STATISTICS_FORMAT)
    assert table.select("by", "n_a", "n_rows").rows() == [("colon", 8, 32), ("liver", 8, 32)]
    assert pl.read_csv(output / "statistics.csv")["p"].to_list() == table["p"].to_list()
    assert (output / "sentence.txt").read_text(encoding="utf-8").strip() in printed
    assert len(read_table(output / "subjects.parquet")) == 8 * 2 * 2
    page = (output / "report.html").read_text(encoding="utf-8")
    assert "S\\u00fc\\u00df #3, a+b" in page
    assert {p.name for p in (output / "figures").iterdir()} == {"comparison.png", "comparison.svg"}
    shown = pl.read_csv(output / "tables" / "comparisons.csv")
    effect = "rank-biserial correlation"  # named once, above the column, so that the corrected p stays in sight
    assert shown[effect].str.contains(r"^-?\d+\.\d\d").all()


def test_without_output_nothing_is_written(parameters: Path, tmp_path: Path) -> None:
    before = sorted(tmp_path.rglob("*"))
    result = stats(options(parameters))
    assert sorted(tmp_path.rglob("*")) == before
    assert result.output is None
    assert result.details["sentence"] in result.lines


def test_json_holds_the_comparisons(parameters: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        run(["stats", str(parameters), "--value", "median_sto2", "--group", "perfusion_state", "--paired", "--json"])
        == 0
    )
    content = json.loads(capsys.readouterr().out)
    assert content["comparisons"][0]["n_subjects"] == 8
    assert content["sentence"].endswith(".")


def test_the_same_again_is_skipped_and_other_settings_are_refused(parameters: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    assert stats(options(parameters, output=output)).skipped == 0
    files = {p: p.read_bytes() for p in output.rglob("*") if p.is_file()}
    assert stats(options(parameters, output=output)).skipped == 1
    with pytest.raises(OutputConflict, match="aggregate was"):
        stats(options(parameters, output=output, aggregate="median"))
    stats(options(parameters, output=output, overwrite=True))
    assert {p: p.read_bytes() for p in output.rglob("*") if p.is_file()} == files
    assert read_provenance(output / "statistics.parquet").settings["value"] == "median_sto2"


def test_scores_of_two_runs_are_compared_on_the_same_subjects(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    paths = []
    for name, dice in (("first run", 0.7), ("second run", 0.8)):
        rows = [
            score_rows(f"{s}{i}", s, "", ("liver", "colon"), np.clip(dice + rng.normal(0, 0.03, size=2), 0, 1))
            for s in SUBJECTS
            for i in range(2)
        ]
        path = tmp_path / name / "tables" / "test" / "scores.parquet"
        paths.append(write_table(aggregate(pl.concat(rows)), path, Provenance(SCORES_FORMAT)))
    result = stats(StatsOptions(tables=tuple(paths), value="value", group="table", paired=True, by="label"))
    assert "of the scores, those of images are used" in result.lines
    assert [c["group_b"] for c in result.details["comparisons"]] == ["second run"] * 2
    assert all(0.05 < c["difference"] < 0.15 for c in result.details["comparisons"])
    assert result.details["comparisons"][0]["n_rows"] == 2 * 2 * 8


def test_proportions_of_clusters_and_their_groups_from_a_metadata_table(tmp_path: Path) -> None:
    images = [f"slide {i}" for i in range(10)]
    counts = pl.DataFrame(
        [(image, c, 10 + (20 if i < 5 and c == 1 else i % 3)) for i, image in enumerate(images) for c in range(3)],
        schema=["image_id", "cluster", "n_tiles"], orient="row",
    )  # fmt: skip
    sources = pl.DataFrame({"image_id": images, "subject_id": [f"P{i}" for i in range(10)]})
    path = tmp_path / "proportions.parquet"
    write_table(image_proportions(counts, sources, 3), path, Provenance("proportions/1"))
    patients = tmp_path / "patients.csv"
    patients.write_text("subject_id,diagnosis\n" + "".join(f"P{i},{'ill' if i < 5 else 'well'}\n" for i in range(10)))
    result = stats(StatsOptions(tables=(path,), value="fraction", group="diagnosis", by="cluster", metadata=patients))
    found = {c["by"]: c for c in result.details["comparisons"]}
    assert list(found) == ["0", "1", "2"]
    assert found["1"]["p_corrected"] < 0.05
    assert found["1"]["difference"] < 0
    assert found["1"]["test"] in ("Mann-Whitney U test", "Welch's t-test")


def test_objects_are_joined_by_subject(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    rows = []
    for i, subject in enumerate(SUBJECTS):
        for region in range(30):
            area = rng.normal(400 if i < 4 else 600, 50)
            rows.append(
                {"image_id": f"s{i}", "region": region, "subject_id": subject, "label": "nucleus", "area_um2": area}
            )
    table = pl.DataFrame(rows, schema={k: v for k, v in OBJECTS_SCHEMA.items() if k in rows[0]})
    path = write_table(table, tmp_path / "objects.parquet", Provenance("objects/1"))
    group = tmp_path / "groups.csv"
    group.write_text("image_id,stain\n" + "".join(f"s{i},{'H' if i < 4 else 'E'}\n" for i in range(8)))
    result = stats(StatsOptions(tables=(path,), value="area_um2", group="stain", metadata=group))
    found = result.details["comparisons"][0]
    assert (found["n_a"], found["n_b"], found["n_rows"]) == (4, 4, 240)
    assert found["p"] == pytest.approx(2 / 70)  # the smallest there is for four against four


def test_median_spectra_are_refused_with_the_next_step(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    labels = np.zeros((2, 2), np.uint8)
    rows = median_rows(np.ones((2, 2, 5)), labels, ("a",), image_id="i", subject_id="s", annotator="")
    path = write_table(rows, tmp_path / "medians.parquet", Provenance("medians/1"))
    assert run(["stats", str(path), "--value", "median_spectrum", "--group", "label"]) == 1
    error = capsys.readouterr().err
    assert "'median_spectrum' holds a list of numbers in each row" in error
    assert "Compare a column of numbers (n_pixels" in error


def test_the_figure_joins_the_points_of_a_subject(parameters: Path) -> None:
    values = subject_values(pl.read_parquet(parameters), "median_sto2", "perfusion_state", by="label_name")
    figure = comparison_figure(compare_groups(values, paired=True), "median_sto2")
    assert len(figure.table) == 8 * 2 * 2
    lines = [trace for trace in figure.interactive.data if trace.mode == "lines"]
    assert len(lines) == 8 * 2
    assert {len(line.x) for line in lines} == {2}
    assert "liver: ischemic 0.375, normal 0.579" in figure.text
    assert figure.svg() == comparison_figure(compare_groups(values, paired=True), "median_sto2").svg()
    assert figure.png().startswith(b"\x89PNG")


def test_the_figure_of_one_subject_in_a_group_and_of_many_labels(tmp_path: Path) -> None:
    rows = [(f"S{s}", "ab"[s % 2], f"label {k:02d}", s + k / 10) for s in range(5) for k in range(9)]
    table = pl.DataFrame(rows, schema=["subject_id", "group", "label", "value"], orient="row")
    one = table.filter(~((pl.col("label") == "label 03") & pl.col("subject_id").is_in(["S1"])))
    figure = comparison_figure(compare_groups(subject_values(one, "value", "group", by="label")), "value $x$ <b>")
    assert figure.table["by"].n_unique() == 9
    assert figure.png().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "message", "code"),
    [
        (["--value", "sto2", "--group", "perfusion_state"], "has no column 'sto2'. Known: image_id, label_name,", 2),
        (["--value", "median_sto2", "--group", "perfusion_state"], "8 subjects in both 'ischemic' and 'normal'", 1),
        (["--value", "median_sto", "--group", "perfusion_state"], "Did you mean 'median_sto2'?", 2),
        (["--value", "median_sto2", "--group", "perfusion_state", "--paired", "--test", "mixed"], "Leave out --p", 2),
        (["--value", "median_sto2", "--group", "perfusion_state", "--where", "x ="], "cannot read the condition", 2),
        (["--value", "median_sto2", "--group", "median_sto2"], "have to be different columns", 2),
    ],
)  # fmt: skip
def test_errors_say_the_next_step(
    parameters: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str, code: int
) -> None:
    assert run(["stats", str(parameters), *arguments]) == code
    assert message in capsys.readouterr().err


def test_labels_that_are_joined_without_being_asked_for_are_told(parameters: Path) -> None:
    told = "2 values of label_name are joined into one value of each image or subject; --by label_name compares each"
    assert told in stats(options(parameters, by=None)).lines
    assert told not in stats(options(parameters)).lines
    assert told not in stats(options(parameters, by=None, where="label_name = 'liver'")).lines


def test_a_folder_is_told_the_table_that_is_meant_first(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("images/a.parquet", "medians.parquet"):
        path = tmp_path / "medians" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pl.DataFrame({"x": [1]}).write_parquet(path)
    assert run(["stats", str(tmp_path / "medians"), "--value", "x", "--group", "y"]) == 2
    assert "Its tables are medians.parquet, images/a.parquet" in capsys.readouterr().err
