"""Means of two factors' levels with the spread that pairing leaves."""

import math

import pytest

from analysis.stats.factorial.effects import tabulate_cells
from analysis.stats.factorial.means import compute_interaction_means
from fcos.statistics.factorial import Factor, FactorialDesign
from tests.helpers.experiments.factorial_values import AP, draw_values, make_factorial


def test_means_are_over_seeds_and_other_factors() -> None:
    design = make_factorial(names="abc")
    values = draw_values(design, {"a": 0.02, "a*b": 0.04, "c": 0.5}, seeds=5, noise=0.0)
    means = compute_interaction_means(tabulate_cells(values, AP, design, range(5)), design, ("a", "b"))
    assert (means.x_factor, means.line_factor) == ("a", "b")
    assert {(mean.x_level, mean.line_level): mean.mean for mean in means.means} == pytest.approx(
        {("a0", "b0"): 0.4, ("a1", "b0"): 0.4, ("a0", "b1"): 0.38, ("a1", "b1"): 0.42}
    )


def test_what_a_seed_adds_to_all_cells_is_no_spread() -> None:
    design = make_factorial(names="ab")
    values = draw_values(design, {}, seeds=6)
    shifted = values.assign(value=values["value"] + values["seed"] ** 2)
    tables = [tabulate_cells(each, AP, design, range(6)) for each in (values, shifted)]
    plain, moved = (compute_interaction_means(table, design, ("a", "b")) for table in tables)
    assert [mean.half_width for mean in moved.means] == pytest.approx([mean.half_width for mean in plain.means])
    assert all(0 < mean.half_width < 0.03 for mean in plain.means)


def test_the_factor_of_more_levels_is_along_x_and_one_seed_has_no_interval() -> None:
    design = FactorialDesign((Factor("a", ("a0", "a1")), Factor("b", ("b0", "b1", "b2"))))
    values = draw_values(design, {}, seeds=1)
    means = compute_interaction_means(tabulate_cells(values, AP, design, range(1)), design, ("a", "b"))
    assert (means.x_factor, len(means.means)) == ("b", 6)
    assert all(math.isnan(mean.half_width) for mean in means.means)
