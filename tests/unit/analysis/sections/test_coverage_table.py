"""Table of coverage: which digits agree with a paper, which do not compare, and the order by objective."""

import math

import pandas as pd
import pytest

from analysis.papers.recipe import find_coverage_departure
from analysis.papers.rows import PaperRow, get_row
from analysis.reader.coverage import AssignmentSettings, BoxHistogram, CoverageCounts, CoverageSettings
from analysis.render.tables import format_cells
from analysis.sections.coverage import group_by_ranges, order_arms
from analysis.sections.coverage_table import (
    collect_coverage_values,
    format_levels,
    format_ranges,
    make_coverage_table,
)

BPR, AMBIGUOUS, OBJECTIVE = "coverage/bpr", "coverage/ambiguous", "coverage/objective"
COCO = {
    "coverage.split": "val",
    "data.val.annotations": "annotations/instances_val2017.json",
    "data.limit_val": None,
    "data.short_sides": [800],
    "data.long_side": 1333,
}


def make_values(numbers: dict[str, dict[str, float]], states: dict[str, str] | None = None) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "metric": metric,
            "arm": arm,
            "seed": 0,
            "status": (states or {}).get(arm, "FINISHED"),
            "run_id": arm,
            "step": 5000.0,
            "value": value,
            "failure": "",
        }
        for arm, of_arm in numbers.items()
        for metric, value in of_arm.items()
    )


def rows_of(*ids: str) -> dict[str, PaperRow]:
    return {row.source: row for row in map(get_row, ids)}


def verdicts_on(
    numbers: dict[str, dict[str, float]],
    rows: dict[str, dict[str, PaperRow]],
    departures: dict[str, str | None] | None = None,
) -> dict[str, str]:
    metrics = list(next(iter(numbers.values())))
    frame = collect_coverage_values(make_values(numbers), metrics, None, rows, departures or {}, {})
    return dict(zip(frame["arm"], frame["verdict"], strict=True))


def test_a_number_is_reproduced_to_the_printed_digit_or_differs_by_its_digits() -> None:
    rows = {arm: rows_of("v2.table1.retinanet_all") for arm in ("same", "off")}
    numbers = {"same": {BPR: 0.99324}, "off": {BPR: 0.99326}, "own": {BPR: 0.5}}
    assert verdicts_on(numbers, rows) == {"same": "reproduced", "off": "bpr +0.01", "own": "no row in the papers"}


def test_every_metric_that_a_paper_prints_is_compared() -> None:
    numbers = {"a": {AMBIGUOUS: 0.0742, "coverage/claims_3plus": 0.0046, "coverage/evenness": 0.5}}
    assert verdicts_on(numbers, {"a": rows_of("v2.table2.no_sampling_fpn")}) == {"a": "claims_3plus +0.01"}


def test_two_papers_are_named_each_with_its_verdict() -> None:
    verdicts = verdicts_on({"a": {BPR: 0.9840}}, {"a": rows_of("v1.table1.fcos_fpn", "v2.table1.fcos_fpn")})
    assert verdicts == {"a": "v1 Table 1: reproduced; v2 Table 1: bpr −0.55"}


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, None),
        ({"data.val.annotations": "annotations/instances_val.json"}, "other data"),
        ({"coverage.split": "train"}, "other data"),
        ({"data.limit_val": 100}, "a part of the data"),
        ({"data.short_sides": [240], "data.long_side": 320}, "other input size"),
        ({"data.short_sides": None, "data.long_side": None}, "other input size"),
    ],
)
def test_only_val2017_at_the_papers_size_is_compared(change: dict[str, object], expected: str | None) -> None:
    departure = find_coverage_departure({**COCO, **change})
    assert departure == expected
    verdicts = verdicts_on({"a": {BPR: 0.5}}, {"a": rows_of("v1.table1.fcos_fpn")}, {"a": departure})
    assert verdicts == {"a": expected or "bpr −48.40"}


def test_a_failed_arm_has_its_state_and_no_number() -> None:
    numbers = {"a": {BPR: math.nan}, "b": {BPR: 0.9}}
    frame = collect_coverage_values(
        make_values(numbers, {"a": "FAILED"}), [BPR], None, {"b": rows_of("v1.table1.fcos_fpn")}, {}, {}
    )
    table = make_coverage_table(frame, [BPR])
    assert format_cells(table.frame, table.columns) == [
        ["a", "–", "–", "–", "failed"],
        ["b", "90.00", "98.40", "v1 Table 1", "bpr −8.40"],
    ]


def make_counts(levels: list[int], ends: list[float], radius: float | None, objective: float = 0.0) -> CoverageCounts:
    """Return counts with level ranges from 0 over some ends to infinity."""
    return CoverageCounts(
        levels=levels,
        assignment=AssignmentSettings(
            ranges=list(zip([0.0, *ends], [*ends, None], strict=True)), center_sampling_radius=radius
        ),
        coverage=CoverageSettings(assignment="fcos", ambiguity_weight=1.0, evenness_weight=1.0),
        metrics={OBJECTIVE: objective},
        longest_side=BoxHistogram(ends=[1.0, 2.0], boxes=[1]),
        config_block="",
    )


COUNTS = {
    "base": make_counts([3, 4, 5], [64.0, 128.0], 1.5, 1.0),
    "low": make_counts([3, 5], [64.0], None, 0.9),
    "high": make_counts([2, 3], [20.5], 1.0, 1.1),
}


def test_arms_are_sorted_by_their_objective_with_differences_to_the_baseline() -> None:
    numbers = {arm: {OBJECTIVE: counts.metrics[OBJECTIVE], BPR: 0.99} for arm, counts in COUNTS.items()}
    frame = collect_coverage_values(make_values(numbers), [OBJECTIVE, BPR], "base", {}, {}, COUNTS)
    table = make_coverage_table(frame, [OBJECTIVE, BPR])
    assert [column.header for column in table.columns] == [
        "arm", "objective", "difference", "bpr", "levels", "radius", "range ends",
    ]  # fmt: skip
    assert format_cells(table.frame, table.columns) == [
        ["high", "110.00", "+10.00", "99.00", "P2–P3", "1", "0 20.5 ∞"],
        ["base (baseline)", "100.00", "–", "99.00", "P3–P5", "1.5", "0 64 128 ∞"],
        ["low", "90.00", "−10.00", "99.00", "P3 P5", "none", "0 64 ∞"],
    ]


def test_an_arm_without_an_objective_comes_last() -> None:
    numbers = {"lost": {OBJECTIVE: math.nan}, "found": {OBJECTIVE: 0.5}}
    frame = collect_coverage_values(make_values(numbers, {"lost": "FAILED"}), [OBJECTIVE], None, {}, {}, {})
    assert list(frame["arm"]) == ["found", "lost"]


def test_levels_and_ranges_are_formatted() -> None:
    assert [format_levels([4]), format_levels([3, 4, 5, 6, 7])] == ["P4", "P3–P7"]
    assert format_ranges([(-1.0, 64.0), (64.0, 1e8)]) == "-1 64 1e+08"


def test_figures_show_the_baseline_first_and_equal_ranges_once() -> None:
    assert order_arms(COUNTS, "base", by_objective=True) == ["base", "high", "low"]
    assert order_arms(COUNTS, None, by_objective=False) == ["base", "low", "high"]
    more = {**COUNTS, "twin": make_counts([3, 4, 5], [64.0, 128.0], None)}
    assert group_by_ranges(more, more) == {"base": ["twin"], "low": [], "high": []}
