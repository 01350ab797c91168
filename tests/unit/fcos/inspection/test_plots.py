"""Plots of an inspection: drawn for any boxes, and the same bytes for the same input."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fcos.inspection.counts import DataCounts
from fcos.inspection.plots import DARK, LIGHT, plot_boxes_an_image, plot_sizes
from tests.helpers.data.inspections import inspected


def with_sides(counts: DataCounts, *sides: float) -> DataCounts:
    train = replace(counts.splits["train"], half_sides=np.array(sides, dtype=np.float64))
    return replace(counts, splits={"train": train})


@pytest.mark.parametrize("sides", [(), (0.0,), (0.01, 0.02), (7.0,), (1e-3, 5000.0)])
def test_boxes_of_any_size_and_none_are_drawn(root: Path, sides: tuple[float, ...]) -> None:
    assert plot_sizes(with_sides(inspected(root).counts, *sides), LIGHT).startswith(b"<?xml")


def test_the_same_counts_give_the_same_bytes_and_themes_differ(root: Path) -> None:
    counts = inspected(root).counts
    assert plot_sizes(counts, LIGHT) == plot_sizes(counts, LIGHT) != plot_sizes(counts, DARK)
    assert plot_boxes_an_image(counts, LIGHT) == plot_boxes_an_image(counts, LIGHT)
