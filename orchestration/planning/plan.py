"""The plan of a sweep, and the one that its folder already holds."""

import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from fcos.config.run import Config
from fcos.errors import ConfigError
from fcos.storage.run_folder import CHECKPOINTS, SUMMARY, RunSummary
from fcos.storage.store_conventions import RUN_ONLY, Artifact
from orchestration.experiment.data import DatasetInfo, PreparedDatasets
from orchestration.experiment.extension import Extension
from orchestration.experiment.identity import without, worker_dependences_of
from orchestration.experiment.plan_additions import (
    Addition,
    append_addition,
    has_additions,
    is_whole_plan_due,
    read_planned,
    remove_additions,
    stored_key,
)
from orchestration.experiment.prefixes import Prefixes
from orchestration.experiment.provenance import Provenance
from orchestration.experiment.training_folder import TRIALS, short_identity
from orchestration.experiment.trials import Trial, changed_keys
from orchestration.experiment.weights import pinned_keys
from orchestration.planning.seed_order import SeedOrder
from orchestration.search.points import Search
from orchestration.search.stored_search import StoredSearch, search_differences
from orchestration.trial.files import read_summary, write_json, write_sweep_notes

PLAN = Artifact.PLAN
# Differences that a message lists.
MOST_LINES = 20


@dataclass(frozen=True)
class Plan:
    """All that a sweep will train, and where."""

    name: str
    folder: Path
    trials: Sequence[Trial]
    provenance: Provenance
    # Arm -> its resolved config.
    arms: Mapping[str, Config]
    # Remarks on the data, such as dropped boxes.
    notes: tuple[str, ...] = field(default=())
    # Of them those that no training finds by itself, on a folder whose own COCO files are used.
    folder_notes: tuple[str, ...] = ()
    # None for arms that were given by name.
    search: Search | None = None
    # Whether trainings take first steps from others (share_prefixes).
    shares: bool = True
    # Where seeds are added until all is decided (until=decided), those of the first round; else empty.
    first_round: tuple[int, ...] = ()
    # The checkpoint that all trainings go on from, by choice (extend).
    extension: Extension | None = None
    # First steps that trainings take from others, as far as is known before anything runs.
    prefixes: Prefixes = field(default_factory=Prefixes)
    # The data that were prepared for it, of points that are drawn later too; None where none were prepared.
    datasets: PreparedDatasets | None = None

    @property
    def adds_seeds(self) -> bool:
        """Whether seeds are added until all is decided."""
        return bool(self.first_round)

    def folder_of(self, trial: "Trial | StoredTrial") -> Path:
        """Return a training's own folder."""
        return self.folder / TRIALS / trial.short

    def summary_of(self, trial: Trial) -> RunSummary | None:
        """Return the summary of a training that is finished, or None."""
        prunes = self.search is not None and self.search.prunes
        return read_summary(self.folder_of(trial), trial.identity, trial.arms, or_pruned=prunes)

    def data_of(self, trial: Trial) -> DatasetInfo | None:
        """Return what is known of a training's data, or None."""
        return None if self.datasets is None else self.datasets.find(trial.data_digest)

    def grow(self, arm: str, config: Config, trial: Trial) -> None:
        """Add a training of a point that a search has sampled."""
        assert isinstance(self.arms, dict) and isinstance(self.trials, list)
        self.arms[arm] = config
        self.trials.append(trial)


class StoredTrial(BaseModel):
    """A training in plan.json."""

    model_config = ConfigDict(frozen=True)

    identity: str
    seed: int
    # Arm -> identity of its evaluation.
    arms: dict[str, str]
    data: str

    @classmethod
    def of(cls, trial: Trial) -> "StoredTrial":
        """Return what is stored of a training."""
        arms = {arm: trial.identity_of(arm) for arm in trial.arms}
        return cls(identity=trial.identity, seed=trial.seed, arms=arms, data=trial.data_digest)

    @property
    def short(self) -> str:
        """The part of the identity that names the training's folder."""
        return short_identity(self.identity)


