"""Comparison of each arm with the baseline: the test of the first metric, the description of the others."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.reader.sweep import Sweep
from analysis.stats.pairing import PairingGain, measure_pairing_gain
from fcos.statistics.holm import ArmTest, PairedSample, make_arm_tests, make_sample
from fcos.statistics.margin import margin_of
from fcos.statistics.power import pairs_needed


@dataclass(frozen=True)
class ComparisonDesign:
    """How the arms of a sweep are compared.

    metric: the one that is tested. seeds: in the order in which looks count them. looks: after how many of them
    decisions were taken, empty for one look at all. margin: largest difference of AP that does not matter, a fraction.
    tests_arms: False where the effects of factors are tested, and arms are described alone. own_seeds: arm -> the order
    of the seeds in which the looks at it counted them, where that is another one.
    """

    baseline: str
    metric: str
    seeds: tuple[int, ...]
    looks: tuple[int, ...]
    margin: float
    tests_arms: bool = True
    own_seeds: Mapping[str, tuple[int, ...]] = field(default_factory=dict)


def make_design(sweep: Sweep, baseline: str) -> ComparisonDesign:
    """Return the design of a sweep, whose first metric is tested."""
    experiment = sweep.experiment
    margin = experiment.margin / 100
    return ComparisonDesign(
        baseline, experiment.metrics[0], sweep.seeds, sweep.looks, margin, tests_arms=not experiment.factors
    )


@dataclass(frozen=True)
class Comparison:
    """Paired difference of an arm to the baseline in one metric.

    test: with one look and without correction where is_tested is False; such a metric is described, its interval is
    its own and its p value is not shown. margin: see fcos.statistics.margin. seeds: of the pairs. difference: the mean
    over pairs, smallest to largest their range (NaN without pairs). num_higher: pairs in which the arm is higher.
    pairs_needed: of what is tested and not rejected, see fcos.statistics.power; None where unknown or too many.
    """

    metric: str
    arm: str
    test: ArmTest
    is_tested: bool = True
    margin: float | None = None
    seeds: tuple[int, ...] = ()
    difference: float = math.nan
    smallest: float = math.nan
    largest: float = math.nan
    num_higher: int = 0
    pairs_needed: int | None = None
    pairing: PairingGain | None = None

    @property
    def num_pairs(self) -> int:
        """Number of seeds that both arms have."""
        return self.test.num_pairs


def compare_arms(values: pd.DataFrame, design: ComparisonDesign | None) -> list[Comparison]:
    """Return a comparison for each metric and arm but the baseline, also for arms without pairs; none without design.

    values: columns metric, arm, seed, value; see analysis.stats.paired.collect_final_values.
    """
    if design is None:
        return []
    comparisons = []
    for metric, of_metric in values.groupby("metric", sort=False):
        table = of_metric.pivot_table(index="seed", columns="arm", values="value", aggfunc="last", dropna=False)
        table = table.reindex(index=list(design.seeds))
        arms = [arm for arm in dict.fromkeys(of_metric["arm"]) if arm != design.baseline]
        comparisons += _compare_metric(
            str(metric), table.reindex(columns=[design.baseline, *arms]).astype(float), design
        )
    return comparisons


def get_comparison(comparisons: Sequence[Comparison], metric: str, arm: str) -> Comparison:
    """Return the comparison of an arm in a metric, which must be among them."""
    return next(item for item in comparisons if (item.metric, item.arm) == (metric, arm))


def _compare_metric(metric: str, table: pd.DataFrame, design: ComparisonDesign) -> list[Comparison]:
    """Compare the columns of a table with its first, the baseline; a row for each seed in order."""
    is_tested = metric == design.metric and design.tests_arms
    baseline, arms = table[design.baseline], table.columns[1:]
    orders = [list(design.own_seeds.get(arm, design.seeds)) for arm in arms]
    pairs = [(table[arm] - baseline).reindex(order) for arm, order in zip(arms, orders, strict=True)]
    samples = [make_sample(differences.tolist(), design.looks if is_tested else ()) for differences in pairs]
    tests = make_arm_tests(samples) if is_tested else [make_arm_tests([sample])[0] for sample in samples]
    margin = margin_of(metric, design.margin)
    return [
        replace(
            describe_sample(Comparison(metric, str(arm), test, is_tested, margin), sample),
            seeds=tuple(int(seed) for seed in differences.index[np.isfinite(differences)]),
            pairing=_measure_pairing(table[arm], baseline),
        )
        for arm, test, sample, differences in zip(arms, tests, samples, pairs, strict=True)
    ]


def describe_sample(comparison: Comparison, sample: PairedSample) -> Comparison:
    """Return a comparison with the mean, range and spread of its differences."""
    if not sample.differences:
        return comparison
    differences = np.array(sample.differences)
    return replace(
        comparison,
        difference=float(differences.mean()),
        smallest=float(differences.min()),
        largest=float(differences.max()),
        num_higher=int((differences > 0).sum()),
        pairs_needed=_estimate_pairs_needed(comparison, differences),
    )


def _estimate_pairs_needed(comparison: Comparison, differences: NDArray[np.float64]) -> int | None:
    """Return how many pairs would show this mean at this spread, as if both were those of other seeds too."""
    if not comparison.is_tested or comparison.test.is_rejected or len(differences) < 2:
        return None
    mean, deviation = abs(float(differences.mean())), float(differences.std(ddof=1))
    if not mean or not math.isfinite(mean) or not math.isfinite(deviation):
        return None
    return pairs_needed(mean / deviation if deviation else math.inf, comparison.test.level)


def _measure_pairing(values: pd.Series, baseline: pd.Series) -> PairingGain | None:
    # Without any value the columns hold objects.
    pairs = np.column_stack([values.to_numpy(dtype=float), baseline.to_numpy(dtype=float)])
    paired = pairs[np.isfinite(pairs).all(axis=1)]
    return measure_pairing_gain(paired[:, 0], paired[:, 1])


def collect_comparisons(comparisons: Sequence[Comparison]) -> pd.DataFrame:
    """Return a row for each comparison with its numbers; p values are NaN where a metric is described alone."""
    rows = [
        {
            "metric": item.metric,
            "arm": item.arm,
            "difference": item.difference,
            "low": item.test.low if item.num_pairs else math.nan,
            "high": item.test.high if item.num_pairs else math.nan,
            "level": item.test.level,
            "smallest": item.smallest,
            "largest": item.largest,
            "num_pairs": item.num_pairs,
            "num_higher": item.num_higher,
            "p": item.test.p if item.is_tested and item.num_pairs else math.nan,
            "adjusted_p": item.test.adjusted_p if item.is_tested and item.num_pairs else math.nan,
            "correlation": math.nan if item.pairing is None else item.pairing.correlation,
            "seeds_replaced": math.nan if item.pairing is None else item.pairing.seeds_replaced,
        }
        for item in comparisons
    ]
    columns = [
        "metric", "arm", "difference", "low", "high", "level", "smallest", "largest", "num_pairs", "num_higher", "p",
        "adjusted_p", "correlation", "seeds_replaced",
    ]  # fmt: skip
    frame = pd.DataFrame(rows, columns=columns)
    # Nullable, so that counts stay whole numbers where the frame is joined with the baseline, which has none.
    return frame.astype({"num_pairs": "Int64", "num_higher": "Int64"})
