"""First steps that trainings of a plan have in common: trained once, and taken from there by the others.

A training begins from the checkpoint of another one that is planned before it, so that there is never a circle. Of
those it is the one with most steps in common, which for any order makes the smallest number of steps in all.
"""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from fcos.storage.checkpoint_folder import CheckpointError, folder_of, newest_step, steps_in
from fcos.storage.run_folder import CHECKPOINTS, FORKS
from orchestration.experiment.common_steps import common_steps
from orchestration.experiment.prefixes import Prefix, Prefixes, Trunk
from orchestration.experiment.trials import Trial
from orchestration.planning.first_steps.recorded_extension import check_is_there
from orchestration.planning.plan import Plan
from orchestration.trial.retries import read_attempts

# Share of a training's steps from which on taking them over is worth waiting for.
LEAST_SHARE = 0.1
# Identity of a training -> trainings of other sweeps that have left checkpoints.
Elsewhere = Mapping[str, Sequence[Trunk]]


def find_prefixes(plan: Plan, pending: Sequence[Trial], elsewhere: Elsewhere) -> Prefixes:
    """Return what each of the trainings that are to run takes from another one.

    That one runs before it, or has left a checkpoint. Trainings of a search, which may end early, and those that have a
    checkpoint of their own, take nothing; nor does any with share_prefixes=false. Raises ConfigError where a checkpoint
    that was chosen by hand is gone before a training began from it.
    """
    if plan.extension is not None:
        new = [trial for trial in pending if not _has_begun(trial, plan.folder_of(trial))]
        check_is_there(plan.extension, new)
        return Prefixes({trial.identity: Prefix.by_choice(plan.extension, trial) for trial in new})
    if plan.search is not None or not plan.shares:
        return Prefixes()
    prefixes: dict[str, Prefix] = {}
    waiting = {trial.identity for trial in pending}
    earlier: dict[str, list[Trunk]] = {}
    for trial in (*(each for each in plan.trials if each.identity not in waiting), *pending):
        folder = plan.folder_of(trial)
        if trial.identity in waiting and not trial.is_coverage and not _has_begun(trial, folder):
            others = [Prefix(each, _last_held_step(each, trial)) for each in elsewhere.get(trial.identity, ())]
            own = [_offer(each, trial, prefixes, waiting) for each in earlier.get(trial.trunk, ())]
            # Of equals one that need not be waited for.
            best = max((*others, *own), key=lambda offer: (offer.step, not offer.waits), default=None)
            if best is not None and best.step >= LEAST_SHARE * trial.config.schedule.steps:
                prefixes[trial.identity] = best
        earlier.setdefault(trial.trunk, []).append(Trunk.of(trial, plan.name, folder))
    return Prefixes(prefixes)


def _has_begun(trial: Trial, folder: Path) -> bool:
    return newest_step(folder / CHECKPOINTS, trial.averages) > 0


def _offer(trunk: Trunk, trial: Trial, prefixes: Mapping[str, Prefix], waiting: Collection[str]) -> Prefix:
    """Return what a training can take from one of its plan; one that is to run leaves a checkpoint on its way.

    prefixes: what those take themselves that are to run, and hence pass over. waiting: identities of those that are.
    """
    held, begins = _last_held_step(trunk, trial), prefixes.get(trunk.identity)
    common = common_steps(trunk.schedule, trial.config.schedule)
    passed = max(0 if begins is None else begins.step, *held_checkpoints(trunk.folder), 0)
    leaves = trunk.identity in waiting and trial.averages <= trunk.averages and passed < common
    # For want of memory it goes on with smaller micro-batches, and its state is another one.
    if leaves and not read_attempts(trunk.folder).accumulate:
        return Prefix(trunk, common, waits=True)
    return Prefix(trunk, held)


def _last_held_step(trunk: Trunk, trial: Trial) -> int:
    """Return the last step of another training whose checkpoint a training can begin from; 0 where there is none."""
    if not trial.averages <= trunk.averages:
        return 0
    common = common_steps(trunk.schedule, trial.config.schedule)
    return max((step for step in held_checkpoints(trunk.folder) if step <= common), default=0)


def held_checkpoints(folder: Path) -> dict[int, Path]:
    """Return the checkpoints that a training has, by step, of which none is verified.

    Empty for one that went on with smaller micro-batches, for want of memory: its state is another one.
    """
    if read_attempts(folder).accumulate:
        return {}
    held: dict[int, Path] = {}
    for name in (CHECKPOINTS, FORKS):
        try:
            held |= {step: folder_of(folder / name, step) for step in steps_in(folder / name)}
        except CheckpointError:
            continue
    return held
