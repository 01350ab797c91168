"""Verdicts on effects in words."""

from dataclasses import replace

import pandas as pd

from analysis.stats.factorial.effects import EffectResult, measure_effects
from analysis.stats.factorial.verdicts import make_effect_verdict
from fcos.statistics.factorial import FactorialDesign
from tests.helpers.experiments.factorial_values import draw_values, make_comparison_design, make_factorial


def results_of(design: FactorialDesign, values: pd.DataFrame, seeds: int) -> dict[str, EffectResult]:
    return {
        result.effect.name: result for result in measure_effects(values, design, make_comparison_design(design, seeds))
    }


def text_of(result: EffectResult, design: FactorialDesign) -> str:
    return make_effect_verdict(result, design).text


def test_a_direction_names_the_levels() -> None:
    design = make_factorial(names="ab")
    results = results_of(design, draw_values(design, {"a": 0.03, "a*b": -0.05}, seeds=12), 12)
    assert text_of(results["a"], design).startswith("higher with a1 than with a0: +3.")
    assert text_of(results["a"], design).endswith(" over 12 seeds")
    assert text_of(results["a*b"], design).startswith("a1 minus a0 is lower with b1 than with b0: −")
    assert make_effect_verdict(results["a*b"], design).outcome == "lower"


def test_what_is_not_shown_or_within_the_margin_is_described_of_an_effect_or_an_interaction() -> None:
    design = make_factorial(names="ab")
    results = results_of(design, draw_values(design, {}, seeds=8, noise=0.02), 8)
    assert text_of(results["a"], design).startswith("no effect shown: ")
    assert "seeds would" in text_of(results["a"], design)
    results = results_of(design, draw_values(design, {}, seeds=12, noise=0.001), 12)
    assert text_of(results["a*b"], design).startswith("no interaction above 1.0 AP: ")


def test_too_few_seeds_have_their_range_and_the_least_number() -> None:
    design = make_factorial(names="ab")
    results = results_of(design, draw_values(design, {"a": 0.05}, seeds=3), 3)
    text = text_of(results["a"], design)
    assert text.startswith("too few seeds to tell: +")
    assert " in 3 seeds, higher in each; 3 seeds cannot decide, at least 8 are needed" in text
    nothing = draw_values(design, {}, seeds=1).assign(value=float("nan"))
    assert text_of(results_of(design, nothing, 1)["a"], design).endswith("no seed has finished in all cells")


def test_an_effect_of_exactly_zero_is_described_as_such() -> None:
    design = make_factorial(names="ab")
    values = draw_values(design, {"b": 0.02}, seeds=8, noise=0.0)
    assert text_of(results_of(design, values, 8)["a"], design) == "no effect at all: exactly zero in all 8 seeds"
    few = text_of(results_of(design, values[values["seed"] < 4], 4)["a"], design)
    assert few.startswith("too few seeds to tell: 0.0 AP, exactly zero in all 4 seeds; ")


def test_aliases_follow_the_verdict() -> None:
    design = make_factorial(["c=a*b"], names="abc")
    results = results_of(design, draw_values(design, {}, seeds=3), 3)
    assert text_of(results["a"], design).endswith("; aliased with -0.5 b*c")
    assert not text_of(replace(results["a"], aliases=""), design).endswith("b*c")
