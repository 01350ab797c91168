"""Importance of a search's keys for its metric (Optuna's PED-ANOVA, arXiv 2304.10255)."""

from typing import Any

import pandas as pd

from analysis.formatting import MISSING
from analysis.reader.sweep import Search

# With fewer trainings the shares reflect chance rather than keys.
MIN_TRAININGS = 8


def compute_importance(frame: pd.DataFrame, search: Search) -> pd.DataFrame:
    """Return key, importance (shares that add to 1), greatest first; empty below eight finished trainings.

    frame: see analysis.sections.search.points.collect_points.
    """
    empty = pd.DataFrame(columns=["key", "importance"])
    finished = frame[(frame["state"] == "finished") & frame["value"].notna()]
    if len(finished) < MIN_TRAININGS or finished["value"].nunique() < 2:
        return empty
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction="maximize" if search.mode == "max" else "minimize")
    columns = split_components(finished, search)
    # Conditional keys are not set in all trainings.
    complete = {name: values for name, values in columns.items() if not any(is_unset(value) for value in values)}
    distributions = {
        name: _make_distribution(values) for name, values in complete.items() if len({str(v) for v in values}) > 1
    }
    if not distributions:
        return empty
    for index, value in enumerate(finished["value"]):
        params = {name: complete[name][index] for name in distributions}
        study.add_trial(optuna.trial.create_trial(params=params, distributions=distributions, value=float(value)))
    shares = optuna.importance.get_param_importances(
        study, evaluator=optuna.importance.PedAnovaImportanceEvaluator(), normalize=True
    )
    rows = sorted(shares.items(), key=lambda item: -item[1])
    return pd.DataFrame(rows, columns=["key", "importance"])


def split_components(frame: pd.DataFrame, search: Search) -> dict[str, list[Any]]:
    """Return each sampled number or choice as a column: a list of level ranges has one for each inner end."""
    columns: dict[str, list[Any]] = {}
    for key, distribution in search.space.items():
        values = list(frame[key])
        ends = distribution.ranges or distribution.rising
        if ends is not None:
            for index in range(ends[2]):
                columns[f"{key} {index + 1}"] = [_get_end(value, index) for value in values]
        elif distribution.choice is not None:
            columns[key] = [value if is_unset(value) else str(value) for value in values]
        else:
            columns[key] = values
    return columns


def _get_end(value: Any, index: int) -> Any:
    if not isinstance(value, list):
        return value
    return float(value[index][1] if isinstance(value[index], list) else value[index])


def is_unset(value: Any) -> bool:
    """Return whether a training has no value of a key, as its condition was not met."""
    return isinstance(value, str) and value == MISSING


def _make_distribution(values: list[Any]) -> Any:
    from optuna.distributions import CategoricalDistribution, FloatDistribution

    if isinstance(values[0], str):
        return CategoricalDistribution(sorted(set(values)))
    return FloatDistribution(float(min(values)), float(max(values)))
