"""What follows a step of a training: a report, an evaluation, a checkpoint."""

from typing import NamedTuple

from fcos.config.run import ScheduleConfig


class Due(NamedTuple):
    """What a schedule requires after one step; whatever is evaluated or saved is reported too."""

    evaluation: bool
    checkpoint: bool
    report: bool


def due_after(schedule: ScheduleConfig, step: int) -> Due:
    """Return what follows a step, counted from 1."""
    last = step == schedule.steps
    evaluation = last or (schedule.eval_every is not None and step % schedule.eval_every == 0)
    checkpoint = last or step % schedule.checkpoint_every == 0
    return Due(evaluation, checkpoint, evaluation or checkpoint or step % schedule.log_every == 0)
