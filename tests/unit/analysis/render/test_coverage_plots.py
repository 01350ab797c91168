"""Figures of coverage: the same input gives the same bytes, and labels are in the figure."""

from collections.abc import Callable, Mapping

import pytest

from analysis.reader.coverage import (
    AssignmentSettings,
    BoxHistogram,
    CoverageCounts,
    CoverageSettings,
    LevelRange,
)
from analysis.render.coverage_plots import plot_box_sizes, plot_positives_per_level
from analysis.render.plots import DARK, LIGHT, Theme

EDGES = [2.0**power for power in range(12)]


def make_counts(levels: list[int], ranges: list[LevelRange], boxes: list[int]) -> CoverageCounts:
    return CoverageCounts(
        levels=levels,
        assignment=AssignmentSettings(ranges=ranges, center_sampling_radius=None),
        coverage=CoverageSettings(assignment="fcos", ambiguity_weight=1.0, evenness_weight=1.0),
        metrics={f"coverage/positives_P{level}": 1 / len(levels) for level in levels},
        longest_side=BoxHistogram(ends=EDGES, boxes=boxes),
        config_block="",
    )


BOXES = [0, 0, 0, 0, 3, 9, 4, 1, 0, 0, 0]
COUNTS = {
    "fpn (and 2 others)": make_counts([3, 4], [(0, 64), (64, None)], BOXES),
    "p4": make_counts([4], [(0, None)], BOXES),
}


@pytest.mark.parametrize("plot", [plot_box_sizes, plot_positives_per_level])
def test_a_figure_is_deterministic_follows_its_theme_and_names_its_arms(
    plot: Callable[[Mapping[str, CoverageCounts], Theme], bytes],
) -> None:
    first = plot(COUNTS, LIGHT)
    assert first == plot(COUNTS, LIGHT)
    assert first != plot(COUNTS, DARK)
    # matplotlib draws text as paths and leaves the words in comments.
    for label in ("fpn (and 2 others)", "p4", "P3", "P4"):
        assert f"<!-- {label} -->".encode() in first


def test_a_piece_of_a_range_without_room_has_no_name() -> None:
    narrow = {"a": make_counts([3, 4, 5], [(0, 64), (64, 65), (65, None)], BOXES)}
    figure = plot_box_sizes(narrow, LIGHT)
    assert b"<!-- P3 -->" in figure
    assert b"<!-- P4 -->" not in figure


def test_no_boxes_within_the_histogram_is_no_error() -> None:
    assert plot_box_sizes({"a": make_counts([3], [(0, None)], [0] * 11)}, LIGHT).startswith(b"<?xml")
