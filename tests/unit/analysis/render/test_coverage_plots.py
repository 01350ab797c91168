"""coverage_plots.py: the same input gives the same bytes, and what is named stands in the figure."""

import pytest

from analysis.render.coverage_plots import box_sizes, positives_per_level
from analysis.render.plots import DARK, LIGHT

ENDS = [2.0**power for power in range(12)]


def counts(levels: list[int], ranges: list[list[float | None]], boxes: list[int]) -> dict:
    metrics = {f"coverage/positives_P{level}": 1 / len(levels) for level in levels}
    return {
        "levels": levels,
        "assignment": {"ranges": ranges},
        "longest_side": {"ends": ENDS, "boxes": boxes},
        "metrics": metrics,
    }


BOXES = [0, 0, 0, 0, 3, 9, 4, 1, 0, 0, 0]
SHOWN = {
    "fpn (and 2 others)": counts([3, 4], [[0, 64], [64, None]], BOXES),
    "p4": counts([4], [[0, None]], BOXES),
}


@pytest.mark.parametrize("draw", [box_sizes, positives_per_level])
def test_a_figure_is_deterministic_follows_its_theme_and_names_its_arms(draw) -> None:
    first = draw(SHOWN, LIGHT)
    assert first == draw(SHOWN, LIGHT)
    assert first != draw(SHOWN, DARK)
    # matplotlib draws text as paths and leaves the words in comments.
    for label in ("fpn (and 2 others)", "p4", "P3", "P4"):
        assert f"<!-- {label} -->".encode() in first


def test_a_piece_of_a_range_without_room_has_no_name() -> None:
    narrow = {"a": counts([3, 4, 5], [[0, 64], [64, 65], [65, None]], BOXES)}
    drawn = box_sizes(narrow, LIGHT)
    assert b"<!-- P3 -->" in drawn
    assert b"<!-- P4 -->" not in drawn


def test_no_boxes_within_the_histogram_is_no_error() -> None:
    assert box_sizes({"a": counts([3], [[0, None]], [0] * 11)}, LIGHT).startswith(b"<?xml")