class StoredPlan(BaseModel):
    """The content of plan.json: all that commands of this sweep have planned so far."""

    model_config = ConfigDict(frozen=True)

    # Names the sweep in the tracking store.
    key: str
    name: str | None = None
    code: str
    versions: dict[str, str]
    workers: int = 1
    # Arm -> its config as plain values.
    arms: dict[str, dict[str, Any]]
    trials: list[StoredTrial]
    search: StoredSearch | None = None
    # Numbers of seeds at which commands of this sweep looked at the arms.
    looks: list[int] = []
    # See SeedOrder; empty of searches, and in plans by older versions.
    seeds: list[int] = []
    rounds_from: int | None = None
    given_after: int | None = None
    # That of the newest command, see Plan; empty in plans by older versions.
    first_round: list[int] = []
    # The checkpoint that all trainings go on from, by choice.
    extension: Extension | None = None

    @classmethod
    def of(cls, plan: Plan, key: str) -> "StoredPlan":
        """Return what is stored of a plan."""
        provenance = plan.provenance
        return cls(
            key=key,
            name=plan.name,
            code=provenance.code,
            versions=dict(provenance.versions),
            workers=provenance.workers,
            arms={arm: config.model_dump(mode="json") for arm, config in plan.arms.items()},
            trials=[StoredTrial.of(trial) for trial in plan.trials],
            search=None if plan.search is None else StoredSearch.of(plan.search),
            first_round=list(plan.first_round),
            extension=plan.extension,
        )

    def merged(self, new: "StoredPlan") -> "StoredPlan":
        """Add a plan: arms, points and trials that are left out this time stay, as their results do."""
        trials = {trial.identity: trial for trial in (*self.trials, *new.trials)}
        search = new.search or self.search
        if new.search is not None and self.search is not None:
            search = new.search.merged_into(self.search)
        arms = {**self.arms, **new.arms}
        update = {
            "arms": arms,
            "trials": list(trials.values()),
            "search": search,
            "looks": sorted({*self.looks, *new.looks}),
            "extension": new.extension or self.extension,
        }
        return new.model_copy(update=update).with_order(self.order)

    def with_looks(self, looks: Iterable[int]) -> "StoredPlan":
        """Return the plan with further looks."""
        return self.model_copy(update={"looks": sorted({*self.looks, *looks})})

    @property
    def order(self) -> SeedOrder:
        """The order of its seeds."""
        return SeedOrder(tuple(self.seeds), self.rounds_from, self.given_after)

    def with_order(self, order: SeedOrder) -> "StoredPlan":
        """Return the plan with the order of its seeds."""
        update = {"seeds": list(order.seeds), "rounds_from": order.rounds_from, "given_after": order.given_after}
        return self.model_copy(update=update)

    def values(self) -> dict[str, Any]:
        """Return the plan as plain values, without what it does not have."""
        optional = ("search", "extension", "rounds_from", "given_after")
        return self.model_dump(mode="json", exclude={name for name in optional if getattr(self, name) is None})


def read_plan(folder: Path) -> StoredPlan | None:
    """Return the plan that a sweep's folder holds, None where there is none.

    Raises ConfigError for a file that is no plan or cannot be read.
    """
    path = folder / PLAN
    try:
        return StoredPlan.model_validate(read_planned(folder))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise unreadable_output(path, error) from None
    except (ValidationError, ValueError, TypeError):
        raise ConfigError(f"{path}: not readable as a plan; remove that folder or give another name=...") from None


def unreadable_output(path: Path, error: OSError) -> ConfigError:
    """Return the refusal of a sweep whose files another user or a fault keeps from being read."""
    way_out = "give another name=..., or output=<folder>, or have its owner open it"
    return ConfigError(f"output: {path} cannot be read ({error.strerror}); {way_out}")


def has_result(folder: Path, identity: str) -> bool:
    """Return whether a training of a sweep's folder has a result; False where one may not look."""
    try:
        return (folder / TRIALS / short_identity(identity) / SUMMARY).exists()
    except OSError:
        return False


def find_seed_order(plan: Plan, stored: StoredPlan | None) -> SeedOrder:
    """Return the order in which the seeds of a command count; an empty one for a search, which has no such looks.

    stored: what its folder holds.
    """
    if plan.search is not None:
        return SeedOrder()
    before = SeedOrder() if stored is None else _order_before(plan, stored)
    counted = [] if stored is None else count_seeds(plan, stored)
    planned = tuple(dict.fromkeys(trial.seed for trial in plan.trials))
    return before.follow(planned, counted, has_rounds=plan.adds_seeds)


def count_seeds(plan: Plan, stored: StoredPlan) -> list[int]:
    """Return the seeds of earlier commands that have a result or were looked at without one, in their order."""
    seeds = _order_before(plan, stored).seeds
    looked_at = seeds[: max(stored.looks, default=0)]
    done = {trial.seed for trial in stored.trials if has_result(plan.folder, trial.identity)}
    return [seed for seed in seeds if seed in done or seed in looked_at]


def _order_before(plan: Plan, stored: StoredPlan) -> SeedOrder:
    """Return the order that a plan records; of an older version that of its trainings, with rounds as now."""
    if stored.seeds:
        return stored.order
    return SeedOrder(tuple(dict.fromkeys(trial.seed for trial in stored.trials)), 0 if plan.adds_seeds else None)


