"""Effects of factors over seeds: planted ones are found, planted nulls are not, incomplete seeds are left out."""

import math

import pandas as pd
import pytest

from analysis.stats.factorial.effects import list_incomplete_seeds, measure_effects, tabulate_cells
from analysis.stats.verdicts import classify
from fcos.statistics.factorial import Factor, FactorialDesign
from fcos.statistics.holm import make_arm_tests, make_sample
from tests.helpers.experiments.factorial_values import AP, draw_values, make_comparison_design, make_factorial


def outcomes(values: pd.DataFrame, design: FactorialDesign, seeds: int) -> dict[str, str]:
    results = measure_effects(values, design, make_comparison_design(design, seeds))
    return {result.effect.name: classify(result.comparison) for result in results if result.comparison.metric == AP}


def test_a_planted_interaction_is_found_and_planted_nulls_are_not() -> None:
    design = make_factorial(names="abc")
    values = draw_values(design, {"a": 0.03, "a*b": -0.05}, seeds=12)
    found = outcomes(values, design, 12)
    assert (found["a"], found["a*b"]) == ("higher", "lower")
    assert not {found[name] for name in ("b", "c", "a*c", "b*c")} & {"higher", "lower"}


def test_nothing_is_found_where_nothing_is_planted() -> None:
    design = make_factorial(names="ab")
    assert not set(outcomes(draw_values(design, {}, seeds=10), design, 10).values()) & {"higher", "lower"}


def test_what_a_fraction_adds_is_seen_in_the_alias() -> None:
    design = make_factorial(["d=a*b*c"])
    found = outcomes(draw_values(design, {"c*d": 0.06}, seeds=12), design, 12)
    assert found["a*b"] == "higher"
    assert "c*d" not in found


def test_a_seed_cancels_out_and_sizes_are_those_of_the_design() -> None:
    design = make_factorial(names="ab")
    values = draw_values(design, {"a": 0.02, "a*b": 0.04}, seeds=3, noise=0.0)
    values["value"] += values["seed"] * 0.1
    results = {
        result.effect.name: result for result in measure_effects(values, design, make_comparison_design(design, 3))
    }
    assert results["a"].sizes == pytest.approx({0: 0.02, 1: 0.02, 2: 0.02})
    assert results["b"].comparison.difference == pytest.approx(0, abs=1e-12)
    assert results["a*b"].comparison.difference == pytest.approx(0.04)
    assert results["a*b"].comparison.num_higher == 3


def test_one_test_decides_with_a_correction_for_all_effects_and_the_looks() -> None:
    design = make_factorial(names="ab")
    values = draw_values(design, {"a": 0.03}, seeds=9)
    looks = [5, 7]
    results = measure_effects(values, design, make_comparison_design(design, 9, looks))
    samples = [make_sample([result.sizes[seed] for seed in range(9)], looks) for result in results]
    assert [result.comparison.test for result in results] == make_arm_tests(samples)
    assert results[0].comparison.test.level == 0.05 / 3


def test_claimed_effects_alone_are_tested_and_the_others_described() -> None:
    design = make_factorial(claimed=["a*b"], names="ab")
    results = measure_effects(draw_values(design, {}, 8), design, make_comparison_design(design, 8))
    assert [(result.effect.name, result.comparison.is_tested) for result in results] == [
        ("a", False),
        ("b", False),
        ("a*b", True),
    ]
    assert results[2].comparison.test.level == 0.05


def test_effects_on_metrics_after_the_first_are_described_and_not_tested() -> None:
    design = make_factorial(names="ab")
    values = pd.concat([draw_values(design, {}, 8), draw_values(design, {"a": 0.1}, 8, metric="val/AP50")])
    results = measure_effects(values, design, make_comparison_design(design, 8))
    assert [result.comparison.is_tested for result in results] == [True] * 3 + [False] * 3


def test_a_seed_without_a_value_of_a_cell_is_left_out_of_every_effect() -> None:
    design = make_factorial(names="ab")
    values = draw_values(design, {"a": 0.02}, seeds=8)
    lacking = (values["seed"] == 3) & (values["arm"] == "a0+b1")
    values.loc[lacking, "value"] = math.nan
    values.loc[(values["seed"] == 5) & (values["arm"] == "a1+b1"), "value"] = math.inf
    values = values[(values["seed"] != 6) | (values["arm"] != "a0+b0")]
    results = measure_effects(values, design, make_comparison_design(design, 8))
    assert all(sorted(result.sizes) == [0, 1, 2, 4, 7] for result in results)
    table = tabulate_cells(values, AP, design, range(8))
    assert list_incomplete_seeds(table) == {3: ("a0+b1",), 5: ("a1+b1",), 6: ("a0+b0",)}


def test_of_three_levels_each_is_held_against_the_first() -> None:
    design = FactorialDesign((Factor("a", ("a0", "a1", "a2")), Factor("b", ("b0", "b1"))))
    sizes = {"a0": 0.0, "a1": 0.02, "a2": 0.05}
    rows = [
        {"metric": AP, "arm": arm, "seed": seed, "value": sizes[a] + (0.03 if (a, b) == ("a2", "b1") else 0.0)}
        for arm, (a, b) in zip(design.arms, design.cells, strict=True)
        for seed in range(2)
    ]
    results = measure_effects(pd.DataFrame(rows), design, make_comparison_design(design, 2))
    assert {result.effect.name: round(result.comparison.difference, 10) for result in results} == {
        "a:a1": 0.02,
        "a:a2": 0.065,
        "b": 0.01,
        "a:a1*b": 0.0,
        "a:a2*b": 0.03,
    }
