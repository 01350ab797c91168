"""From a config to the plan of a sweep, and the plan that a folder already holds."""

import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fcos.errors import ConfigError
from orchestration.experiment.identity import RUN_ONLY, depends_on_workers, without
from orchestration.experiment.provenance import Evidence
from orchestration.experiment.trials import Trial, changed_keys
from orchestration.search.points import Search, search_differences, stored_values
from orchestration.trial.files import read_summary, write_json

PLAN = "plan.json"
TRIALS = "trials"


@dataclass(frozen=True)
class Plan:
    """All that a sweep will train, and where."""

    name: str
    folder: Path
    trials: Sequence[Trial]
    evidence: Evidence
    # Arm -> its resolved config as plain values.
    arms: Mapping[str, Mapping[str, Any]]
    # Remarks on the data, such as dropped boxes.
    notes: tuple[str, ...] = field(default=())
    # None for arms that a person gave names to.
    search: Search | None = None

    def folder_of(self, trial: Trial) -> Path:
        """Where a training keeps its checkpoints and what it tells."""
        return self.folder / TRIALS / trial.short

    def summary_of(self, trial: Trial) -> dict[str, Any] | None:
        """The summary of a training that is finished, or None."""
        prunes = self.search is not None and self.search.prunes
        return read_summary(self.folder_of(trial), trial.identity, trial.arms, or_pruned=prunes)

    def grow(self, arm: str, config: dict[str, Any], trial: Trial) -> None:
        """Take up a training that a search has drawn."""
        assert isinstance(self.arms, dict) and isinstance(self.trials, list)
        self.arms[arm] = config
        self.trials.append(trial)


def settle_folder(found: Plan) -> str:
    """Put the plan into its folder, or hold it against the one that is there; returns the sweep's own key.

    Seeds and arms may be added or left out; what a finished training rests on may not change under its name.
    Raises ConfigError with the differences.
    """
    found.folder.mkdir(parents=True, exist_ok=True)
    path = found.folder / PLAN
    before = _stored(path)
    differences = [] if before is None else _differences(before, found)
    if differences and any((found.folder / TRIALS).glob("*/checkpoints/*")):
        listed = "\n".join(f"  {line}" for line in differences[:20])
        raise ConfigError(
            f"name={found.name}: {found.folder} holds runs of another configuration:\n{listed}\n"
            "give another name=..., or remove that folder"
        )
    values = plan_values(found)
    if before is None or differences:
        # Nothing is trained yet: what an earlier command may have told tracking is of another plan.
        write_json(path, {"key": uuid.uuid4().hex, **values})
    else:
        merged = _merged(before, values)
        if before.get("name", found.name) != found.name:
            # A folder that was copied or renamed: the runs in tracking are those of the sweep that it was.
            merged["key"] = uuid.uuid4().hex
        write_json(path, merged)
    return str(json.loads(path.read_text())["key"])


def _merged(before: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Add a plan to what is stored: arms, points and trials that are left out this time stay, as their results do."""
    trials = {trial["identity"]: trial for trial in (*before["trials"], *values["trials"])}
    merged = {**before, **values, "arms": {**before["arms"], **values["arms"]}, "trials": list(trials.values())}
    if "search" in values:
        drawn = {**before.get("search", {}).get("drawn", {}), **values["search"]["drawn"]}
        merged["search"] = {**values["search"], "drawn": drawn}
    return merged


def plan_values(found: Plan) -> dict[str, Any]:
    """A plan as plain values."""
    return {
        "name": found.name,
        "code": found.evidence.code,
        "versions": dict(found.evidence.versions),
        "workers": found.evidence.workers,
        "arms": {arm: dict(config) for arm, config in found.arms.items()},
        "trials": [
            {
                "identity": trial.identity,
                "seed": trial.seed,
                "arms": {arm: trial.identity_of(arm) for arm in trial.arms},
                "data": trial.data_digest,
            }
            for trial in found.trials
        ],
        **({} if found.search is None else {"search": stored_values(found.search)}),
    }


def keep_plan(found: Plan) -> None:
    """Put a plan that has grown into its folder."""
    path = found.folder / PLAN
    write_json(path, _merged(json.loads(path.read_text()), plan_values(found)))


def _stored(path: Path) -> dict[str, Any] | None:
    try:
        values: dict[str, Any] = json.loads(path.read_text())
        if missing := {"key", "code", "versions", "arms", "trials"} - set(values):
            raise ValueError(f"lacks {', '.join(sorted(missing))}")
    except FileNotFoundError:
        return None
    except (ValueError, TypeError):
        raise ConfigError(f"{path}: not readable as a plan; remove that folder or give another name=...") from None
    return values


def _differences(before: Mapping[str, Any], now: Plan) -> list[str]:
    lines: dict[str, list[str]] = {}
    for arm, config in now.arms.items():
        if arm in before["arms"]:
            old, new = (without(values, (*RUN_ONLY, "seed")) for values in (before["arms"][arm], config))
            for line in changed_keys(old, new):
                lines.setdefault(line, []).append(arm)
    shared = len([arm for arm in now.arms if arm in before["arms"]])
    found = [line if len(arms) == shared else f"{line} (arm {', '.join(arms)})" for line, arms in lines.items()]
    if now.search is not None and before.get("search") is not None:
        found = search_differences(before["search"], now.search, found)
    if before["code"] != now.evidence.code:
        found.append("the code of fcos/ changed")
    workers = {"cluster.workers": before.get("workers", 1)}, {"cluster.workers": now.evidence.workers}
    if any(depends_on_workers(trial.config) for trial in now.trials):
        found += changed_keys(*workers)
    found += changed_keys({"versions": before["versions"]}, {"versions": dict(now.evidence.versions)})
    data_before = {trial["data"] for trial in before["trials"]}
    if not found and not {trial.data_digest for trial in now.trials} <= data_before and before["trials"]:
        found.append("the data changed")
    return found
