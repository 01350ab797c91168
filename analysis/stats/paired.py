"""Final values of a sweep, and their differences paired by seed."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from analysis.reader.sweep import Trial
from fcos.storage.store_conventions import RunStatus

VALUE_COLUMNS = ["metric", "arm", "seed", "status", "run_id", "step", "value", "failure"]
DIFFERENCE_COLUMNS = ["metric", "arm", "seed", "difference"]


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
    values.loc[values["status"] != RunStatus.FINISHED, ["value", "step"]] = np.nan
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
