"""Summaries of runs as trainings leave them."""

from collections.abc import Mapping
from typing import Any

from fcos.storage.run_folder import RunSummary


def summary_of(metrics: Mapping[str, Mapping[str, float]], **more: Any) -> RunSummary:
    """Return the summary of a run that ended with these metrics by arm."""
    values = {"step": 4, "seconds": 1.0, "metrics": {arm: dict(values) for arm, values in metrics.items()}}
    return RunSummary.model_validate({**values, **more})
