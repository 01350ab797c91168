"""Statistics of a sweep, paired by seed; every function takes frames and gives a frame."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from scipy import stats

CONFIDENCE = 0.95
VALUE_COLUMNS = ["metric", "arm", "seed", "status", "run_id", "step", "value", "failure"]
# Up to this many pairs every pattern of signs is enumerated; above, scipy draws patterns with a fixed seed.
EXACT_PAIRS = 16
MOST_PAIRS = 30


def final_values(
    trials: pd.DataFrame,
    points: pd.DataFrame,
    metrics: Sequence[str],
    arms: Sequence[str],
    seeds: Sequence[int],
) -> pd.DataFrame:
    """One row per (metric, arm, seed) of the plan and of the trials: status, run_id, step, value, failure.

    A value is the last point of a finished trial. Any other trial has none: half a training is not a result.
    A planned trial without a run has status MISSING, a finished one without the metric has value NaN.
    """
    planned = pd.MultiIndex.from_product([list(arms), list(seeds)], names=["arm", "seed"]).to_frame(index=False)
    runs = trials.loc[:, ["arm", "seed", "status", "run_id"]].assign(
        failure=[_reason(status, tags) for status, tags in zip(trials["status"], trials["tags"], strict=True)]
    )
    grid = planned.merge(runs, on=["arm", "seed"], how="outer")
    grid["status"] = grid["status"].fillna("MISSING")
    grid[["run_id", "failure"]] = grid[["run_id", "failure"]].astype(object).fillna("")
    last = points.sort_values("step").drop_duplicates(["run_id", "key"], keep="last")
    last = last.rename(columns={"key": "metric"})
    frames = [grid.assign(metric=metric) for metric in metrics]
    values = pd.concat(frames).merge(last, on=["run_id", "metric"], how="left")
    values.loc[values["status"] != "FINISHED", ["value", "step"]] = np.nan
    order = {arm: position for position, arm in enumerate(arms)}
    values["_metric"] = values["metric"].map({metric: position for position, metric in enumerate(metrics)})
    values["_arm"] = values["arm"].map(order).fillna(len(order))
    return values.sort_values(["_metric", "_arm", "arm", "seed"], ignore_index=True)[VALUE_COLUMNS]


def _reason(status: str, tags: Mapping[str, str]) -> str:
    """Why a trial gives no number."""
    if status == "KILLED" and "fcos.pruned" in tags:
        return f"pruned at step {tags['fcos.pruned']}"
    return tags.get("fcos.failure", "")


def summarise(values: pd.DataFrame) -> pd.DataFrame:
    """One row per (metric, arm): n, mean, sample standard deviation (NaN below n = 2), missing seeds."""
    groups = values.groupby(["metric", "arm"], sort=False)
    summary = groups["value"].agg(n="count", mean="mean", deviation=lambda column: column.std(ddof=1))
    missing = values[values["value"].isna()].groupby(["metric", "arm"], sort=False)["seed"].agg(tuple)
    summary["missing"] = [missing.get(key, ()) for key in summary.index]
    return summary.reset_index()


def paired_differences(values: pd.DataFrame, baseline: str) -> pd.DataFrame:
    """metric, arm, seed, difference: a value minus the baseline's of the same seed, where both exist."""
    columns = ["metric", "arm", "seed", "value"]
    theirs = values.loc[values["arm"] == baseline, ["metric", "seed", "value"]]
    pairs = values.loc[values["arm"] != baseline, columns].merge(
        theirs, on=["metric", "seed"], how="inner", suffixes=("", "_baseline")
    )
    pairs["difference"] = pairs["value"] - pairs["value_baseline"]
    return pairs.loc[pairs["difference"].notna(), ["metric", "arm", "seed", "difference"]].reset_index(drop=True)


def compare(differences: pd.DataFrame) -> pd.DataFrame:
    """One row per (metric, arm): the mean paired difference and what is known about it.

    difference, low and high (95 % t-interval, NaN below two pairs), num_pairs, num_higher (pairs in which
    the arm is higher), p_sign_flip (exact two-sided sign-flip test; it assumes symmetry and nothing else, and
    with n pairs it cannot fall below 2 / 2**n), pairs_needed.
    """
    rows = [
        {"metric": metric, "arm": arm, **_compare(group["difference"].to_numpy(dtype=float))}
        for (metric, arm), group in differences.groupby(["metric", "arm"], sort=False)
    ]
    columns = [
        "metric",
        "arm",
        "difference",
        "low",
        "high",
        "num_pairs",
        "num_higher",
        "p_sign_flip",
        "pairs_needed",
    ]
    # Whole numbers stay whole beside arms without a pair.
    return pd.DataFrame(rows, columns=columns).astype({"num_pairs": "Int64", "num_higher": "Int64"})


def _compare(differences: np.ndarray) -> dict[str, float]:
    low, high = t_interval(differences)
    return {
        "difference": float(differences.mean()),
        "low": low,
        "high": high,
        "num_pairs": len(differences),
        "num_higher": int((differences > 0).sum()),
        "p_sign_flip": sign_flip_p_value(differences),
        "pairs_needed": pairs_needed(differences),
    }


def pairs_needed(differences: np.ndarray) -> float:
    """How many pairs of this mean and spread keep zero out of the interval; NaN where that is unknown or too many.

    A rough guide to how much is missing: the spread itself is an estimate.
    """
    if len(differences) < 2:
        return float("nan")
    pairs = np.arange(2, MOST_PAIRS + 1)
    half_widths = stats.t.ppf((1 + CONFIDENCE) / 2, pairs - 1) * differences.std(ddof=1) / np.sqrt(pairs)
    enough = pairs[half_widths < abs(differences.mean())]
    return float(enough[0]) if len(enough) else float("nan")


def t_interval(differences: np.ndarray) -> tuple[float, float]:
    """The 95 % t-interval of a mean; NaN below two values, of no width where all are equal."""
    if len(differences) < 2:
        return float("nan"), float("nan")
    mean = float(differences.mean())
    # Equal but for the rounding of a subtraction.
    if np.allclose(differences, mean, rtol=0, atol=1e-12):
        return mean, mean
    error = float(stats.sem(differences))
    low, high = stats.t.interval(CONFIDENCE, len(differences) - 1, loc=mean, scale=error)
    return float(low), float(high)


def sign_flip_p_value(differences: np.ndarray) -> float:
    """Two-sided p value of the mean under all patterns of signs; NaN below two values."""
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
