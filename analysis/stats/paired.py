"""Statistics of a sweep, paired by seed."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from analysis.reader.sweep import FINISHED, Trial

CONFIDENCE = 0.95
VALUE_COLUMNS = ["metric", "arm", "seed", "status", "run_id", "step", "value", "failure"]
DIFFERENCE_COLUMNS = ["metric", "arm", "seed", "difference"]
COMPARISON_COLUMNS = [
    "metric", "arm", "difference", "low", "high", "num_pairs", "num_higher", "p_sign_flip", "pairs_needed",
]  # fmt: skip
# Up to this many pairs every pattern of signs is enumerated; above, scipy samples patterns with a fixed seed.
EXACT_PAIRS = 16
MAX_PAIRS_NEEDED = 30


@dataclass(frozen=True)
class Comparison:
    """Paired difference of an arm to the baseline in one metric.

    difference: the mean over pairs, with its 95 % t-interval low to high (NaN below two pairs). num_higher: pairs in
    which the arm is higher. p_sign_flip: exact two-sided sign-flip test; it assumes symmetry alone, and with n pairs it
    cannot fall below 2 / 2**n. pairs_needed: see estimate_pairs_needed.
    """

    metric: str
    arm: str
    difference: float = math.nan
    low: float = math.nan
    high: float = math.nan
    num_pairs: int = 0
    num_higher: int = 0
    p_sign_flip: float = math.nan
    pairs_needed: float = math.nan


def collect_final_values(
    trials: Sequence[Trial],
    points: pd.DataFrame,
    metrics: Sequence[str],
    arms: Sequence[str],
    seeds: Sequence[int],
) -> pd.DataFrame:
    """Return a row for each (metric, arm, seed) that is planned or has a trial; see VALUE_COLUMNS.

    A value is the last point of a finished trial. Any other trial has none: an unfinished training is no result.
    A planned trial without a run has status MISSING; a finished one without the metric has value NaN. points: see
    analysis.reader.sweep.Sweep.
    """
    planned = pd.MultiIndex.from_product([list(arms), list(seeds)], names=["arm", "seed"]).to_frame(index=False)
    rows = [(trial.arm, trial.seed, trial.status, trial.run_id, _explain_missing_value(trial)) for trial in trials]
    runs = pd.DataFrame(rows, columns=["arm", "seed", "status", "run_id", "failure"])
    grid = planned.merge(runs, on=["arm", "seed"], how="outer")
    grid["status"] = grid["status"].fillna("MISSING")
    grid[["run_id", "failure"]] = grid[["run_id", "failure"]].astype(object).fillna("")
    last = points.sort_values("step").drop_duplicates(["run_id", "key"], keep="last")
    last = last.rename(columns={"key": "metric"})
    frames = [grid.assign(metric=metric) for metric in metrics]
    values = pd.concat(frames).merge(last, on=["run_id", "metric"], how="left")
    values.loc[values["status"] != FINISHED, ["value", "step"]] = np.nan
    arm_order = {arm: index for index, arm in enumerate(arms)}
    values["_metric"] = values["metric"].map({metric: index for index, metric in enumerate(metrics)})
    values["_arm"] = values["arm"].map(arm_order).fillna(len(arm_order))
    return values.sort_values(["_metric", "_arm", "arm", "seed"], ignore_index=True)[VALUE_COLUMNS]


def _explain_missing_value(trial: Trial) -> str:
    return f"pruned at step {trial.pruned_at}" if trial.is_pruned else trial.failure


def summarise(values: pd.DataFrame) -> pd.DataFrame:
    """Return a row for each (metric, arm): n, mean, deviation (of a sample; NaN below n = 2), missing (seeds)."""
    groups = values.groupby(["metric", "arm"], sort=False)
    summary = groups["value"].agg(n="count", mean="mean", deviation=lambda column: column.std(ddof=1))
    missing = values[values["value"].isna()].groupby(["metric", "arm"], sort=False)["seed"].agg(tuple)
    summary["missing"] = [missing.get(key, ()) for key in summary.index]
    return summary.reset_index()


def compute_paired_differences(values: pd.DataFrame, baseline: str) -> pd.DataFrame:
    """Return each value minus the baseline's of the same seed, where both exist; see DIFFERENCE_COLUMNS."""
    of_baseline = values.loc[values["arm"] == baseline, ["metric", "seed", "value"]]
    pairs = values.loc[values["arm"] != baseline, ["metric", "arm", "seed", "value"]].merge(
        of_baseline, on=["metric", "seed"], how="inner", suffixes=("", "_baseline")
    )
    pairs["difference"] = pairs["value"] - pairs["value_baseline"]
    return pairs.loc[pairs["difference"].notna(), DIFFERENCE_COLUMNS].reset_index(drop=True)


