"""From a config to the plan of a sweep, and the plan that a folder already holds."""

import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from fcos.config import Config
from fcos.section import ConfigError
from orchestration.config import LabConfig
from orchestration.data import DataDigests, PrepareData
from orchestration.evidence import evidence_here
from orchestration.experiment import ARM_SECTIONS, Trial, arm_configs, changed_keys, check_effect, plan
from orchestration.groups import groups
from orchestration.identity import RUN_ONLY, Evidence, depends_on_workers, without
from orchestration.preflight import asked_metrics, check_arm, check_metrics, check_ranking, check_values
from orchestration.search import (
    Search,
    begin_search,
    draw_planned,
    drawn_before,
    search_differences,
    search_remarks,
    stored_values,
)
from orchestration.trial_files import read_summary, write_json

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


def set_keys(overrides: Sequence[str]) -> list[str]:
    """The dotted keys of a training that a command line sets."""
    keys = [override.lstrip("+").partition("=")[0] for override in overrides if not override.startswith("~")]
    return [key for key in keys if "." in key and key.split(".")[0] in ARM_SECTIONS]


def make_plan(lab: LabConfig, prepare_data: PrepareData, overrides: Sequence[str] = ()) -> Plan:
    """The plan of an experiment; `prepare_data` makes a config's data ready and gives its digest and remarks.

    The plan of a search whose points follow from results holds those that earlier commands drew.
    Raises ConfigError where the config names no experiment or an arm is wrong.
    """
    if lab.experiment is None:
        known = ", ".join(groups()["experiment"])
        raise ConfigError(f"no experiment is chosen; give +experiment=<name>, there are: {known}")
    name = lab.name or lab.experiment.name
    if lab.experiment.search is None:
        arms = arm_configs(lab.training, lab.experiment)
        check_effect(set_keys(overrides), list(arms.values()))
        check_metrics(lab.experiment.metrics, arms.values())
        check_ranking(lab)
        digests = DataDigests(prepare_data)
        found = _plan(lab, name, arms, lab.experiment.seeds, digests)
        return replace(found, notes=(*found.notes, *check_values(lab, tuple(arms.values()), digests)))
    check_metrics(asked_metrics(lab.experiment), [lab.training])
    check_ranking(lab)
    digests = DataDigests(prepare_data)
    search = begin_search(lab, digests, overrides)
    # What every point shares is told of before the first is drawn.
    check_arm(lab.training, lab.cluster)
    remarks = [*check_values(lab, [lab.training], digests), *search_remarks(search)]
    if search.draws_as_it_goes:
        configs = drawn_before(search, _stored(lab.folder / name / PLAN))
    else:
        configs, left_out = draw_planned(search)
        remarks += left_out
    found = _plan(lab, name, configs, lab.experiment.seeds, digests)
    return replace(found, trials=list(found.trials), search=search, notes=(*found.notes, *remarks))


def make_single_plan(lab: LabConfig, prepare_data: PrepareData, overrides: Sequence[str] = ()) -> Plan:
    """The plan of one run, without arms; unnamed it is called after its identity."""
    if lab.experiment is not None:
        raise ConfigError("experiment: a single run has no arms; use orchestration/sweep.py")
    check_effect(set_keys(overrides), [lab.training])
    digests = DataDigests(prepare_data)
    found = _plan(lab, lab.name or "run", {"": lab.training}, (lab.seed,), digests)
    check_values(lab, [lab.training], digests)
    if lab.name is not None:
        return found
    name = f"run-{found.trials[0].identity[:8]}"
    return Plan(name, lab.folder / name, found.trials, found.evidence, found.arms, found.notes)


def _plan(lab: LabConfig, name: str, arms: Mapping[str, Config], seeds: tuple[int, ...], data: DataDigests) -> Plan:
    for config in arms.values():
        check_arm(config, lab.cluster)
    digests = {arm: data.of(config) for arm, config in arms.items()}
    evidence = evidence_here(lab.cluster.workers)
    plain = {arm: config.model_dump(mode="json") for arm, config in arms.items()}
    return Plan(name, lab.folder / name, plan(arms, seeds, evidence, digests), evidence, plain, data.notes)


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
