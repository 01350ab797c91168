"""Noise of one training by source of chance: variances over seeds, their sum, and what they let a sweep see."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from scipy.special import fdtri, gammaincinv, stdtrit

from analysis.reader.sweep import Experiment
from fcos.statistics.holm import FAMILY_LEVEL
from fcos.statistics.power import resolution, unpaired_deviation
from fcos.storage.noise_floor import MetricNoise, Spread

CONFIDENCE = 1 - FAMILY_LEVEL
# Sources of chance: the keys of the config section `seeds`.
SOURCES = ("weights", "order", "augmentation")
SEEDS_PREFIX = "seeds."
# Numbers of seeds that a report gives the resolution of.
SEED_COUNTS = (3, 6, 8, 12)


@dataclass(frozen=True)
class ArmNoise:
    """Noise of a metric in one arm over its seeds.

    sources: of chance that vary with the seed. n: seeds with a finite value. mean: NaN without any. spread: None below
    two. share: of the baseline's variance, NaN where that is zero or unknown. missing: seeds without a finite value.
    """

    metric: str
    arm: str
    sources: tuple[str, ...]
    n: int
    mean: float
    spread: Spread | None
    share: float
    missing: tuple[int, ...]


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


@dataclass(frozen=True)
class ResolvedDifference:
    """What the difference of two means over some paired seeds resolves, in the metric's unit; infinite for nothing.

    t: half-width of the 95 % t-interval. counts_from, shows: of the exact sign-flip test, see
    fcos.statistics.power.Resolution. shows_low, shows_high: at the ends of the deviation's own interval.
    """

    seeds: int
    t: float
    counts_from: float
    shows: float
    shows_low: float
    shows_high: float


def find_sources(experiment: Experiment) -> dict[str, tuple[str, ...]]:
    """Return for each arm the sources of chance that vary with its seed: those whose own seed is not given."""
    return {
        arm: tuple(source for source in SOURCES if changes.get(SEEDS_PREFIX + source) is None)
        for arm, changes in experiment.arms.items()
    }


def compute_spread(values: Sequence[float]) -> Spread | None:
    """Return the sample standard deviation with its 95 % chi-square interval; None below two values.

    The interval takes the values as normally distributed. None too where the variance is too large for a number.
    """
    if len(values) < 2:
        return None
    with np.errstate(over="ignore"):
        variance = float(np.var(np.asarray(values, dtype=float), ddof=1))
    if not math.isfinite(variance):
        return None
    # Equal up to the rounding of the mean.
    variance = 0.0 if math.isclose(min(values), max(values), rel_tol=0, abs_tol=1e-12) else variance
    return _make_spread(variance, len(values) - 1, len(values))


def _make_spread(variance: float, freedom: float, seeds: int) -> Spread:
    """Return the deviation with its interval. freedom: degrees of freedom of the variance."""
    tail = (1 - CONFIDENCE) / 2
    low, high = (variance * freedom / _chi_square_quantile(quantile, freedom) for quantile in (1 - tail, tail))
    return Spread(seeds=seeds, deviation=math.sqrt(variance), low=math.sqrt(low), high=math.sqrt(high))


def _chi_square_quantile(share: float, freedom: float) -> float:
    # As scipy.stats has it, which takes long to load.
    return 2 * float(gammaincinv(freedom / 2, share))


def summarise_noise(values: pd.DataFrame, experiment: Experiment, baseline: str) -> tuple[ArmNoise, ...]:
    """Return the noise of each metric and arm. values: see analysis.stats.paired.collect_final_values."""
    sources = find_sources(experiment)
    noises = []
    for (metric, arm), group in values.groupby(["metric", "arm"], sort=False):
        finite = np.isfinite(group["value"].to_numpy(dtype=float))
        numbers = group.loc[finite, "value"].to_numpy(dtype=float)
        noises.append(
            ArmNoise(
                metric=str(metric),
                arm=str(arm),
                sources=sources.get(str(arm), ()),
                n=len(numbers),
                mean=float(numbers.mean()) if len(numbers) else math.nan,
                spread=compute_spread(numbers.tolist()),
                share=math.nan,
                missing=tuple(int(seed) for seed in group.loc[~finite, "seed"]),
            )
        )
    whole = {noise.metric: noise.spread for noise in noises if noise.arm == baseline}
    return tuple(replace(noise, share=_share_of(noise.spread, whole.get(noise.metric))) for noise in noises)


def _share_of(spread: Spread | None, whole: Spread | None) -> float:
    if spread is None or whole is None or not whole.deviation:
        return math.nan
    return spread.deviation**2 / whole.deviation**2


def find_spread(noises: Sequence[ArmNoise], metric: str, arm: str) -> Spread | None:
    """Return the spread of a metric in an arm, None where it has none."""
    return next((noise.spread for noise in noises if (noise.metric, noise.arm) == (metric, arm)), None)


def find_single_sources(noises: Sequence[ArmNoise], metric: str) -> dict[str, Spread]:
    """Return source -> spread of a metric in the arm in which it alone varies, of arms that have a spread."""
    return {
        noise.sources[0]: noise.spread
        for noise in noises
        if noise.metric == metric and len(noise.sources) == 1 and noise.spread is not None
    }


def sum_sources(noises: Sequence[ArmNoise], metric: str, baseline: str) -> SourceSum | None:
    """Return the summed variances of the arms in which one source varies; None unless each source has one.

    Its interval is the chi-square one with Satterthwaite's degrees of freedom (1946).
    """
    single, whole = find_single_sources(noises, metric), find_spread(noises, metric, baseline)
    if set(single) != set(SOURCES) or whole is None:
        return None
    variances = np.array([single[source].deviation ** 2 for source in SOURCES])
    freedoms = np.array([single[source].seeds - 1 for source in SOURCES])
    total = float(variances.sum())
    freedom = total**2 / float((variances**2 / freedoms).sum()) if total else float(freedoms.sum())
    spread = _make_spread(total, freedom, int(min(freedoms)) + 1)
    return SourceSum(SOURCES, spread, _share_of(spread, whole))


def share_factor(seeds_of_arm: int, seeds_of_baseline: int) -> float:
    """Return the factor within which a share of the variance is known: the wider side of its F-interval (95 %)."""
    of_arm, of_baseline = seeds_of_arm - 1, seeds_of_baseline - 1
    quantile = (1 + CONFIDENCE) / 2
    return max(float(fdtri(*freedoms, quantile)) for freedoms in ((of_arm, of_baseline), (of_baseline, of_arm)))


def validation_share(deviation: float, validation: ValidationNoise) -> float:
    """Return the share that the validation sample has of the variance over seeds and images together."""
    total = deviation**2 + validation.variance
    return validation.variance / total if total else math.nan


def compute_resolutions(spread: Spread, counts: Sequence[int] = SEED_COUNTS) -> tuple[ResolvedDifference, ...]:
    """Return what so many paired seeds resolve, as if pairing bought nothing."""
    resolutions = []
    for count in counts:
        t = float(stdtrit(count - 1, (1 + CONFIDENCE) / 2)) / math.sqrt(count)
        resolved = resolution(count)
        one, low, high = (unpaired_deviation(value) for value in (spread.deviation, spread.low, spread.high))
        scaled = [_scale(resolved.counts_from, one), *(_scale(resolved.shows, each) for each in (one, low, high))]
        resolutions.append(ResolvedDifference(count, t * one, *scaled))
    return tuple(resolutions)


def _scale(factor: float, deviation: float) -> float:
    # Infinite with no noise too: too few pairs show nothing.
    return factor if math.isinf(factor) else factor * deviation


def collect_metric_noise(noises: Sequence[ArmNoise], baseline: str) -> dict[str, MetricNoise]:
    """Return the noise of each metric that at least two seeds of the baseline have, as noise.json holds it."""
    return {
        noise.metric: MetricNoise(
            **noise.spread.model_dump(), mean=noise.mean, sources=find_single_sources(noises, noise.metric)
        )
        for noise in noises
        if noise.arm == baseline and noise.spread is not None
    }
