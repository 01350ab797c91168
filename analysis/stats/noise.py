"""Noise of one training by source of chance: variances over seeds, their sum, and what they let a sweep see."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from analysis.reader.sweep import Experiment
from fcos.statistics.power import resolution, unpaired_deviation
from fcos.storage.noise_floor import MetricNoise, Spread

CONFIDENCE = 0.95
# Sources of chance: the keys of the config section `seeds`.
SOURCES = ("weights", "order", "augmentation")
SEEDS_PREFIX = "seeds."
NOISE_COLUMNS = ["metric", "arm", "sources", "n", "mean", "deviation", "low", "high", "share", "missing"]
# Numbers of seeds that a report gives the resolution of.
SEED_COUNTS = (3, 6, 8, 12)
RESOLUTION_COLUMNS = ["seeds", "t", "counts_from", "shows", "shows_low", "shows_high"]


@dataclass(frozen=True)
class ValidationNoise:
    """Variance of a metric that other validation images of the same kind would add, in squared units of the metric.

    images: of the validation set. resamples: bootstrap samples of the images that it was estimated from.
    """

    variance: float
    images: int
    resamples: int


@dataclass(frozen=True)
class SourceSum:
    """Sum of the variances of single sources, and its share of the variance where all of them vary."""

    sources: tuple[str, ...]
    spread: Spread
    share: float


def find_sources(experiment: Experiment) -> dict[str, tuple[str, ...]]:
    """Return for each arm the sources of chance that vary with its seed: those whose own seed is not given."""
    return {
        arm: tuple(source for source in SOURCES if changes.get(SEEDS_PREFIX + source) is None)
        for arm, changes in experiment.arms.items()
    }


def compute_spread(values: Sequence[float]) -> Spread | None:
    """Return the sample standard deviation with its 95 % chi-square interval; None below two values.

    The interval takes the values as normally distributed.
    """
    if len(values) < 2:
        return None
    variance = float(np.var(np.asarray(values, dtype=float), ddof=1))
    # Equal up to the rounding of the mean.
    variance = 0.0 if math.isclose(min(values), max(values), rel_tol=0, abs_tol=1e-12) else variance
    return _make_spread(variance, len(values) - 1, len(values))


def _make_spread(variance: float, freedom: float, seeds: int) -> Spread:
    """Return the deviation with its interval. freedom: degrees of freedom of the variance."""
    tail = (1 - CONFIDENCE) / 2
    low, high = (variance * freedom / float(stats.chi2.ppf(quantile, freedom)) for quantile in (1 - tail, tail))
    return Spread(seeds=seeds, deviation=math.sqrt(variance), low=math.sqrt(low), high=math.sqrt(high))


def summarise_noise(values: pd.DataFrame, experiment: Experiment, baseline: str) -> pd.DataFrame:
    """Return a row for each (metric, arm); see NOISE_COLUMNS.

    deviation, low, high: see compute_spread; NaN below two seeds. share: of the baseline's variance. sources: see
    find_sources. values: see analysis.stats.paired.collect_final_values.
    """
    sources = find_sources(experiment)
    rows = []
    for (metric, arm), group in values.groupby(["metric", "arm"], sort=False):
        numbers = group["value"].dropna().to_numpy(dtype=float)
        spread = compute_spread(numbers.tolist())
        deviations = (math.nan,) * 3 if spread is None else (spread.deviation, spread.low, spread.high)
        mean = float(numbers.mean()) if len(numbers) else math.nan
        missing = tuple(group.loc[group["value"].isna(), "seed"])
        rows.append((metric, arm, sources.get(str(arm), ()), len(numbers), mean, *deviations, math.nan, missing))
    frame = pd.DataFrame(rows, columns=NOISE_COLUMNS)
    whole = frame[frame["arm"] == baseline].set_index("metric")["deviation"] ** 2
    of_all = frame["metric"].map(whole)
    frame["share"] = (frame["deviation"] ** 2 / of_all).where(of_all > 0)
    return frame


def sum_sources(frame: pd.DataFrame, metric: str, baseline: str) -> SourceSum | None:
    """Return the summed variances of the arms in which one source varies; None unless each source has one.

    Its interval is the chi-square one with Satterthwaite's degrees of freedom (1946). frame: see summarise_noise.
    """
    rows = frame[(frame["metric"] == metric) & frame["deviation"].notna()]
    single = {row["sources"][0]: row for row in rows.to_dict("records") if len(row["sources"]) == 1}
    whole = rows.loc[rows["arm"] == baseline, "deviation"]
    if set(single) != set(SOURCES) or whole.empty:
        return None
    variances = np.array([single[source]["deviation"] ** 2 for source in SOURCES])
    freedoms = np.array([single[source]["n"] - 1 for source in SOURCES])
    total = float(variances.sum())
    freedom = total**2 / float((variances**2 / freedoms).sum()) if total else float(freedoms.sum())
    of_all = float(whole.iloc[0]) ** 2
    spread = _make_spread(total, freedom, int(min(freedoms)) + 1)
    return SourceSum(SOURCES, spread, total / of_all if of_all else math.nan)


def share_factor(seeds: int) -> float:
    """Return the factor within which so many seeds know the ratio of two variances: their F-interval's (95 %)."""
    return float(stats.f.ppf((1 + CONFIDENCE) / 2, seeds - 1, seeds - 1))


def validation_share(deviation: float, validation: ValidationNoise) -> float:
    """Return the share that the validation sample has of the variance over seeds and images together."""
    total = deviation**2 + validation.variance
    return validation.variance / total if total else math.nan


def compute_resolutions(spread: Spread, counts: Sequence[int] = SEED_COUNTS) -> pd.DataFrame:
    """Return what the difference of two means over n paired seeds resolves; see RESOLUTION_COLUMNS.

    In the metric's unit, as if pairing bought nothing. t: half-width of the 95 % t-interval at this deviation.
    counts_from, shows: of the exact sign-flip test, see fcos.statistics.power.Resolution. shows_low, shows_high: at the
    ends of the deviation's own interval.
    """
    rows = []
    for count in counts:
        t = float(stats.t.ppf((1 + CONFIDENCE) / 2, count - 1)) / math.sqrt(count)
        resolved = resolution(count)
        one, low, high = (unpaired_deviation(value) for value in (spread.deviation, spread.low, spread.high))
        scaled = [_scale(resolved.counts_from, one), *(_scale(resolved.shows, each) for each in (one, low, high))]
        rows.append((count, t * one, *scaled))
    return pd.DataFrame(rows, columns=RESOLUTION_COLUMNS)


def _scale(factor: float, deviation: float) -> float:
    # Infinite with no noise too: too few pairs show nothing.
    return factor if math.isinf(factor) else factor * deviation


def collect_metric_noise(frame: pd.DataFrame, baseline: str) -> Mapping[str, MetricNoise]:
    """Return the noise of each metric that at least two seeds of the baseline have, as noise.json holds it.

    frame: see summarise_noise.
    """
    known = frame[frame["deviation"].notna()]
    noise = {}
    for row in known[known["arm"] == baseline].to_dict("records"):
        of_metric = known[known["metric"] == row["metric"]].to_dict("records")
        single = {arm["sources"][0]: to_spread(arm) for arm in of_metric if len(arm["sources"]) == 1}
        noise[str(row["metric"])] = MetricNoise(**to_spread(row).model_dump(), mean=row["mean"], sources=single)
    return noise


def to_spread(row: Mapping[str, float]) -> Spread:
    """Return the spread of a row of summarise_noise that has one."""
    return Spread(seeds=int(row["n"]), deviation=row["deviation"], low=row["low"], high=row["high"])
