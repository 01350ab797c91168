"""Record when the plan of a sweep was made and changed, and how many results there were by then.

A plan that changes after its first result may have changed because of it. The history is a file of the sweep's folder,
to which a command with another plan than the one before adds an entry; the sweep's run in the store has a copy.
"""

import re
from collections.abc import Collection, Iterator
from datetime import datetime
from pathlib import Path

from pydantic import JsonValue

from fcos.config.parse import flatten
from fcos.config.run import Config
from fcos.errors import ConfigError, DataError
from fcos.storage.files import reason_of
from fcos.storage.plan_history import PlanEntry, PlanHistory, parse_plan_history
from fcos.storage.run_folder import POINTS, SUMMARY
from fcos.storage.store_conventions import RUN_ONLY, Artifact
from orchestration.config.experiment import ExperimentConfig
from orchestration.experiment.identity import fingerprint, without
from orchestration.experiment.training_folder import TRIALS
from orchestration.experiment.trials import changed_keys
from orchestration.experiment.weights import pinned_keys
from orchestration.planning.plan import Plan, StoredPlan
from orchestration.trial.files import write_json

# Lines of an entry on what changed.
MOST_CHANGES = 40


def read_plan_history(folder: Path) -> PlanHistory | None:
    """Return the history in a sweep's folder, None where there is none.

    Raises ConfigError for a file that cannot be read, as what it holds would be lost.
    """
    path = folder / Artifact.PLAN_HISTORY
    try:
        return parse_plan_history(path.read_bytes())
    except FileNotFoundError:
        return None
    except (DataError, OSError) as error:
        reason = reason_of(error) if isinstance(error, OSError) else error
        raise ConfigError(
            f"{path}: when this sweep's plan was made, not readable ({reason}); restore the file, or give another "
            "name=..."
        ) from None


def record_plan_history(
    plan: Plan,
    experiment: ExperimentConfig,
    history: PlanHistory | None,
    before: StoredPlan | None,
    finished_elsewhere: int,
    time: datetime,
) -> None:
    """Add a command's plan to the history in its folder, unless it is the plan of the entry before.

    history, before: what the folder held of both. finished_elsewhere: trainings whose results other sweeps have.
    """
    entries = () if history is None else history.entries
    seeds, arms, settings = experiment.all_seeds, _digests(plan), _settings(plan, experiment)
    entry = PlanEntry(
        time=time.replace(microsecond=0),
        digest=fingerprint({"seeds": list(seeds), "arms": arms, "settings": settings}),
        begun=_count(plan, POINTS),
        finished=_count(plan, SUMMARY),
        finished_elsewhere=finished_elsewhere,
        seeds=seeds,
        arms=arms,
        settings=settings,
    )
    if entries and entries[-1].digest == entry.digest:
        return
    if entries:
        lines = list(_describe_changes(plan, before, entries[-1], entry))
        more = [f"and {len(lines) - MOST_CHANGES} more"] if len(lines) > MOST_CHANGES else []
        entry = entry.model_copy(update={"changes": (*lines[:MOST_CHANGES], *more)})
    grown = PlanHistory(entries=(*entries, entry))
    write_json(plan.folder / Artifact.PLAN_HISTORY, grown.model_dump(mode="json"))


def _count(plan: Plan, name: str) -> int:
    """Return how many trainings of the folder have a file of this name."""
    return sum(1 for _ in (plan.folder / TRIALS).glob(f"*/{name}"))


def _digests(plan: Plan) -> dict[str, str]:
    """Return arm -> digest of its configuration; none of a search, whose points no one chose beforehand."""
    return {} if plan.search is not None else {arm: fingerprint(_deciding(of)) for arm, of in plan.arms.items()}


def _deciding(config: Config) -> dict[str, JsonValue]:
    """Return a configuration as plain values without what decides no result, and without the seed."""
    values = config.model_dump(mode="json")
    return without(values, (*RUN_ONLY, *pinned_keys(values), "seed"))


def _settings(plan: Plan, experiment: ExperimentConfig) -> dict[str, JsonValue]:
    """Return what is compared and how, and what results rest on beside the arms."""
    declared = experiment.model_dump(mode="json", exclude={"arms", "seeds", "paper"})
    settings: dict[str, JsonValue] = {f"experiment.{key}": value for key, value in flatten(declared).items()}
    search = plan.search
    if search is not None:
        strategy = flatten(search.strategy.model_dump(mode="json"))
        settings |= {f"search.{key}": value for key, value in strategy.items()}
        settings["search.confirm_seeds"] = list(search.confirm_seeds)
        settings["search.starting_point"] = fingerprint(_deciding(search.base))
    if plan.extension is not None:
        settings["extend"] = plan.extension.sha256
    versions = {f"versions.{name}": version for name, version in plan.provenance.versions.items()}
    data = sorted({trial.data_digest for trial in plan.trials})
    return {"name": plan.name, **settings, "code": plan.provenance.code, **versions, "data": list(data)}


def _describe_changes(plan: Plan, before: StoredPlan | None, last: PlanEntry, new: PlanEntry) -> Iterator[str]:
    """Yield a line for each difference between two entries, the newer one being of this plan."""
    yield from _describe_members("seed", last.seeds, new.seeds)
    yield from _describe_members("arm", last.arms, new.arms)
    changes: dict[str, list[str]] = {}
    for arm in new.arms.keys() & last.arms.keys():
        if new.arms[arm] != last.arms[arm]:
            for line in _changed_config(plan.arms[arm], None if before is None else before.arms.get(arm)):
                changes.setdefault(line, []).append(arm)
    for line, arms in sorted(changes.items()):
        yield _shorten(line if len(arms) == len(new.arms) else f"{line} (arm {', '.join(sorted(arms))})")
    for line in changed_keys(last.settings, new.settings):
        yield _shorten(line)


def _describe_members(noun: str, last: Collection[object], new: Collection[object]) -> Iterator[str]:
    added = [str(each) for each in new if each not in last]
    left_out = [str(each) for each in last if each not in new]
    for verb, members in (("added", added), ("left out", left_out)):
        if members:
            yield f"{noun}{'' if len(members) == 1 else 's'} {verb}: {', '.join(members)}"


def _changed_config(config: Config, before: dict[str, JsonValue] | None) -> list[str]:
    """Return `key: old -> new` of an arm; of one whose earlier configuration is not there, that it is another."""
    if before is None:
        return ["another configuration"]
    old = without(before, (*RUN_ONLY, *pinned_keys(before), "seed"))
    return changed_keys(old, _deciding(config)) or ["another configuration"]


def _shorten(line: str) -> str:
    """Return a line with digests of twelve digits, and without paths: the history is published."""
    without_paths = re.sub(r"'(?:/|~|[A-Za-z]:[\\/])[^']*'", "'<path>'", line)
    return re.sub(r"\b[0-9a-f]{64}\b", lambda digest: digest[0][:12], without_paths)
