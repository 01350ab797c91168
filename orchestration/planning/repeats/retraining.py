"""Refuse to train again what is finished already, unless a reason is stated."""

from fcos.errors import ConfigError
from fcos.storage.checkpoint_folder import newest_step
from fcos.storage.run_folder import CHECKPOINTS
from orchestration.config.schema import LabConfig
from orchestration.experiment.trials import Trial
from orchestration.planning.plan import Plan
from orchestration.planning.reuse import is_done, rests_on_others
from orchestration.planning.seed_rounds import SeedRounds
from orchestration.tracking.history import History, PastRun
from orchestration.tracking.problems import TrackingError


def check_retraining(lab: LabConfig, plan: Plan, history: History | None) -> tuple[str, ...]:
    """Return a note on the trainings that reuse=false trains again, for the reason that the config states.

    A store that does not answer shows none; the report finds them. Raises ConfigError without a reason.
    """
    if lab.reuse or history is None:
        return ()
    try:
        finished = _find_finished(lab, plan, history)
    except TrackingError:
        return ()
    if not finished:
        return ()
    label, run = next(iter(finished.items()))
    more = f" and {len(finished) - 1} more" if len(finished) > 1 else ""
    if lab.retrain_reason is None:
        raise ConfigError(
            f"reuse=false: {label}{more} would be trained again, finished already as {run.name}; a training repeated "
            "until a number is better shows nothing, and on the same processor it gives the same numbers. Leave "
            "reuse=false out, or state why with retrain_reason='...', which the runs and the report show"
        )
    return (f"{label}{more}: trained again, finished already as {run.name}; retrain_reason: {lab.retrain_reason}",)


def _find_finished(lab: LabConfig, plan: Plan, history: History) -> dict[str, PastRun]:
    """Return the newest finished run of each training that this command would do, by the training's label."""
    runs = {trial.label: history.of_training(trial.identity) for trial in _left(lab, plan)}
    return {label: found[0] for label, found in runs.items() if found}


def _left(lab: LabConfig, plan: Plan) -> list[Trial]:
    """Return the trainings that this command would do, those of rounds that may follow too."""
    rounds = SeedRounds.of(plan, lab.experiment)
    needed = None if rounds is None else rounds.needed()
    # Where all is decided no round follows.
    indices = range(len(plan.trials)) if needed is None or not needed.complete else needed.indices
    trials = (plan.trials[index] for index in indices)
    return [
        trial
        for trial in trials
        if not trial.is_coverage and not is_done(plan, trial, reuse=False) and not _is_trained(plan, trial)
    ]


def _is_trained(plan: Plan, trial: Trial) -> bool:
    """Return whether this sweep has trained to the last step, so that an arm's evaluation alone is left."""
    if rests_on_others(plan, trial):
        return False
    step = newest_step(plan.folder_of(trial) / CHECKPOINTS, trial.averages)
    return step >= trial.config.schedule.steps
