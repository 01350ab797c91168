"""Read the history of a sweep's plan from the store: when it was made and changed, and how many results there were."""

from analysis.reader.client import StoreError, fetch_artifact
from fcos.errors import DataError
from fcos.storage.plan_history import PlanHistory, parse_plan_history
from fcos.storage.store_conventions import Artifact


def read_plan_history(uri: str, sweep_run: str) -> tuple[PlanHistory | None, str]:
    """Return the history of a sweep's plan, or None and why there is none."""
    try:
        content = fetch_artifact(uri, sweep_run, Artifact.PLAN_HISTORY)
        if content is None:
            return None, f"{Artifact.PLAN_HISTORY} is not in the store, as of sweeps of older versions"
        return parse_plan_history(content), ""
    except StoreError as error:
        return None, str(error)
    except DataError as error:
        return None, f"{Artifact.PLAN_HISTORY} of run {sweep_run} cannot be read ({error})"
