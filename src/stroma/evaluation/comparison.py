"""Compare groups over subjects: the test that fits, effect sizes with intervals, correction over labels."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from stroma.core.errors import InvalidData, UsageError
from stroma.core.text import plural
from stroma.evaluation.correction import Correction, corrected
from stroma.evaluation.mean_tests import paired_t, welch_anova, welch_t
from stroma.evaluation.mixed_model import RandomIntercept, fit_random_intercept
from stroma.evaluation.rank_tests import (
    friedman,
    kruskal,
    rank_sum,
    signed_rank,
    smallest_rank_sum_p,
    smallest_signed_rank_p,
)
from stroma.evaluation.subjects import SubjectValues
from stroma.evaluation.test_result import NAN, TestResult

Method = Literal["auto", "rank", "t", "mixed"]
MIXED = "linear mixed model with a random intercept for each subject"
STATISTICS_FORMAT = "statistics/1"
STATISTICS_SCHEMA: dict[str, pl.DataType] = {
    "by": pl.String(),
    "kind": pl.String(),
    "group_a": pl.String(),
    "group_b": pl.String(),
    "test": pl.String(),
    "n_a": pl.Int64(),
    "n_b": pl.Int64(),
    "n_subjects": pl.Int64(),
    "n_rows": pl.Int64(),
    "mean_a": pl.Float64(),
    "sd_a": pl.Float64(),
    "median_a": pl.Float64(),
    "mean_b": pl.Float64(),
    "sd_b": pl.Float64(),
    "median_b": pl.Float64(),
    "difference_name": pl.String(),
    "difference": pl.Float64(),
    "difference_low": pl.Float64(),
    "difference_high": pl.Float64(),
    "effect_name": pl.String(),
    "effect": pl.Float64(),
    "effect_low": pl.Float64(),
    "effect_high": pl.Float64(),
    "statistic": pl.Float64(),
    "df": pl.Float64(),
    "p": pl.Float64(),
    "p_corrected": pl.Float64(),
    "note": pl.String(),
}
"""One row a comparison. `kind` is `pair` (group_b against group_a) or `groups` (all groups together, which are then
null). `n_a` and `n_b` count the subjects of a group that the test used, `n_subjects` different subjects, `n_rows` the
rows of the table behind them. Differences are b - a. `p_corrected` is corrected over all rows of the same kind.
Null: not tested, and `note` says why."""


@dataclass(frozen=True)
class Comparison:
    """The comparison of groups, label by label.

    Attributes:
        table: Columns of `STATISTICS_SCHEMA`.
        values: What it was computed from.
        groups: The groups, the reference first.
        paired: Whether subjects were compared with themselves.
        method: Which tests were taken: rank, t or mixed.
        reason: Why these.
        correction: Over the labels and pairs.
        left_out: Sentences about subjects that no test used.
    """

    table: pl.DataFrame
    values: SubjectValues
    groups: tuple[str, ...]
    paired: bool
    method: Method
    reason: str
    correction: Correction
    left_out: tuple[str, ...]


@dataclass(frozen=True)
class _Label:
    """The values of one label: subject → value, group by group."""

    name: str
    groups: dict[str, dict[str, float]]
    rows: dict[tuple[str, str], int]

    def complete(self) -> list[str]:
        """Subjects with a value in every group, sorted."""
        return sorted(set.intersection(*(set(values) for values in self.groups.values())))

    def of(self, group: str, subjects: Sequence[str] | None = None) -> NDArray[np.float64]:
        values = self.groups[group]
        return np.array([values[subject] for subject in (sorted(values) if subjects is None else subjects)])


def compare_groups(
    values: SubjectValues,
    *,
    groups: Sequence[str] = (),
    paired: bool = False,
    method: Method = "auto",
    correction: Correction = "holm",
    alpha: float = 0.05,
    seed: int = 0,
) -> Comparison:
    """Compare the groups of each label.

    `auto` takes rank tests where they can fall below `alpha` after the correction in every label, else t-tests; the
    numbers of subjects decide, never the values, so the choice does not change how often chance looks like a finding.
    Three and more groups are compared together and pair by pair.

    Args:
        values: One value a subject, group and label.
        groups: The groups in order, the reference first (default: all, sorted).
        paired: Compare subjects with themselves; only those with all groups count.
        method: `rank`, `t`, `auto`, or `mixed`: a random intercept for each subject, which also uses subjects that
            lack a group.
        correction: Over all labels and pairs.
        alpha: Level that `auto` has in mind, 0-1.
        seed: Of permutations and bootstrap samples.

    Raises:
        InvalidData: one group, subjects in several groups though not paired, no subject with all groups though
            paired, or too few subjects to test anything.
        UsageError: `mixed` together with paired.
    """
    order = list(groups or values.groups)
    if len(order) < 2:
        raise InvalidData(
            f"there is one group ('{order[0]}'), a comparison needs two",
            next_step="Group by another column, or add the images of the other group",
        )
    if method == "mixed" and paired:
        raise UsageError(
            "the mixed model compares subjects with themselves where it can", next_step="Leave out --paired"
        )
    labels = [_label(values, name, order) for name in values.labels]
    if not paired and method != "mixed":
        _check_unpaired(labels)
    if paired and not any(label.complete() for label in labels):
        raise InvalidData(
            f"no subject has values in all groups ({', '.join(order)}), so nothing is paired",
            next_step="Leave out --paired, or use --test mixed",
        )
    method, reason = _choose(labels, order, paired, method, correction, alpha)
    rows: list[dict[str, Any]] = []
    for label in labels:
        if len(order) > 2:
            rows.append(_row(label, (), order, _together(label, order, paired, method, seed), paired))
        for pair in itertools.combinations(order, 2):
            rows.append(_row(label, pair, order, _pair(label, pair, paired, method), paired))
    table = pl.DataFrame(rows, schema=STATISTICS_SCHEMA, orient="row").with_columns(pl.col(pl.Float64).fill_nan(None))
    if table["p"].null_count() == len(table):
        raise InvalidData(
            f"nothing could be tested: {rows[0]['note']}",
            next_step="Count the subjects of each group: a test needs at least 2 in each",
        )
    parts = []
    for kind in ("groups", "pair"):
        part = table.filter(kind=kind)
        p = corrected(part["p"].fill_null(NAN).to_numpy(), correction)
        parts.append(part.with_columns(pl.Series("p_corrected", p).fill_nan(None)))
    table = pl.concat(parts) if len(order) > 2 else parts[1]
    left_out = _left_out(labels, order) if paired else ()
    return Comparison(table, values, tuple(order), paired, method, reason, correction, left_out)


def _label(values: SubjectValues, name: str, groups: Sequence[str]) -> _Label:
    mine = values.table.filter(pl.col("by") == name)
    found: dict[str, dict[str, float]] = {group: {} for group in groups}
    rows = {}
    for row in mine.iter_rows(named=True):
        if row["group"] in found:
            found[row["group"]][row["subject_id"]] = row["value"]
            rows[row["group"], row["subject_id"]] = row["n_rows"]
    return _Label(name, found, rows)


def _check_unpaired(labels: Sequence[_Label]) -> None:
    for label in labels:
        for first, second in itertools.combinations(label.groups, 2):
            both = sorted(set(label.groups[first]) & set(label.groups[second]))
            if both:
                shown = ", ".join(f"'{name}'" for name in both[:5]) + (", …" if len(both) > 5 else "")
                raise InvalidData(
                    f"{plural(len(both), 'subject')} in both '{first}' and '{second}': {shown}",
                    next_step="Compare subjects with themselves: --paired, or --test mixed where some lack a group",
                )


def _choose(
    labels: Sequence[_Label],
    groups: Sequence[str],
    paired: bool,
    method: Method,
    correction: Correction,
    alpha: float,
) -> tuple[Method, str]:
    if method in ("t", "mixed") or (method == "rank" and len(groups) > 2):
        return method, "as asked for"
    if len(groups) > 2:
        return "rank", "more than two groups"
    worst, where, family = 0.0, "", 0
    for label in labels:
        if paired:
            count = len(label.complete())
            smallest, tested = smallest_signed_rank_p(count), count >= 2
        else:
            n, m = (len(label.groups[group]) for group in groups)
            smallest, tested = smallest_rank_sum_p(n, m), min(n, m) >= 2
        family += tested
        if tested and smallest > worst:
            worst, where = smallest, label.name
    family = 1 if correction == "none" else family
    named = f" of '{where}'" if where else ""
    least = f"a rank test of so few subjects{named} gives p = {min(1.0, worst * family):.2g} at least"
    least += f", corrected over {family} labels" if family > 1 else ""
    possible = worst * family <= alpha
    if method == "rank":
        return "rank", "as asked for" if possible else f"as asked for, though {least}"
    if possible:
        return "rank", "enough subjects for rank tests"
    return "t", f"{least}; t-tests take values for normal, which so few cannot show"


def _pair(label: _Label, pair: Sequence[str], paired: bool, method: Method) -> TestResult:
    if method == "mixed":
        return _mixed_pair(label, pair)
    subjects = label.complete() if paired else None
    first, second = (label.of(group, subjects) for group in pair)
    if paired:
        result = signed_rank(first, second) if method == "rank" else paired_t(first, second)
    elif min(len(first), len(second)) < 2:
        few = next(group for group, found in zip(pair, (first, second), strict=True) if len(found) < 2)
        count = len(label.groups[few])
        return TestResult("", note=f"{count or 'no'} subject{'' if count == 1 else 's'} in '{few}'")
    else:
        result = rank_sum(first, second) if method == "rank" else welch_t(first, second)
    return result


def _together(label: _Label, groups: Sequence[str], paired: bool, method: Method, seed: int) -> TestResult:
    if paired and method == "rank":
        subjects = label.complete()
        columns = [label.of(group, subjects) for group in groups]
        return friedman(np.column_stack(columns), seed)
    if paired or method == "mixed":
        subjects = label.complete() if paired else []
        cells = {
            g: {s: v for s, v in found.items() if not paired or s in subjects} for g, found in label.groups.items()
        }
        fit = _fit(_Label(label.name, cells, label.rows), groups)
        if isinstance(fit, TestResult):
            return fit
        contrasts = np.column_stack([-np.ones(len(groups) - 1), np.eye(len(groups) - 1)])
        f, df, p = fit.f_test(contrasts)
        return TestResult(MIXED, p=p, statistic=f, df=df)
    columns = [label.of(group) for group in groups]
    few = [group for group, values in zip(groups, columns, strict=True) if len(values) < 2]
    if few:
        return TestResult("", note=f"fewer than 2 subjects in '{few[0]}'")
    return kruskal(columns, seed) if method == "rank" else welch_anova(columns)


def _mixed_pair(label: _Label, pair: Sequence[str]) -> TestResult:
    fit = _fit(label, pair)
    if isinstance(fit, TestResult):
        return fit
    found = fit.contrast(np.array([-1.0, 1.0]))
    spread = float(np.sqrt(fit.between + fit.within))
    effect = found.estimate / spread  # its interval knows that the SD is an estimate too (delta method)
    half = (found.high - found.estimate) / found.error * np.hypot(found.error / spread, effect * fit.spread_error)
    return TestResult(
        MIXED,
        p=found.p,
        statistic=found.t,
        df=found.df,
        difference_name="difference of means",
        difference=found.estimate,
        difference_low=found.low,
        difference_high=found.high,
        effect_name="Cohen's d (total SD)",
        effect=effect,
        effect_low=float(effect - half),
        effect_high=float(effect + half),
        note="no variance between subjects was found" if fit.between == 0 else "",
    )


def _fit(label: _Label, groups: Sequence[str]) -> RandomIntercept | TestResult:
    cells = [(i, subject, value) for i, g in enumerate(groups) for subject, value in sorted(label.groups[g].items())]
    sizes = [len(label.groups[group]) for group in groups]
    subjects = [subject for _, subject, _ in cells]
    values = np.array([value for _, _, value in cells], dtype=np.float64)
    design = np.eye(len(groups))[[i for i, _, _ in cells]] if cells else np.empty((0, len(groups)))
    if min(sizes) < 2:
        few = groups[int(np.argmin(sizes))]
        return TestResult("", note=f"fewer than 2 subjects in '{few}'")
    if len(subjects) - len(set(subjects)) < 2:
        return TestResult("", note="fewer than 2 subjects are in several groups, so a mixed model has nothing to add")
    means = np.array([values[design[:, i] == 1].mean() for i in range(len(groups))])
    if np.abs(values - design @ means).max() <= 1e-12 * np.abs(values).max():
        return TestResult("", note="the values do not vary between subjects")
    return fit_random_intercept(values, design, subjects)


def _row(
    label: _Label, pair: Sequence[str], groups: Sequence[str], result: TestResult, paired: bool
) -> dict[str, Any]:
    used = set(label.complete()) if paired else set().union(*label.groups.values())
    of = pair or groups
    subjects = {subject for group in of for subject in label.groups[group] if subject in used}
    rows = sum(count for (group, subject), count in label.rows.items() if group in of and subject in used)
    row: dict[str, Any] = {
        "by": label.name, "kind": "pair" if pair else "groups", "test": result.test or None,
        "n_subjects": len(subjects), "n_rows": rows, "note": result.note or None, "p_corrected": None,
        "difference_name": result.difference_name or None, "effect_name": result.effect_name or None,
    }  # fmt: skip
    for key in ("p", "statistic", "df", "difference", "difference_low", "difference_high", "effect", "effect_low",
                "effect_high"):  # fmt: skip
        row[key] = getattr(result, key)
    for side, group in zip("ab", pair or (None, None), strict=True):
        found = [] if group is None else [v for s, v in sorted(label.groups[group].items()) if s in used]
        row |= {
            f"group_{side}": group,
            f"n_{side}": None if group is None else len(found),
            f"mean_{side}": float(np.mean(found)) if found else NAN,
            f"sd_{side}": float(np.std(found, ddof=1)) if len(found) > 1 else NAN,
            f"median_{side}": float(np.median(found)) if found else NAN,
        }
    return row


def _left_out(labels: Sequence[_Label], groups: Sequence[str]) -> tuple[str, ...]:
    """Who had no partner, label by label."""
    sentences = []
    for label in labels:
        complete = set(label.complete())
        lacking: dict[str, list[str]] = {}
        for subject in sorted(set().union(*label.groups.values()) - complete):
            absent = ", ".join(f"'{group}'" for group in groups if subject not in label.groups[group])
            lacking.setdefault(absent, []).append(subject)
        for absent, names in lacking.items():
            shown = ", ".join(names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "")
            named = f"{label.name}: " if label.name else ""
            count = f"{len(names)} subject" + ("" if len(names) == 1 else "s")
            sentences.append(f"{named}{count} left out, without {absent}: {shown}")
    return tuple(sentences)
