"""Refuse to train again what is finished already, unless a reason is stated."""

from collections.abc import Sequence

from fcos.errors import ConfigError
from fcos.storage.checkpoint_folder import newest_step
from fcos.storage.run_folder import CHECKPOINTS
from orchestration.config.schema import LabConfig
from orchestration.experiment.trials import Trial
from orchestration.planning.plan import Plan
from orchestration.planning.reuse import is_done, rests_on_others
from orchestration.planning.seed_rounds import SeedRounds
from orchestration.tracking.history import History, TaggedRun
from orchestration.tracking.problems import TrackingError


def check_retraining(lab: LabConfig, plan: Plan, history: History | None, outage: str = "") -> tuple[str, ...]:
    """Return a note on the trainings that reuse=false trains again, for the reason that the config states.

    outage: why the store cannot be read, "" where it can. Raises ConfigError without a reason, also where a store that
    does not answer may have finished ones.
    """
    left = [] if lab.reuse else _left(lab, plan)
    finished: dict[str, TaggedRun] = {}
    if left and history is not None:
        try:
            finished = _find_finished(left, history)
        except TrackingError as error:
            outage = str(error)
    if left and outage:
        return (_describe_outage(lab, outage),)
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


def _describe_outage(lab: LabConfig, outage: str) -> str:
    """Return a note on trainings that may be finished in a store; raises ConfigError without a reason for them."""
    unknown = f"whether these trainings are finished already is not known: {outage}"
    if lab.retrain_reason is None:
        raise ConfigError(
            f"reuse=false: {unknown}; start again when the store can be read, leave reuse=false out, or state why they "
            "would be trained again with retrain_reason='...', which the runs and the report show"
        )
    return f"{unknown}; retrain_reason: {lab.retrain_reason}"


def _find_finished(left: Sequence[Trial], history: History) -> dict[str, TaggedRun]:
    """Return the newest finished run of each training that this command would do, by the training's label."""
    runs = history.of_trainings([trial.identity for trial in left])
    return {trial.label: runs[trial.identity][0] for trial in left if runs[trial.identity]}


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
