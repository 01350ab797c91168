"""Tables, and the format of numbers and names in them."""

import math

import pandas as pd
import pytest

from analysis.formatting import (
    format_confidence,
    format_difference,
    format_interval,
    format_mean,
    format_number,
    join_words,
)
from analysis.papers.rows import get_row
from analysis.render.tables import (
    collect_results,
    escape_markdown,
    format_cells,
    make_result_columns,
    to_csv,
    to_latex,
    to_markdown,
)
from analysis.stats.comparison import ComparisonDesign, compare_arms
from analysis.stats.paired import summarise

AP = "val/AP"


@pytest.fixture
def frame() -> pd.DataFrame:
    rows = [("none", 0, 0.45), ("none", 1, 0.43), ("a_b & c", 0, 0.48), ("a_b & c", 1, math.nan)]
    values = pd.DataFrame(
        [{"metric": AP, "arm": arm, "seed": seed, "status": "FAILED", "value": value} for arm, seed, value in rows]
    )
    paper_rows = {
        "none": {"v1 Table 4": get_row("v1.table4.none")},
        "a_b & c": {"v1 Table 4": get_row("v1.table4.branch")},
    }
    comparisons = compare_arms(values, ComparisonDesign("none", AP, (0, 1), (), margin=0.01))
    return collect_results(values, summarise(values), comparisons, "none", paper_rows)


def test_cells_show_states_and_dashes_where_there_is_no_number(frame: pd.DataFrame) -> None:
    assert format_cells(frame, make_result_columns(frame)) == [
        ["none (baseline)", "2", "44.0 ± 1.4", "–", "–", "–", "–", "33.5", "45.0", "43.0"],
        ["a_b & c", "1", "48.0", "+3.0", "–", "1", "1", "37.1 (+3.6)", "48.0", "failed"],
    ]


def test_an_interval_has_its_confidence_and_pairs_too_few_for_one_their_range() -> None:
    rows = [
        {"metric": AP, "arm": arm, "seed": seed, "status": "FINISHED", "value": 0.4 + shift * (seed + 1)}
        for arm, shift, seeds in (("none", 0.0, 8), ("many", 0.01, 8), ("few", 0.01, 2))
        for seed in range(seeds)
    ]
    values = pd.DataFrame(rows)
    comparisons = compare_arms(values, ComparisonDesign("none", AP, tuple(range(8)), (), margin=0.01))
    frame = collect_results(values, summarise(values), comparisons, "none", {})
    columns = [column for column in make_result_columns(frame) if column.header in ("arm", "interval", "pairs", "p")]
    assert format_cells(frame, columns)[1:] == [
        ["many", "97.5 %: +1.5 to +7.5", "8", "0.02"],
        ["few", "pairs: +1.0 to +2.0", "2", "1"],
    ]


def test_markdown_has_one_line_for_each_row(frame: pd.DataFrame) -> None:
    lines = to_markdown(frame, make_result_columns(frame)).splitlines()
    assert len(lines) == 4
    assert {line.count("|") for line in lines} == {11}
    assert lines[3].startswith("| a_b &amp; c | 1 | 48.0 |")
    assert lines[3].endswith("| 48.0 | failed |")


def test_latex_is_escaped(frame: pd.DataFrame) -> None:
    table = to_latex(frame, make_result_columns(frame))
    assert r"a\_b \& c & 1 & 48.0 &" in table
    assert r"44.0 $\pm$ 1.4" in table


def test_csv_keeps_numbers_whole(frame: pd.DataFrame) -> None:
    lines = to_csv(frame).splitlines()
    assert lines[0].startswith("metric,arm,n,mean,deviation,missing,difference")
    assert lines[2].startswith("val/AP,a_b & c,1,0.48,,1,")


@pytest.mark.parametrize(
    ("value", "metric", "text"),
    [
        (0.371, AP, "37.1"),
        (0.335, AP, "33.5"),
        (-0.005, AP, "−0.5"),
        (1.23456, "train/loss", "1.23"),
        (math.nan, AP, "–"),
        (None, AP, "–"),
        (math.inf, "train/loss", "∞"),
    ],
)
def test_a_number_is_printed_as_in_the_papers(value: float | None, metric: str, text: str) -> None:
    assert format_number(value, metric) == text


@pytest.mark.parametrize(
    ("value", "text"), [(0.036, "+3.6"), (-0.036, "−3.6"), (0.0, "0.0"), (-0.0001, "0.0"), (math.nan, "–")]
)
def test_a_difference_has_a_sign_unless_it_rounds_to_nothing(value: float, text: str) -> None:
    assert format_difference(value, AP) == text


def test_spread_and_interval_are_left_out_where_they_do_not_exist() -> None:
    assert format_mean(0.4, math.nan, AP) == "40.0"
    assert format_interval(math.nan, math.nan, AP) == "–"
    assert format_interval(-math.inf, math.inf, AP) == "–"
    assert format_interval(-0.012, 0.05, AP) == "−1.2 to +5.0"
    assert format_interval(-0.012, math.inf, AP) == "−1.2 to ∞"
    assert [format_confidence(0.05 / arms) for arms in (1, 2, 3, 5, 9)] == [
        "95 %",
        "97.5 %",
        "98.3 %",
        "99 %",
        "99.4 %",
    ]


def test_markdown_cannot_be_broken_by_a_name() -> None:
    assert escape_markdown("a|b\n<c> `d` [e] from_regression") == r"a\|b &lt;c&gt; \`d\` \[e\] from_regression"


def test_words_are_joined_as_in_a_sentence() -> None:
    assert [join_words(range(count)) for count in range(4)] == ["", "0", "0 and 1", "0, 1 and 2"]
