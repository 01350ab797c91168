"""Final values, means and paired differences, on numbers worked out by hand."""

import math
from collections.abc import Sequence
from datetime import UTC, datetime

import numpy as np
import pandas as pd
import pytest

from analysis.reader.sweep import Trial
from analysis.stats.paired import collect_final_values, compute_paired_differences, summarise

AP = "val/AP"


def make_values(**arms: Sequence[float | None]) -> pd.DataFrame:
    rows = [
        {"metric": AP, "arm": arm, "seed": seed, "value": math.nan if value is None else value}
        for arm, results in arms.items()
        for seed, value in enumerate(results)
    ]
    return pd.DataFrame(rows)


def make_trial(arm: str, seed: int, status: str, run_id: str) -> Trial:
    return Trial(arm, seed, run_id, status, datetime(2026, 1, 1, tzinfo=UTC))


def make_point(run_id: str, step: int, value: float) -> dict[str, object]:
    return {"run_id": run_id, "key": AP, "step": step, "value": value}


def test_a_final_value_is_the_last_point_of_a_finished_trial() -> None:
    trials = [make_trial("a", 0, "FINISHED", "r0"), make_trial("a", 1, "FAILED", "r1")]
    points = pd.DataFrame([make_point("r0", 200, 0.4), make_point("r0", 100, 0.9), make_point("r1", 100, 0.9)])
    values = collect_final_values(trials, points, [AP], ["a"], [0, 1])
    assert values["value"].tolist()[0] == 0.4
    assert math.isnan(values["value"][1])
    assert values["status"].tolist() == ["FINISHED", "FAILED"]


def test_a_planned_trial_without_a_run_is_missing_and_an_unplanned_one_is_kept() -> None:
    trials = [make_trial("a", 0, "FINISHED", "r0"), make_trial("b", 5, "FINISHED", "r5")]
    points = pd.DataFrame([make_point("r0", 1, 0.1), make_point("r5", 1, 0.5)])
    values = collect_final_values(trials, points, [AP], ["a"], [0, 1]).set_index(["arm", "seed"])
    assert values.loc[("a", 1), "status"] == "MISSING"
    assert values.loc[("b", 5), "value"] == 0.5


def test_the_deviation_is_of_a_sample_and_missing_seeds_are_listed() -> None:
    summary = summarise(make_values(a=[0.1, 0.3, None], b=[0.2, None, None])).set_index("arm")
    assert summary.loc["a", "mean"] == pytest.approx(0.2)
    assert summary.loc["a", "deviation"] == pytest.approx(np.std([0.1, 0.3], ddof=1))
    assert summary.loc["a", "n"] == 2
    assert summary.loc["a", "missing"] == (2,)
    assert math.isnan(summary.loc["b", "deviation"])
    assert summary.loc["b", "missing"] == (1, 2)


def test_differences_pair_by_seed_and_leave_out_seeds_that_one_arm_lacks() -> None:
    pairs = compute_paired_differences(make_values(base=[0.1, 0.2, None], arm=[0.15, None, 0.9]), "base")
    assert pairs[["arm", "seed"]].to_numpy().tolist() == [["arm", 0]]
    assert pairs["difference"][0] == pytest.approx(0.05)
