"""Begin a training from another one's checkpoint: its state, its points up to there, and a record of the origin."""

import os
import shutil
from collections.abc import Iterable
from pathlib import Path

from fcos.config.run import ScheduleConfig
from fcos.errors import ConfigError
from fcos.storage.checkpoint_folder import CheckpointError, averages_in, folder_of, newest_step, step_of
from fcos.storage.run_folder import CHECKPOINTS, ORIGIN, POINTS, MetricPoint
from fcos.training.due import due_after
from orchestration.experiment.extension import KEY, Extension
from orchestration.experiment.prefixes import Prefix, Trunk
from orchestration.experiment.trials import Trial
from orchestration.planning.first_steps.planned_prefixes import held_checkpoints
from orchestration.trial import files
from orchestration.trial.failures import is_interrupted, read_failure
from orchestration.trial.origin import OriginRecord, write_origin
from orchestration.trial.retries import read_attempts


def begin_from(prefix: Prefix | None, trial: Trial, folder: Path) -> int:
    """Fill a training's folder with the newest checkpoint of another one up to a step; return the step of that one.

    Without a prefix the training begins at step 0, or from a checkpoint of its own. Where the other training has no
    checkpoint, as it failed, a note is added, and 0 is returned. The checkpoint gets its name last: a command that was
    killed in between finds nothing, and does it again. Raises ConfigError for one that was chosen by hand and cannot be
    read any more.
    """
    if prefix is None:
        if newest_step(folder / CHECKPOINTS, trial.averages) == 0:
            # Of an earlier attempt, whose checkpoints are of no use any more.
            (folder / ORIGIN).unlink(missing_ok=True)
        return 0
    trunk, problem, extension = prefix.trunk, "", prefix.extension
    held = _held_by(trunk) if extension is None else {extension.step: extension.path}
    for step in sorted((step for step in held if step <= prefix.step), reverse=True):
        try:
            partial = _copy(held[step], folder, trial.averages)
            _replace_points(folder, taken_points(trunk, trial, step))
            write_origin(folder, OriginRecord(files.training_id(trunk.folder), trunk.sweep, trunk.label, step))
            final = folder_of(folder / CHECKPOINTS, step)
            # A damaged one of this training's own.
            shutil.rmtree(final, ignore_errors=True)
            if extension is not None:
                _note_extension(folder, extension)
            # Not flushed to disk: a torn copy fails its hashes, and the training begins from an older one.
            os.replace(partial, final)
            return step
        except (CheckpointError, OSError) as error:
            problem = str(error)
    if extension is not None:
        raise ConfigError(f"{KEY}={extension.path}: cannot be taken any more: {problem}")
    (folder / ORIGIN).unlink(missing_ok=True)
    if not (trunk.folder.is_dir() and is_interrupted(trunk.folder)):
        reason = problem or _why_none(trunk.folder)
        files.add_note(folder, f"trained from the start, not from step {prefix.step} of {trunk.label}: {reason}")
    return 0


def _note_extension(folder: Path, extension: Extension) -> None:
    files.add_note(folder, extension.note)
    if kept := read_attempts(extension.run_folder).accumulate:
        text = f"schedule.accumulate={kept} there, for want of memory: its micro-batches were smaller than configured"
        files.add_note(folder, f"{KEY}: {text}")


def _held_by(trunk: Trunk) -> dict[int, Path]:
    try:
        return held_checkpoints(trunk.folder)
    except OSError:
        # Removed, or unreadable, since it was found.
        return {}


def _why_none(folder: Path) -> str:
    """Return why a training left no checkpoint to begin from."""
    if read_attempts(folder).accumulate:
        return "for want of memory it went on with smaller micro-batches"
    failure = read_failure(folder)
    return "its checkpoint is gone" if failure is None else failure.message.splitlines()[0]


def _copy(origin: Path, folder: Path, averages: frozenset[float]) -> Path:
    """Copy a checkpoint into a training's folder under a name that is none yet, verify it, and return its path.

    Files are linked where the file system can, as nothing changes them in place.
    """
    partial = folder / CHECKPOINTS / f".partial_{step_of(origin):08d}_{os.getpid()}"
    shutil.rmtree(partial, ignore_errors=True)
    shutil.copytree(origin, partial, copy_function=_link_or_copy)
    if not averages_in(partial) >= averages:
        raise CheckpointError(f"{origin}: lacks a moving average that is evaluated")
    return partial


def _link_or_copy(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def _replace_points(folder: Path, points: Iterable[MetricPoint]) -> None:
    # Whatever an attempt without a checkpoint reported is reported again.
    (folder / POINTS).unlink(missing_ok=True)
    files.append_points(folder, points)


def taken_points(trunk: Trunk, trial: Trial, step: int) -> list[MetricPoint]:
    """Return the points of another training up to a step that this one would have reported itself.

    Evaluations are taken for arms of the same evaluation settings, under the names that these have here.
    """
    schedule = trial.config.schedule
    like = {arm: trunk.arm_like(settings) for arm, settings in trial.arms.items()}
    taken = []
    for point in files.read_points(trunk.folder):
        if point.step > step or not _reports(schedule, point):
            continue
        if point.arm is None:
            taken.append(point)
        else:
            taken += [point._replace(arm=arm) for arm, theirs in like.items() if theirs == point.arm]
    return taken


def _reports(schedule: ScheduleConfig, point: MetricPoint) -> bool:
    due = due_after(schedule, point.step)
    return due.report if point.arm is None else due.evaluation
