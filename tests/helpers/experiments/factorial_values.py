"""Values of factorial experiments with planted effects."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from analysis.stats.comparison import ComparisonDesign
from fcos.statistics.factorial import Factor, FactorialDesign

AP = "val/AP"


def make_factorial(generators: Sequence[str] = (), claimed: Sequence[str] = (), names: str = "abcd") -> FactorialDesign:
    """Return a design of factors with two levels: a0, a1, ..."""
    factors = tuple(Factor(name, (f"{name}0", f"{name}1")) for name in names)
    return FactorialDesign(factors, tuple(generators), tuple(claimed))


def draw_values(
    design: FactorialDesign, effects: Mapping[str, float], seeds: int, noise: float = 0.01, metric: str = AP
) -> pd.DataFrame:
    """Return metric, arm, seed, value of cells with planted effects, by their factors (a, a*b).

    The seed itself adds five times the noise to all of its cells.
    """
    generator = np.random.default_rng(7)
    of_seed = generator.normal(scale=5 * noise, size=seeds)
    rows = []
    for arm, cell in zip(design.arms, design.cells, strict=True):
        signs = {name: 0.5 if level.endswith("1") else -0.5 for name, level in zip(design.names, cell, strict=True)}
        planted = sum(size * np.prod([signs[name] for name in word.split("*")]) for word, size in effects.items())
        for seed in range(seeds):
            value = 0.4 + planted + of_seed[seed] + generator.normal(scale=noise)
            rows.append({"metric": metric, "arm": arm, "seed": seed, "value": value})
    return pd.DataFrame(rows)


def make_comparison_design(factorial: FactorialDesign, seeds: int, looks: Sequence[int] = ()) -> ComparisonDesign:
    """Return how the effects on AP are tested over seeds 0, 1, ..."""
    return ComparisonDesign(factorial.arms[0], AP, tuple(range(seeds)), tuple(looks), margin=0.01, tests_arms=False)
