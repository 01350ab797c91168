"""The state of a training on disk: restored from its newest good checkpoint, saved by rank 0.

Such a checkpoint may be one that a training with the same first steps has left: a fork.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from fcos.config.run import Config, ScheduleConfig
from fcos.distributed import broadcast_object, gather_objects
from fcos.runtime import Runtime
from fcos.storage import checkpoint_folder
from fcos.storage.checkpoint_folder import CheckpointError
from fcos.storage.run_folder import CHECKPOINTS, FORKS, BestEvaluation
from fcos.training import checkpoint
from fcos.training.best import write_best
from fcos.training.due import due_after
from fcos.training.elastic import WorkerHistory
from fcos.training.optim import resume_scheduler
from fcos.training.step import LossLog, TrainState

# Keys of a schedule in which a training may differ from one whose first steps it takes.
RATES: Final = ("steps", "warmup", "warmup_steps", "warmup_factor", "decay", "milestones", "decay_factor")


@dataclass(frozen=True)
class Restored:
    """Where a training goes on."""

    # Step of the checkpoint, 0 without one.
    step: int
    # Checkpoints that were passed over, as damaged or without an average.
    notes: list[str]
    workers: WorkerHistory
    # Whether a training with another schedule saved the checkpoint.
    forked: bool = False
    # Whether the evaluation after that step was given up for a preemption, and is still to be done.
    unevaluated: bool = False


def restore(state: TrainState, log: LossLog, schedule: ScheduleConfig, runtime: Runtime) -> Restored:
    """Load the newest good checkpoint into the state, the log of losses and the random generators.

    One without a moving average that is evaluated is passed over. Rank 0 chooses it, so that workers who see the folder
    differently do not begin at different steps.
    """
    folder = runtime.directory / CHECKPOINTS
    newest, problems = checkpoint.latest(folder, tuple(state.averages)) if runtime.rank == 0 else (None, [])
    step, problems = broadcast_object((0 if newest is None else newest.step, problems), runtime.device)
    if step == 0:
        return Restored(0, problems, [])
    newest = newest or checkpoint.load(checkpoint_folder.folder_of(folder, step))
    state.detector.load_state_dict(newest.model)
    for decay, average in state.averages.items():
        average.module.load_state_dict(newest.weights_of(decay))
        average.n_averaged.fill_(step)
    state.optimizer.load_state_dict(newest.state["optimizer"])
    resume_scheduler(state.scheduler, newest.state["scheduler"])
    state.scaler.load_state_dict(newest.state["scaler"])
    if state.loss.history is not None:
        state.loss.history.copy_(newest.state["normalizer"])
    generators = newest.state["generators"]
    set_generator_states(generators[runtime.rank % len(generators)])
    forked = _rates(newest.config["schedule"]) != _rates(schedule.model_dump(mode="json"))
    due = due_after(schedule, step)
    unevaluated = due.evaluation and bool(newest.state.get("unevaluated", False))
    if unevaluated or not due.report or (forked and step == schedule.steps):
        # Losses that this training has yet to report; those before a report were saved with it.
        log.averaged = newest.state.get("losses", log.averaged)
        # They were reported before their evaluation was given up.
        log.is_read = unevaluated
    return Restored(step, problems, newest.state.get("workers", []), forked, unevaluated)


def _rates(schedule: Mapping[str, Any]) -> list[Any]:
    return [schedule.get(key) for key in RATES]


@dataclass(frozen=True)
class StateWriter:
    """Writes checkpoints of one training."""

    config: Config
    runtime: Runtime
    classes: tuple[str, ...]
    state: TrainState
    workers: WorkerHistory

    def save(self, step: int, losses: Tensor, best: BestEvaluation | None, *, unevaluated: bool = False) -> None:
        """Write a checkpoint from rank 0; a collective, which every worker leaves only when the checkpoint is whole.

        `losses` are the terms of each step since the last report before this step, averaged over the workers.
        `unevaluated` makes whoever goes on from there begin with the evaluation after this step.
        """
        folder = self.runtime.directory / CHECKPOINTS
        generators = gather_objects(generator_states())
        if self.runtime.rank == 0:
            if best is not None:
                # First: a run that is cut off in between finds no checkpoint there, and evaluates that step again.
                write_best(folder, best)
            self._write(folder, step, losses, generators, unevaluated=unevaluated)
            keep = self.config.schedule.keep_checkpoints
            checkpoint_folder.prune(folder, keep, None if best is None else best.step, newest=step)
        broadcast_object(None, self.runtime.device)

    def save_fork(self, step: int, losses: Tensor) -> None:
        """Write a checkpoint that other trainings go on from, unless it is there already; a collective as `save`."""
        folder = self.runtime.directory / FORKS
        generators = gather_objects(generator_states())
        # One that is whole may be being copied.
        if self.runtime.rank == 0 and not _is_whole(checkpoint_folder.folder_of(folder, step), self.state.averages):
            self._write(folder, step, losses, generators)
        broadcast_object(None, self.runtime.device)

    def _write(
        self,
        folder: Path,
        step: int,
        losses: Tensor,
        generators: list[dict[str, Tensor]],
        *,
        unevaluated: bool = False,
    ) -> None:
        state = self.state
        checkpoint.save(
            folder,
            step=step,
            config=self.config.model_dump(mode="json"),
            classes=self.classes,
            model=state.detector,
            averages={decay: average.module for decay, average in state.averages.items()},
            state={
                "optimizer": state.optimizer.state_dict(),
                "scheduler": state.scheduler.state_dict(),
                "scaler": state.scaler.state_dict(),
                "normalizer": state.loss.history,
                "losses": losses,
                "generators": generators,
                "workers": self.workers,
                "unevaluated": unevaluated,
            },
        )


def _is_whole(path: Path, averages: Collection[float]) -> bool:
    try:
        return checkpoint_folder.averages_in(path) >= set(averages)
    except CheckpointError:
        return False


def generator_states() -> dict[str, Tensor]:
    """Return the states of torch's random generators in this process."""
    states = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        states["cuda"] = torch.cuda.get_rng_state()
    return states


def set_generator_states(states: Mapping[str, Tensor]) -> None:
    """Set torch's random generators of this process to states that `generator_states` returned."""
    torch.set_rng_state(states["cpu"])
    if "cuda" in states and torch.cuda.is_available():
        torch.cuda.set_rng_state(states["cuda"])
