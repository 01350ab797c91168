"""Coverage as a table: which digits agree with a paper, what cannot be held against it, and the order of advice."""

import math

import pandas as pd
import pytest

from analysis.papers.recipe import coverage_departure
from analysis.papers.rows import row
from analysis.render.tables import cells
from analysis.sections.coverage import alike, ranked
from analysis.sections.coverage_table import coverage_table, coverage_values, levels_text, ranges_text

BPR, AMBIGUOUS, OBJECTIVE = "coverage/bpr", "coverage/ambiguous", "coverage/objective"
COCO = {
    "coverage.split": "val",
    "data.val.annotations": "annotations/instances_val2017.json",
    "data.limit_val": None,
    "data.short_sides": [800],
    "data.long_side": 1333,
}


def values_of(figures: dict[str, dict[str, float]], states: dict[str, str] | None = None) -> pd.DataFrame:
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
        for arm, of_arm in figures.items()
        for metric, value in of_arm.items()
    )


def paper(*ids: str) -> dict:
    return {found.source: found for found in map(row, ids)}


def verdicts(figures, rows, departures=None, states=None) -> dict[str, str]:
    metrics = list(next(iter(figures.values())))
    frame = coverage_values(values_of(figures, states), metrics, None, rows, departures or {}, {})
    return dict(zip(frame["arm"], frame["verdict"], strict=True))


def test_a_figure_is_reproduced_to_the_printed_digit_or_deviates_by_its_digits() -> None:
    rows = {arm: paper("v2.table1.retinanet_all") for arm in ("same", "off")}
    figures = {"same": {BPR: 0.99324}, "off": {BPR: 0.99326}, "own": {BPR: 0.5}}
    assert verdicts(figures, rows) == {"same": "reproduced", "off": "bpr +0.01", "own": "no row in the papers"}


def test_every_metric_that_a_paper_prints_is_held_against_it() -> None:
    figures = {"a": {AMBIGUOUS: 0.0742, "coverage/claims_3plus": 0.0046, "coverage/evenness": 0.5}}
    assert verdicts(figures, {"a": paper("v2.table2.no_sampling_fpn")}) == {"a": "claims_3plus +0.01"}


def test_two_papers_are_named_each_with_its_verdict() -> None:
    found = verdicts({"a": {BPR: 0.9840}}, {"a": paper("v1.table1.fcos_fpn", "v2.table1.fcos_fpn")})
    assert found == {"a": "v1 Table 1: reproduced; v2 Table 1: bpr −0.55"}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({}, None),
        ({"data.val.annotations": "annotations/instances_val.json"}, "other data"),
        ({"coverage.split": "train"}, "other data"),
        ({"data.limit_val": 100}, "a part of the data"),
        ({"data.short_sides": [240], "data.long_side": 320}, "other input size"),
        ({"data.short_sides": None, "data.long_side": None}, "other input size"),
    ],
)
def test_only_val2017_at_the_papers_size_is_held_against_them(change: dict, words: str | None) -> None:
    departure = coverage_departure({**COCO, **change})
    assert departure == words
    figures = verdicts({"a": {BPR: 0.5}}, {"a": paper("v1.table1.fcos_fpn")}, {"a": departure})
    assert figures == {"a": words or "bpr −48.40"}


def test_an_arm_that_failed_says_so_and_has_no_figure() -> None:
    figures = {"a": {BPR: math.nan}, "b": {BPR: 0.9}}
    frame = coverage_values(
        values_of(figures, {"a": "FAILED"}), [BPR], None, {"b": paper("v1.table1.fcos_fpn")}, {}, {}
    )
    table = coverage_table(frame, [BPR])
    assert cells(table.frame, table.columns) == [
        ["a", "–", "–", "–", "failed"],
        ["b", "90.00", "98.40", "v1 Table 1", "bpr −8.40"],
    ]


def counts(levels: list[int], ends: list[float | None], radius: float | None, objective: float = 0.0) -> dict:
    ranges = [list(pair) for pair in zip([0.0, *ends[:-1]], ends, strict=True)]
    assignment = {"ranges": ranges, "center_sampling_radius": radius}
    return {"levels": levels, "assignment": assignment, "metrics": {OBJECTIVE: objective}}


SETTINGS = {
    "base": counts([3, 4, 5], [64.0, 128.0, None], 1.5, 1.0),
    "low": counts([3, 5], [64.0, None], None, 0.9),
    "high": counts([2, 3], [20.5, None], 1.0, 1.1),
}


def test_advice_is_sorted_by_its_objective_with_differences_to_the_baseline() -> None:
    figures = {arm: {OBJECTIVE: table["metrics"][OBJECTIVE], BPR: 0.99} for arm, table in SETTINGS.items()}
    frame = coverage_values(values_of(figures), [OBJECTIVE, BPR], "base", {}, {}, SETTINGS)
    table = coverage_table(frame, [OBJECTIVE, BPR])
    assert [column.header for column in table.columns] == [
        "arm", "objective", "difference", "bpr", "levels", "radius", "range ends",
    ]  # fmt: skip
    assert cells(table.frame, table.columns) == [
        ["high", "110.00", "+10.00", "99.00", "P2–P3", "1", "0 20.5 ∞"],
        ["base (baseline)", "100.00", "–", "99.00", "P3–P5", "1.5", "0 64 128 ∞"],
        ["low", "90.00", "−10.00", "99.00", "P3 P5", "none", "0 64 ∞"],
    ]


def test_an_arm_without_an_objective_comes_last() -> None:
    figures = {"lost": {OBJECTIVE: math.nan}, "found": {OBJECTIVE: 0.5}}
    frame = coverage_values(values_of(figures, {"lost": "FAILED"}), [OBJECTIVE], None, {}, {}, {})
    assert list(frame["arm"]) == ["found", "lost"]


def test_levels_and_ranges_in_words() -> None:
    assert [levels_text([4]), levels_text([3, 4, 5, 6, 7])] == ["P4", "P3–P7"]
    assert ranges_text([[-1.0, 64.0], [64.0, 1e8]]) == "-1 64 1e+08"


def test_figures_show_the_baseline_first_and_equal_ranges_once() -> None:
    assert ranked(SETTINGS, "base", by_objective=True) == ["base", "high", "low"]
    assert ranked(SETTINGS, None, by_objective=False) == ["base", "low", "high"]
    more = {**SETTINGS, "twin": counts([3, 4, 5], [64.0, 128.0, None], None)}
    assert alike(more, more) == {"base": ["twin"], "low": [], "high": []}
