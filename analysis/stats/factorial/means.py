"""Means of two factors' levels over seeds, with the spread that the test of effects sees."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import stdtrit

from fcos.statistics.factorial import FactorialDesign

LEVEL = 0.05


@dataclass(frozen=True)
class LevelMean:
    """Mean over the cells with two levels and over seeds.

    half_width: of its 95 % t interval over seeds, each seed's own mean over all cells taken out; NaN below two seeds.
    """

    x_level: str
    line_level: str
    mean: float
    half_width: float


@dataclass(frozen=True)
class InteractionMeans:
    """The means of two factors: the levels of one along the x axis, a line for each level of the other."""

    x_factor: str
    line_factor: str
    means: tuple[LevelMean, ...]


def compute_interaction_means(
    table: pd.DataFrame, design: FactorialDesign, factors: tuple[str, str]
) -> InteractionMeans:
    """Return the means of two factors over the seeds that have all cells; without any they are NaN.

    The factor of more levels is along x. Spread within seeds is corrected by J / (J - 1) for the J means that each
    seed's own mean is of (Morey, Tutorials in Quantitative Methods for Psychology 2008). table: see
    analysis.stats.factorial.effects.tabulate_cells.
    """
    by_name = {factor.name: factor for factor in design.factors}
    x_factor, line_factor = sorted((by_name[name] for name in factors), key=lambda factor: -len(factor.levels))
    values = table.dropna().to_numpy()
    within = values - values.mean(axis=1, keepdims=True)
    count = len(x_factor.levels) * len(line_factor.levels)
    means = []
    for line_level in line_factor.levels:
        for x_level in x_factor.levels:
            inside = list(_find_cells(design, {x_factor.name: x_level, line_factor.name: line_level}))
            mean = float(values[:, inside].mean()) if len(values) else math.nan
            half_width = _measure_half_width(within[:, inside].mean(axis=1), count)
            means.append(LevelMean(x_level, line_level, mean, half_width))
    return InteractionMeans(x_factor.name, line_factor.name, tuple(means))


def _find_cells(design: FactorialDesign, levels: dict[str, str]) -> Iterator[int]:
    for index, cell in enumerate(design.cells):
        if levels.items() <= dict(zip(design.names, cell, strict=True)).items():
            yield index


def _measure_half_width(within: NDArray[np.float64], count: int) -> float:
    seeds = len(within)
    if seeds < 2:
        return math.nan
    deviation = float(within.std(ddof=1)) * math.sqrt(count / (count - 1))
    return float(stdtrit(seeds - 1, 1 - LEVEL / 2)) * deviation / math.sqrt(seeds)
