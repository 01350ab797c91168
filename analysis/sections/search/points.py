"""Points of a search as a frame: what each was, and what its trainings gave."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from analysis.formatting import MISSING
from analysis.reader.sweep import Search, Sweep, Trial

POINT_COLUMNS = ["trial", "state", "step", "value", "deviation", "seeds", "failure"]
# States of a point with several trainings, the one that counts first.
STATES = ("failed", "killed", "running", "pruned", "finished")


def collect_points(sweep: Sweep, search: Search) -> pd.DataFrame:
    """Return a row for each point, best first: POINT_COLUMNS, number (its turn), and the keys of the space.

    value: mean over the seeds of the search that gave one; deviation: of a sample, NaN below two; seeds: their number.
    The winner of a race over seeds is first; then finished points by their value, pruned ones by the step they reached,
    and those without a value.
    """
    of_metric = sweep.points[sweep.points["key"] == search.metric].sort_values("step")
    last = of_metric.drop_duplicates("run_id", keep="last").set_index("run_id")
    of_point: dict[str, list[Trial]] = {}
    for trial in sorted(sweep.current, key=lambda trial: (trial.arm, trial.seed)):
        if trial.seed in sweep.experiment.seeds:
            of_point.setdefault(trial.arm, []).append(trial)
    rows = [_make_row(name, trials, last, search) for name, trials in of_point.items()]
    # As objects: a sampled null must not become NaN.
    frame = pd.DataFrame(rows, columns=[*POINT_COLUMNS, *search.space], dtype=object)
    frame = frame.astype({"step": float, "value": float, "deviation": float, "seeds": int})
    frame.insert(1, "number", range(len(frame)))
    return _sort_best_first(frame, search.mode, sweep.winner)


def _make_row(name: str, trials: Sequence[Trial], last: pd.DataFrame, search: Search) -> dict[str, Any]:
    by_state = sorted(trials, key=lambda trial: _rank_state(_get_state(trial)))
    with_value = [
        trial for trial in trials if trial.run_id in last.index and _get_state(trial) in ("finished", "pruned")
    ]
    values = pd.Series([float(last["value"][trial.run_id]) for trial in with_value], dtype=float)
    steps = [float(last["step"][trial.run_id]) for trial in trials if trial.run_id in last.index]
    return {
        "trial": name,
        "state": _get_state(by_state[0]),
        "step": max(steps, default=math.nan),
        "value": float(values.mean()),
        "deviation": float(values.std(ddof=1)),
        "seeds": len(values),
        "failure": by_state[0].failure,
        **{key: trials[0].sampled.get(key, MISSING) for key in search.space},
    }


def _get_state(trial: Trial) -> str:
    return "pruned" if trial.is_pruned else trial.status.lower()


def _rank_state(state: str) -> int:
    return STATES.index(state) if state in STATES else len(STATES)


def _sort_best_first(frame: pd.DataFrame, mode: str, winner: str | None) -> pd.DataFrame:
    pruned_step = frame["step"].where(frame["state"] == "pruned", 0)
    order = frame.assign(
        _winner=frame["trial"] != winner,
        _group=frame["state"].map({"finished": 0, "pruned": 1}).fillna(2),
        _step=-pruned_step.fillna(0),
        _value=frame["value"] * (-1 if mode == "max" else 1),
    )
    order = order.sort_values(["_winner", "_group", "_step", "_value", "trial"], ignore_index=True)
    return order.drop(columns=["_winner", "_group", "_step", "_value"])


def find_best(frame: pd.DataFrame) -> Mapping[str, Any] | None:
    """Return the row of the winner, else of the best finished point; None where none has a value."""
    finished = frame[(frame["state"] == "finished") & frame["value"].notna()]
    return None if finished.empty else finished.iloc[0].to_dict()