def compare_arms(differences: pd.DataFrame) -> pd.DataFrame:
    """Return a row for each (metric, arm) that has pairs; see COMPARISON_COLUMNS and Comparison."""
    comparisons = [
        _compare(str(metric), str(arm), group["difference"].to_numpy(dtype=float))
        for (metric, arm), group in differences.groupby(["metric", "arm"], sort=False)
    ]
    frame = pd.DataFrame(comparisons, columns=COMPARISON_COLUMNS)
    # Nullable, so that counts stay whole numbers where the frame is joined with arms without pairs.
    return frame.astype({"num_pairs": "Int64", "num_higher": "Int64"})


def get_comparison(comparisons: pd.DataFrame, metric: str, arm: str) -> Comparison:
    """Return the comparison of an arm from the frame of compare_arms; without pairs all its numbers are NaN or 0."""
    rows = comparisons[(comparisons["metric"] == metric) & (comparisons["arm"] == arm)]
    if rows.empty:
        return Comparison(metric, arm)
    row = rows.iloc[0].to_dict()
    counts = {name: int(row[name]) for name in ("num_pairs", "num_higher")}
    return Comparison(**{**row, **counts})


def _compare(metric: str, arm: str, differences: np.ndarray) -> Comparison:
    low, high = compute_t_interval(differences)
    return Comparison(
        metric=metric,
        arm=arm,
        difference=float(differences.mean()),
        low=low,
        high=high,
        num_pairs=len(differences),
        num_higher=int((differences > 0).sum()),
        p_sign_flip=compute_sign_flip_p_value(differences),
        pairs_needed=estimate_pairs_needed(differences),
    )


def estimate_pairs_needed(differences: np.ndarray) -> float:
    """Estimate how many pairs of this mean and spread keep zero out of the interval.

    NaN below two pairs or where it takes over 30. A rough guide: the spread itself is an estimate.
    """
    if len(differences) < 2:
        return float("nan")
    pairs = np.arange(2, MAX_PAIRS_NEEDED + 1)
    half_widths = stats.t.ppf((1 + CONFIDENCE) / 2, pairs - 1) * differences.std(ddof=1) / np.sqrt(pairs)
    enough = pairs[half_widths < abs(differences.mean())]
    return float(enough[0]) if len(enough) else float("nan")


def compute_t_interval(differences: np.ndarray) -> tuple[float, float]:
    """Return the 95 % t-interval of a mean; NaN below two values, of zero width where all are equal."""
    if len(differences) < 2:
        return float("nan"), float("nan")
    mean = float(differences.mean())
    # Equal up to the rounding of a subtraction.
    if np.allclose(differences, mean, rtol=0, atol=1e-12):
        return mean, mean
    error = float(stats.sem(differences))
    low, high = stats.t.interval(CONFIDENCE, len(differences) - 1, loc=mean, scale=error)
    return float(low), float(high)


def compute_sign_flip_p_value(differences: np.ndarray) -> float:
    """Return the two-sided p value of the mean under all patterns of signs; NaN below two values."""
    if len(differences) < 2:
        return float("nan")
    result = stats.permutation_test(
        (differences,),
        np.mean,
        permutation_type="samples",
        vectorized=True,
        n_resamples=2**EXACT_PAIRS,
        rng=np.random.default_rng(0),
    )
    return float(result.pvalue)