def settle_plan(plan: Plan, looks: Iterable[int] = ()) -> str:
    """Write the plan into its folder, or compare it with the one that is there; return the sweep's key.

    looks: that count here beside those of its own commands. They are written with the seeds that were added after them:
    a command that is killed loses neither or both.

    Seeds and arms may be added or left out; what a finished training rests on may not change under its name.
    Raises ConfigError with the differences.
    """
    plan.folder.mkdir(parents=True, exist_ok=True)
    before = read_plan(plan.folder)
    differences = [] if before is None else _differences(before, plan)
    if differences and any((plan.folder / TRIALS).glob(f"*/{CHECKPOINTS}/*")):
        listed = "\n".join(f"  {line}" for line in differences[:MOST_LINES])
        raise ConfigError(
            f"name={plan.name}: {plan.folder} holds runs of another configuration:\n{listed}\n"
            "give another name=..., or remove that folder"
        )
    new_key = uuid.uuid4().hex
    if before is None or differences:
        # Nothing is trained yet: runs of an earlier command in the tracking store are of another plan.
        stored = StoredPlan.of(plan, new_key)
    else:
        # A folder that was copied or renamed: the runs in the tracking store are those of the sweep that it was.
        same = before.name in (None, plan.name)
        stored = before.merged(StoredPlan.of(plan, before.key if same else new_key))
    order = find_seed_order(plan, None if differences else before)
    stored = stored.with_looks(looks).with_order(order)
    _write_plan(plan.folder, stored)
    write_sweep_notes(plan.folder, plan.folder_notes)
    return stored.key


def _write_plan(folder: Path, stored: StoredPlan) -> None:
    write_json(folder / PLAN, stored.values())
    remove_additions(folder)


def update_plan(plan: Plan) -> None:
    """Store the training that was added to a plan last; a small plan is written whole, with all that it has."""
    if not is_whole_plan_due(len(plan.trials)):
        trial = plan.trials[-1]
        arm = next(iter(trial.arms))
        point = None if plan.search is None else plan.search.drawn.get(arm)
        addition = Addition(
            key=stored_key(plan.folder),
            arm=arm,
            config=plan.arms[arm].model_dump(mode="json"),
            trial=StoredTrial.of(trial).model_dump(mode="json"),
            point=None if point is None else point.model_dump(mode="json"),
        )
        append_addition(plan.folder, addition)
        return
    before = read_plan(plan.folder)
    assert before is not None, "settled before anything is drawn"
    _write_plan(plan.folder, before.merged(StoredPlan.of(plan, before.key)))


def complete_plan(folder: Path) -> None:
    """Write the plan of a folder whole where trainings were added to it."""
    if has_additions(folder) and (stored := read_plan(folder)) is not None:
        _write_plan(folder, stored)


def add_looks(plan: Plan, looks: Iterable[int]) -> list[int]:
    """Store at how many seeds the arms were looked at; return the looks of all commands so far."""
    before = read_plan(plan.folder)
    assert before is not None, "settled before anything is trained"
    stored = before.with_looks(looks)
    if stored != before:
        _write_plan(plan.folder, stored)
    return stored.looks


def _differences(before: StoredPlan, now: Plan) -> list[str]:
    """List what a finished training rests on and what is not as it was."""
    arms = {arm: config.model_dump(mode="json") for arm, config in now.arms.items() if arm in before.arms}
    changes: dict[str, list[str]] = {}
    for arm, config in arms.items():
        pair = (before.arms[arm], config)
        old, new = (without(values, (*RUN_ONLY, *pinned_keys(values), "seed")) for values in pair)
        for line in changed_keys(old, new):
            changes.setdefault(line, []).append(arm)
    lines = [line if len(of) == len(arms) else f"{line} (arm {', '.join(of)})" for line, of in changes.items()]
    if now.search is not None and before.search is not None:
        lines = search_differences(before.search, now.search, lines)
    provenance = now.provenance
    if before.code != provenance.code:
        lines.append("the code of fcos/ changed")
    if any(worker_dependences_of(trial.config) for trial in now.trials):
        lines += changed_keys({"cluster.workers": before.workers}, {"cluster.workers": provenance.workers})
    lines += changed_keys({"versions": before.versions}, {"versions": dict(provenance.versions)})
    data_before = {trial.data for trial in before.trials}
    if not lines and not {trial.data_digest for trial in now.trials} <= data_before and before.trials:
        lines.append("the data changed")
    return lines
