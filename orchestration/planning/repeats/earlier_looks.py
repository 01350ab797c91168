"""Looks at the same trainings under another name, or before seeds were added: they count in this sweep too.

A sweep that takes seeds 0 to 2 from another one, and was begun because of what that showed, has been looked at after
three seeds. Found by the evaluation identities of the trainings, in the plans of the output folder and in the store.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from fcos.errors import ConfigError
from fcos.storage.store_conventions import Tag
from orchestration.config.experiment import ExperimentConfig
from orchestration.planning.plan import PLAN, Plan, StoredPlan, count_seeds, find_seed_order, has_result, read_plan
from orchestration.tracking.history import History
from orchestration.tracking.problems import TrackingError


@dataclass(frozen=True)
class EarlierLooks:
    """Numbers of this sweep's seeds at which its arms were looked at before, and who looked."""

    seeds: tuple[int, ...]
    text: str


@dataclass(frozen=True)
class LookRecord:
    """The earlier looks at a plan's trainings. unknown: why those of the store are not known, "" where they are."""

    found: tuple[EarlierLooks, ...] = ()
    unknown: str = ""

    @property
    def seeds(self) -> tuple[int, ...]:
        """All numbers of seeds at which the arms were looked at."""
        return tuple(sorted({seeds for each in self.found for seeds in each.seeds}))

    @property
    def notes(self) -> tuple[str, ...]:
        """A line for each look, and one where there may be more."""
        gap = f"looks at these trainings that the store has are not known and not counted: {self.unknown}"
        return (*(each.text for each in self.found), *([gap] if self.unknown else []))


# Seed -> evaluation identity of the baseline, and those of all other arms.
_Compared = Mapping[int, tuple[str, frozenset[str]]]


def find_earlier_looks(
    plan: Plan, experiment: ExperimentConfig | None, history: History | None, outage: str = ""
) -> LookRecord:
    """Return the looks at trainings of this plan that are not in its own record; none where nothing is compared.

    A store that does not answer, or stops to, gives those of the output folder and what it gave before. outage: why it
    cannot be read, "" where it can.
    """
    if experiment is None or experiment.baseline is None or experiment.kind != "comparison":
        return LookRecord()
    compared = _compared_identities(plan, experiment.baseline)
    own = read_plan(plan.folder)
    found: dict[str, set[int]] = {}
    # Keys of sweeps: one stands in folder and store as a rule, and its folder has more of it.
    known: set[str] = set() if own is None else {own.key}
    for folder, stored in _other_plans(plan):
        if looks := _looks_of_plan(folder, stored, compared):
            found.setdefault(folder.name, set()).update(looks)
            known.add(stored.key)
    if history is not None:
        try:
            # Of one name there may be several, one after the other.
            for name, looks in _looks_in_store(plan, compared, history, known):
                found.setdefault(name, set()).update(looks)
        except TrackingError as error:
            outage = str(error)
    counted = {len(find_seed_order(plan, own).seeds), *(own.looks if own is not None else ())}
    new = {name: tuple(sorted(looks - counted)) for name, looks in found.items()}
    elsewhere = [
        EarlierLooks(seeds, f"sweep {name} was looked at after {_listed(seeds)} of these seeds, which counts here too")
        for name, seeds in new.items()
        if seeds
    ]
    return LookRecord((*_look_before_more_seeds(plan, own), *elsewhere), outage)


def _look_before_more_seeds(plan: Plan, own: StoredPlan | None) -> tuple[EarlierLooks, ...]:
    """Return the look at the seeds with results where others are added now, also after a command that was killed.

    Seeds that rounds planned and did not begin are others where a command gives its seeds now. Those of the first round
    are not, also where it was killed: they were to be trained whatever came out.
    """
    if own is None or not any(has_result(plan.folder, trial.identity) for trial in own.trials):
        return ()
    # What gave no result counts as a seed of the look that was recorded.
    counted = count_seeds(plan, own)
    rounds_end = own.order.has_rounds and not plan.adds_seeds
    known = [*counted, *own.first_round] if rounds_end else own.seeds or [trial.seed for trial in own.trials]
    if {trial.seed for trial in plan.trials} <= {*known} or len(counted) in own.looks:
        return ()
    text = f"seeds are added to {len(counted)} with results, which counts as a look at these"
    return (EarlierLooks((len(counted),), text),)


def _listed(numbers: Sequence[int]) -> str:
    return " and ".join(str(number) for number in numbers)


def _compared_identities(plan: Plan, baseline: str) -> _Compared:
    by_seed: dict[int, dict[str, str]] = {}
    for trial in plan.trials:
        by_seed.setdefault(trial.seed, {}).update({arm: trial.identity_of(arm) for arm in trial.arms})
    return {
        seed: (arms[baseline], frozenset(identity for arm, identity in arms.items() if arm != baseline))
        for seed, arms in by_seed.items()
        if baseline in arms
    }


def _count_seeds(compared: _Compared, known: Collection[str]) -> int:
    """Return in how many seeds the baseline and another arm are among known evaluation identities."""
    return sum(baseline in known and not others.isdisjoint(known) for baseline, others in compared.values())


def _other_plans(plan: Plan) -> Iterator[tuple[Path, StoredPlan]]:
    """Yield folder and plan of the other sweeps in the output folder."""
    for file in sorted(plan.folder.parent.glob(f"*/{PLAN}")):
        folder = file.parent
        if folder == plan.folder:
            continue
        try:
            stored = read_plan(folder)
        except (ConfigError, OSError):
            # The commands of that sweep report it.
            continue
        if stored is not None:
            yield folder, stored


def _looks_of_plan(folder: Path, stored: StoredPlan, compared: _Compared) -> tuple[int, ...]:
    """Return the looks of another sweep's plan; where none is recorded, one at what has a result."""
    trials = stored.trials
    if not stored.looks:
        trials = [trial for trial in trials if has_result(folder, trial.identity)]
    shared = _count_seeds(compared, {identity for trial in trials for identity in trial.arms.values()})
    return _within(stored.looks, shared)


def _within(looks: Sequence[int], shared: int) -> tuple[int, ...]:
    """Return looks as numbers of shared seeds; without any recorded, one look at all of these."""
    return tuple(sorted({min(look, shared) for look in looks or (shared,)})) if shared else ()


def _looks_in_store(
    plan: Plan, compared: _Compared, history: History, known: Collection[str]
) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Yield name and looks of sweeps in the store, whose folders may be elsewhere or gone.

    known: keys of those whose looks are known.
    """
    names: dict[str, str] = {}
    finished: dict[str, set[str]] = {}
    by_training = history.of_trainings([trial.identity for trial in plan.trials])
    for run in (run for runs in by_training.values() for run in runs):
        parent = run.tags.get(Tag.PARENT_RUN)
        if parent is None or run.tags.get(Tag.SWEEP_KEY) in known:
            continue
        names[parent] = run.sweep
        finished.setdefault(parent, set()).add(run.identity)
    for parent, identities in finished.items():
        if seeds := _within(history.looks_of(parent), _count_seeds(compared, identities)):
            yield names[parent], seeds
