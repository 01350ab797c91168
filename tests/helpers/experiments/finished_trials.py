"""Finished trials of a plan as a tracking store returns them, with values that a test gives."""

from collections.abc import Callable

from fcos.config.parse import flatten
from fcos.storage.store_conventions import param_text
from orchestration.planning.plan import Plan
from orchestration.tracking.history import PastRun


def runs_of(plan: Plan, value: Callable[[str, int], float], sweep: str = "before", **tags: str) -> list[PastRun]:
    """Return the finished trials of a plan's sweep: `value` is the AP of an arm with a seed."""
    found = []
    for trial in plan.trials:
        for arm in trial.arms:
            known = {
                "fcos.sweep": sweep,
                "fcos.arm": arm,
                "fcos.seed": str(trial.seed),
                "fcos.train_identity": trial.identity,
                "fcos.data_digest": trial.data_digest,
                "mlflow.parentRunId": f"run of {sweep}",
            }
            params = {key: param_text(setting) for key, setting in flatten(trial.values_of(arm)).items()}
            found.append(PastRun(f"{arm}{trial.seed}", {**known, **tags}, params, {"val/AP": value(arm, trial.seed)}))
    return found
