"""Verdicts on effects of factors."""

from analysis.formatting import (
    format_confidence,
    format_difference,
    format_interval,
    format_number,
    shorten_metric,
)
from analysis.stats.factorial.effects import EffectResult
from analysis.stats.verdicts import Verdict, classify, describe_pairs_needed, describe_range
from fcos.statistics.factorial import Effect, FactorialDesign


def make_effect_verdict(result: EffectResult, design: FactorialDesign) -> Verdict:
    """Return the verdict on an effect, with what it is aliased with."""
    text = describe_effect_outcome(result, design)
    if result.aliases:
        text += f"; aliased with {result.aliases}"
    comparison = result.comparison
    return Verdict(comparison.arm, comparison.metric, classify(comparison), text, ())


def describe_effect_outcome(result: EffectResult, design: FactorialDesign) -> str:
    """Return the outcome in words: `higher with gn than with none: +3.1 AP, 95 % interval ... over 8 seeds`."""
    comparison = result.comparison
    outcome, metric, seeds = classify(comparison), comparison.metric, comparison.num_pairs
    if seeds == 0:
        return "too few seeds to tell: no seed has finished in all cells"
    size = f"{format_difference(comparison.difference, metric)} {shorten_metric(metric)}"
    interval = format_interval(comparison.test.low, comparison.test.high, metric)
    statistics = f"{size}, {format_confidence(comparison.test.level)} interval {interval} over {seeds} seeds"
    what = "interaction" if result.effect.is_interaction else "effect"
    match outcome:
        case "higher" | "lower":
            return f"{describe_direction(result.effect, design, outcome)}: {statistics}"
        case "equal":
            return f"no {what} above {format_number(comparison.margin, metric)} {shorten_metric(metric)}: {statistics}"
        case "identical":
            return f"no {what} at all: exactly zero in all {seeds} seeds"
        case "not shown":
            return f"no {what} shown: {statistics}; {describe_pairs_needed(comparison, 'seed')}"
        case _:
            needed = describe_pairs_needed(comparison, "seed")
            return f"too few seeds to tell: {size}{describe_range(comparison, 'seed')}; {needed}"


def describe_direction(effect: Effect, design: FactorialDesign, direction: str) -> str:
    """Describe what a direction of an effect means: "higher with gn than with none".

    Of an interaction: "gn minus none is higher with giou than with iou".
    """
    first = {factor.name: factor.levels[0] for factor in design.factors}
    (factor, level), *others = effect.levels
    if not others:
        return f"{direction} with {level} than with {first[factor]}"
    [(other, other_level)] = others
    return f"{level} minus {first[factor]} is {direction} with {other_level} than with {first[other]}"
