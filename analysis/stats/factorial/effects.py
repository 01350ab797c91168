"""Effects of factors over seeds: the test of the first metric, the description of the others."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis.stats.comparison import Comparison, ComparisonDesign, describe_sample
from fcos.statistics.aliases import describe_aliases
from fcos.statistics.factorial import Effect, FactorialDesign, measure_effect
from fcos.statistics.holm import make_arm_tests, make_sample
from fcos.statistics.margin import margin_of


@dataclass(frozen=True)
class EffectResult:
    """An effect in one metric.

    comparison: its size in each seed takes the part of a paired difference, its name that of an arm. sizes: seed ->
    size, of the seeds that have all cells. aliases: see fcos.statistics.aliases.describe_aliases.
    """

    effect: Effect
    comparison: Comparison
    sizes: Mapping[int, float]
    aliases: str


def measure_effects(
    values: pd.DataFrame, factorial: FactorialDesign, design: ComparisonDesign
) -> tuple[EffectResult, ...]:
    """Return every effect of a design in every metric.

    The family of the correction are the tested effects in the tested metric. values: columns metric, arm, seed, value;
    see analysis.stats.paired.collect_final_values.
    """
    results: list[EffectResult] = []
    for metric in dict.fromkeys(values["metric"]):
        table = tabulate_cells(values, str(metric), factorial, design.seeds)
        results += _measure_metric(str(metric), table, factorial, design)
    return tuple(results)


def tabulate_cells(values: pd.DataFrame, metric: str, factorial: FactorialDesign, seeds: Sequence[int]) -> pd.DataFrame:
    """Return the values of a metric as a table of seeds and cells; NaN for what is missing or not finite."""
    of_metric = values[values["metric"] == metric]
    table = of_metric.pivot_table(index="seed", columns="arm", values="value", aggfunc="last", dropna=False)
    table = table.reindex(index=list(seeds), columns=list(factorial.arms)).astype(float)
    return table.where(np.isfinite(table))


def _measure_metric(
    metric: str, table: pd.DataFrame, factorial: FactorialDesign, design: ComparisonDesign
) -> list[EffectResult]:
    family = factorial.tested if metric == design.metric else ()
    others = tuple(effect for effect in factorial.effects if effect not in family)
    rows = table.to_numpy().tolist()
    sizes = {effect: measure_effect(factorial, effect, rows) for effect in factorial.effects}
    samples = {effect: make_sample(sizes[effect], design.looks if effect in family else ()) for effect in sizes}
    tests = dict(zip(family, make_arm_tests([samples[effect] for effect in family]), strict=True))
    tests |= {effect: make_arm_tests([samples[effect]])[0] for effect in others}
    margin = margin_of(metric, design.margin)
    return [
        EffectResult(
            effect=effect,
            comparison=describe_sample(
                Comparison(metric, effect.name, tests[effect], effect in family, margin), samples[effect]
            ),
            sizes={seed: size for seed, size in zip(table.index, sizes[effect], strict=True) if size is not None},
            aliases=describe_aliases(factorial, effect),
        )
        for effect in factorial.effects
    ]


def list_incomplete_seeds(table: pd.DataFrame) -> dict[int, tuple[str, ...]]:
    """Return seed -> cells without a value, of the seeds that lack any. table: see tabulate_cells."""
    missing = table.isna()
    incomplete = missing.any(axis="columns")
    return {int(seed): tuple(missing.columns[missing.loc[seed]]) for seed in table.index[incomplete]}
