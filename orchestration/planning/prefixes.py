"""First steps that trainings of a plan have in common: trained once, and taken from there by the others.

A training begins from the checkpoint of another one that is planned before it, so that there is never a circle. Of those
it is the one with most steps in common, which for any order makes the smallest number of steps in all.
"""

from collections.abc import Sequence
from pathlib import Path

from fcos.storage.run_folder import CHECKPOINTS, FORKS
from fcos.training.checkpoint import CheckpointError, folder_of, newest_step, steps_in
from orchestration.experiment.common_steps import common_steps
from orchestration.experiment.prefixes import Prefix, Prefixes
from orchestration.experiment.trials import Trial
from orchestration.planning.plan import Plan
from orchestration.trial.retries import read_attempts

# Share of a training's steps from which on taking them over is worth waiting for.
LEAST_SHARE = 0.1


def find_prefixes(plan: Plan, pending: Sequence[Trial]) -> Prefixes:
    """Return what each of the trainings that are to run takes from another one of the plan.

    That one runs before it, or has left a checkpoint. Trainings of a search, which may end early, and those that have a
    checkpoint of their own, take nothing.
    """
    if plan.search is not None:
        return Prefixes()
    found: dict[str, Prefix] = {}
    waiting = {trial.identity for trial in pending}
    earlier: dict[str, list[Trial]] = {}
    for trial in plan.trials:
        if trial.identity not in waiting:
            earlier.setdefault(trial.trunk, []).append(trial)
    for trial in pending:
        own = newest_step(plan.folder_of(trial) / CHECKPOINTS, trial.averages)
        if not own and not trial.is_coverage:
            offers = [
                Prefix(other, _step_from(plan, other, trial, runs=other.identity in waiting))
                for other in earlier.get(trial.trunk, ())
            ]
            # The first of equals.
            best = max(offers, key=lambda offer: offer.step, default=None)
            if best is not None and best.step >= LEAST_SHARE * trial.config.schedule.steps:
                found[trial.identity] = best
        earlier.setdefault(trial.trunk, []).append(trial)
    return Prefixes(found)


def _step_from(plan: Plan, other: Trial, trial: Trial, *, runs: bool) -> int:
    """Return the last step of another training that a training can begin from; 0 where there is none."""
    if not trial.averages <= other.averages:
        return 0
    common = common_steps(other.config.schedule, trial.config.schedule)
    held = held_checkpoints(plan.folder_of(other))
    if common in held or (runs and max(held, default=0) < common):
        return common
    return max((step for step in held if step <= common), default=0)


def held_checkpoints(folder: Path) -> dict[int, Path]:
    """Return the checkpoints that a training has, by step, of which none is verified.

    Empty for one that went on with smaller micro-batches, for want of memory: its state is another one.
    """
    if read_attempts(folder).accumulate:
        return {}
    found: dict[int, Path] = {}
    for name in (CHECKPOINTS, FORKS):
        try:
            found |= {step: folder_of(folder / name, step) for step in steps_in(folder / name)}
        except CheckpointError:
            continue
    return found
