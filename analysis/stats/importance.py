"""How much each key of a search moves its metric (Optuna's PED-ANOVA, arXiv 2304.10255)."""

from typing import Any

import pandas as pd

from analysis.formatting import MISSING
from analysis.reader.sweep import Search

# With fewer trainings the shares say more about chance than about keys.
FEWEST = 8


def importance(frame: pd.DataFrame, search: Search) -> pd.DataFrame:
    """key, importance (shares that add to 1), greatest first; empty below eight finished trainings."""
    nothing = pd.DataFrame(columns=["key", "importance"])
    finished = frame[(frame["state"] == "finished") & frame["value"].notna()]
    if len(finished) < FEWEST or finished["value"].nunique() < 2:
        return nothing
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction="maximize" if search.mode == "max" else "minimize")
    columns = components(finished, search)
    # Keys that hang on others are not set in all trainings.
    whole = {name: values for name, values in columns.items() if not any(_is_missing(value) for value in values)}
    kinds = {name: _distribution(values) for name, values in whole.items() if len({str(v) for v in values}) > 1}
    if not kinds:
        return nothing
    for place, value in enumerate(finished["value"]):
        params = {name: whole[name][place] for name in kinds}
        study.add_trial(optuna.trial.create_trial(params=params, distributions=kinds, value=float(value)))
    found = optuna.importance.get_param_importances(
        study, evaluator=optuna.importance.PedAnovaImportanceEvaluator(), normalize=True
    )
    rows = sorted(found.items(), key=lambda item: -item[1])
    return pd.DataFrame(rows, columns=["key", "importance"])


def components(frame: pd.DataFrame, search: Search) -> dict[str, list[Any]]:
    """Each number or choice that was drawn, as a column: a list of level ranges has one for each inner end."""
    columns: dict[str, list[Any]] = {}
    for key, draw in search.space.items():
        values = list(frame[key])
        if draw.get("ranges") is not None or draw.get("rising") is not None:
            count = int((draw.get("ranges") or draw["rising"])[2])
            for place in range(count):
                columns[f"{key} {place + 1}"] = [_end(value, place) for value in values]
        elif draw.get("choice") is not None:
            columns[key] = [value if _is_missing(value) else str(value) for value in values]
        else:
            columns[key] = values
    return columns


def _end(value: Any, place: int) -> Any:
    if not isinstance(value, list):
        return value
    return float(value[place][1] if isinstance(value[place], list) else value[place])


def _is_missing(value: Any) -> bool:
    return isinstance(value, str) and value == MISSING


def _distribution(values: list[Any]) -> Any:
    from optuna.distributions import CategoricalDistribution, FloatDistribution

    if isinstance(values[0], str):
        return CategoricalDistribution(sorted(set(values)))
    return FloatDistribution(float(min(values)), float(max(values)))
