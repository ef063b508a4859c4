"""The result of a comparison in words: lines for the terminal and one sentence for a paper."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import polars as pl

from stroma.core.text import plural
from stroma.evaluation.comparison import MIXED, Comparison

_MOST_OTHERS = 5
"""Labels without a difference that the sentence names one by one."""
_CORRECTIONS = {"holm": "Holm", "bh": "Benjamini-Hochberg", "none": "no"}


def number(value: float | None, digits: int = 3) -> str:
    """A figure with so many significant digits, without an exponent where it can be read without one."""
    if value is None:
        return "–"
    if value == 0:
        return "0"
    if not 1e-4 <= abs(value) < 1e6:
        return f"{value:.{digits - 1}e}"
    return f"{value:,.0f}" if abs(value) >= 10**digits else f"{value:#.{digits}g}".rstrip(".")


def p_text(p: float | None) -> str:
    """`p = 0.031`, `p < 0.001`."""
    if p is None:
        return "not tested"
    if p < 0.001:
        return "p < 0.001"
    return f"p = {p:.3f}" if p < 0.1 else f"p = {p:.2f}"


def comparison_lines(comparison: Comparison, value: str) -> list[str]:
    """One line a comparison: groups, difference and effect with intervals, test, p-values, numbers of subjects."""
    return [_line(row, comparison, value) for row in comparison.table.iter_rows(named=True)]


def _line(row: Mapping[str, Any], comparison: Comparison, value: str) -> str:
    name = f"{row['by']}: " if row["by"] else ""
    counts = f"{plural(row['n_subjects'], 'subject')}, {plural(row['n_rows'], 'row')}"
    note = f"; {row['note']}" if row["note"] else ""
    if row["kind"] == "groups":
        what = f"{name}all {len(comparison.groups)} groups"
    else:
        sides = f"n = {row['n_a']} and {row['n_b']}" if not comparison.paired else plural(row["n_a"], "pair")
        what = f"{name}{row['group_b']} against {row['group_a']} ({sides})"
    if row["p"] is None:
        return f"{what}: not tested{note} ({counts})"
    parts = [] if row["difference"] is None else [_estimate(row, value)]
    parts += [] if row["effect"] is None else [_effect(row)]
    same = comparison.correction == "none" or row["p"] == row["p_corrected"]
    p = p_text(row["p"]) + ("" if same else f", corrected {p_text(row['p_corrected'])}")
    return f"{what}: {'; '.join([*parts, p])}{note} ({row['test']}; {counts})"


def _estimate(row: Mapping[str, Any], value: str = "") -> str:
    unit = f" of {value}" if value else ""
    return f"{row['difference_name']}{unit} {number(row['difference'])}{_interval(row, 'difference')}"


def _effect(row: Mapping[str, Any]) -> str:
    return f"{row['effect_name']} {row['effect']:.2f}{_interval(row, 'effect', fixed=True)}"


def _interval(row: Mapping[str, Any], key: str, *, fixed: bool = False) -> str:
    low, high = row[f"{key}_low"], row[f"{key}_high"]
    if low is None or high is None:
        return ""
    shown = [f"{limit:.2f}" if fixed else number(limit) for limit in (low, high)]
    return f" [95 % CI {shown[0]} to {shown[1]}]"


def sentence(comparison: Comparison, value: str, *, by: str | None = None, alpha: float = 0.05) -> str:
    """One sentence that can stand in a paper.

    Args:
        comparison: The comparison.
        value: Name of the value.
        by: What the labels are, for example `label`.
        alpha: Level below which a difference is called one, 0-1.
    """
    rows = comparison.table.to_dicts()
    whole = [row for row in rows if row["kind"] == "groups"]
    pairs = [row for row in rows if row["kind"] == "pair"]
    if by is None and not whole:
        return _single(pairs[0], comparison, value, alpha)
    return _several(whole or pairs, pairs if whole else [], comparison, value, by, alpha)


def _single(row: Mapping[str, Any], comparison: Comparison, value: str, alpha: float) -> str:
    if row["p"] is None:
        return f"{_sentence_case(value)} could not be compared: {row['note']}."
    by_median = comparison.method == "rank" and row["median_a"] != row["median_b"]
    a, b = (_group(row, side, by_median=by_median) for side in "ab")
    people = (
        f"in {plural(row['n_a'], 'subject')} compared with themselves"
        if comparison.paired
        else f"in {plural(row['n_subjects'], 'subject')}, {row['n_a']} and {row['n_b']} of them"
    )
    direction = row["difference"] or row["effect"]  # ties can make the median of the differences 0
    if row["p"] <= alpha and direction:
        verdict = "higher" if direction > 0 else "lower"
        start = f"{_sentence_case(value)} was {verdict} in {b} than in {a}"
    else:
        start = f"{_sentence_case(value)} did not differ significantly between {a} and {b}"
    parts = [people] + ([] if row["difference"] is None else [_estimate(row)])
    parts += [] if row["effect"] is None else [_effect(row)]
    return f"{start} ({'; '.join([*parts, row['test'], p_text(row['p'])])})."


def _group(row: Mapping[str, Any], side: str, *, by_median: bool) -> str:
    if by_median:
        return f"{row[f'group_{side}']} (median {number(row[f'median_{side}'])})"
    spread = row[f"sd_{side}"]
    return f"{row[f'group_{side}']} (mean {number(row[f'mean_{side}'])}" + (
        ")" if spread is None else f", SD {number(spread)})"
    )


def _several(
    rows: list[dict[str, Any]],
    pairs: list[dict[str, Any]],
    comparison: Comparison,
    value: str,
    by: str | None,
    alpha: float,
) -> str:
    tested = [row for row in rows if row["p"] is not None]
    found = [row for row in tested if row["p_corrected"] <= alpha]
    rest = [row for row in tested if row["p_corrected"] > alpha]
    groups = _listed(list(comparison.groups))
    p_values = "p" if comparison.correction == "none" else f"{_CORRECTIONS[comparison.correction]}-corrected p"
    between = [p for p in pairs if p["p_corrected"] is not None and p["p_corrected"] <= alpha]
    named = _listed([f"{p['group_a']} and {p['group_b']} ({_short(p)})" for p in between])
    over = f"{p_values} over {plural(sum(p['p'] is not None for p in pairs), 'pair')}"
    if not tested:  # all groups together; a pair could be, or there would be no comparison
        start = f"{_sentence_case(value)} could not be compared between {groups} together: {rows[0]['note']}"
        differed = f"it differed between {named}, {over}" if between else "it differed significantly between none"
        return f"{start}; of single pairs {differed}."
    several = f" over {len(tested)} comparisons" if comparison.correction != "none" and len(tested) > 1 else ""
    least, most = (f(row["n_subjects"] for row in tested) for f in (min, max))
    people = plural(most, "subject") if least == most else f"{least} to {most} subjects"
    test = tested[0]["test"]
    who = people + (" compared with themselves" if comparison.paired else "")
    difference = next((row["difference_name"] for row in tested if row["difference_name"]), None)
    way = f"{difference} {comparison.groups[1]} minus {comparison.groups[0]}; " if difference and not pairs else ""
    how = f"{who}; {test}; {way}{p_values}{several}"
    if by is None:
        row = tested[0]
        verdict = "differed" if found else "did not differ significantly"
        text = (
            f"{_sentence_case(value)} {verdict} between {groups} ({who}; {test}; {p_text(row['p'])}{_together(row)}"
        )
        pairwise = f", namely between {named}, {over}." if found and between else "."
        return f"{text}){pairwise}"
    names = _listed([f"{label_title(row['by'], by)} ({_short(row)})" for row in found])
    start = f"Of {len(tested)} values of {by} compared between {groups} ({how})"
    verdict = f"{value} differed in {len(found)}, {names}" if found else f"{value} differed significantly in none"
    others = _listed([f"{label_title(row['by'], by)} ({p_text(row['p_corrected'])})" for row in rest])
    if len(rest) > _MOST_OTHERS:
        smallest = min(row["p_corrected"] for row in rest)
        steps = 100 if smallest >= 0.1 else 1000  # rounded down: none of them is smaller
        shown = p_text(math.floor(smallest * steps + 1e-9) / steps)
        others = f"the other {len(rest)} ({shown.replace('=', '≥' if smallest < 1 else '=')})"
    return f"{start}, {verdict}" + (f", and not significantly in {others}." if found and rest else ".")


def label_title(label: str, by: str | None) -> str:
    """A label as it is called in text: `cluster 3` where it is only a number."""
    return f"{by} {label}" if by and label.isdecimal() else label


def _short(row: Mapping[str, Any]) -> str:
    estimate = "" if row["difference"] is None else f"{number(row['difference'])}{_interval(row, 'difference')}, "
    return f"{estimate}{p_text(row['p_corrected'])}"


def _together(row: Mapping[str, Any]) -> str:
    return "" if row["effect"] is None else f"; {_effect(row)}"


def _listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}" if names else ""


def _sentence_case(text: str) -> str:
    return text if "_" in text or not text[:1].islower() else text[:1].upper() + text[1:]


def readable_table(comparison: Comparison) -> pl.DataFrame:
    """The comparisons as people read them: rounded, each figure with its interval in one cell."""
    rows = []
    for row in comparison.table.iter_rows(named=True):
        whole = row["kind"] == "groups"
        counts = row["n_subjects"] if whole or comparison.paired else f"{row['n_a']} and {row['n_b']}"
        cells = {
            "Label": row["by"],
            "Comparison": "all groups" if whole else f"{row['group_b']} against {row['group_a']}",
            "Subjects": str(counts),
            "Means": "" if whole else f"{number(row['mean_b'])} and {number(row['mean_a'])}",
            "Difference": ""
            if row["difference"] is None
            else number(row["difference"]) + _interval(row, "difference"),
            "Effect": "" if row["effect"] is None else _effect(row),
            "p": p_text(row["p"]),
            "p corrected": "" if row["p"] is None else p_text(row["p_corrected"]),
            "Test": row["test"] or "",
            "Note": row["note"] or "",
        }
        rows.append({key: cell.replace("95 % CI ", "").removeprefix("p = ") for key, cell in cells.items()})
    table = pl.DataFrame(rows)
    kinds = comparison.table["effect_name"].drop_nulls().unique().to_list()
    if len(kinds) == 1:  # its name once above the column: nine columns fit on a page
        table = table.with_columns(pl.col("Effect").str.strip_prefix(f"{kinds[0]} ")).rename({"Effect": kinds[0]})
    return table if comparison.table["note"].count() else table.drop("Note")


def method_text(comparison: Comparison, aggregate: str) -> str:
    """How the figures were made, in one paragraph."""
    first = "image by image and then subject by subject" if _has_images(comparison) else "subject by subject"
    test = {"rank": "rank tests", "t": "t-tests", "mixed": MIXED}.get(comparison.method, "")
    return (
        f"Rows were joined {first} ({aggregate}), so each subject counts once in a group. "
        f"Tests: {test} ({comparison.reason}). Two-sided; intervals of 95 %, each by itself; "
        f"{_CORRECTIONS[comparison.correction]} correction over all labels and pairs."
    )


def _has_images(comparison: Comparison) -> bool:
    return comparison.values.table["n_images"].null_count() == 0
