"""What is finished is trained again for a stated reason alone."""

from pathlib import Path

import pytest
from torch import nn

from fcos.errors import ConfigError
from fcos.training import checkpoint
from orchestration.config.compose import compose
from orchestration.config.overrides import check_overrides
from orchestration.config.schema import LabConfig
from orchestration.experiment.trials import Trial
from orchestration.planning.make_plan import make_plan
from orchestration.planning.plan import Plan
from orchestration.planning.repeats.retraining import check_retraining
from orchestration.tracking.history import PastRun
from orchestration.trial import files
from tests.helpers.experiments.seed_rounds import clear, finish, plan_rounds
from tests.helpers.experiments.stored_runs import StoredRuns
from tests.helpers.experiments.summaries import summary_of


def store_of(*identities: str) -> StoredRuns:
    """Return a history with a finished run of each of these trainings."""
    tags = [{"fcos.sweep": "first", "fcos.train_identity": identity} for identity in identities]
    return StoredRuns(*(PastRun("12345678abc", each, {}, {}) for each in tags))


SILENT = StoredRuns(problem="does not answer")


def lab_and_plan(tmp_path: Path, *words: str) -> tuple[LabConfig, Plan]:
    given = ("+experiment=ablation_centerness", "experiment.seeds=[0,1]", f"output={tmp_path}", *words)
    lab = compose(check_overrides(given))
    return lab, make_plan(lab, lambda config: ("d", ()))


def check(lab: LabConfig, plan: Plan, store: StoredRuns | None, outage: str = "") -> tuple[str, ...]:
    return check_retraining(lab, plan, store, outage)


def test_a_finished_training_is_not_trained_again_without_a_reason(tmp_path: Path) -> None:
    lab, plan = lab_and_plan(tmp_path, "reuse=false")
    store = store_of(*(trial.identity for trial in plan.trials))
    message = r"reuse=false: none, from_regression · seed 0 and 3 more would be trained again, finished already as "
    with pytest.raises(ConfigError, match=message + r"run 12345678 of first; .* retrain_reason="):
        check(lab, plan, store)
    lab, plan = lab_and_plan(tmp_path, "reuse=false", "retrain_reason=another processor")
    (note,) = check(lab, plan, store)
    assert note.endswith("finished already as run 12345678 of first; retrain_reason: another processor")


def test_what_is_new_or_done_here_needs_none(tmp_path: Path) -> None:
    lab, plan = lab_and_plan(tmp_path, "reuse=false")
    assert check(lab, plan, store_of("another")) == ()
    finish(plan, range(len(plan.trials)), clear)
    assert check(lab, plan, store_of(*(trial.identity for trial in plan.trials))) == (), "nothing is trained again"


def test_with_reuse_nothing_is_trained_again(tmp_path: Path) -> None:
    lab, plan = lab_and_plan(tmp_path)
    assert check(lab, plan, store_of(*(trial.identity for trial in plan.trials))) == ()


@pytest.mark.parametrize(("store", "outage"), [(SILENT, ""), (None, "does not answer")], ids=["later", "at once"])
def test_a_store_that_does_not_answer_may_have_finished_them(
    tmp_path: Path, store: StoredRuns | None, outage: str
) -> None:
    lab, plan = lab_and_plan(tmp_path, "reuse=false")
    message = r"reuse=false: whether these trainings are finished already is not known: does not answer; start again"
    with pytest.raises(ConfigError, match=message):
        check(lab, plan, store, outage)
    stated, _ = lab_and_plan(tmp_path, "reuse=false", "retrain_reason=another processor")
    (note,) = check(stated, plan, store, outage)
    assert note.endswith("is not known: does not answer; retrain_reason: another processor")
    finish(plan, range(len(plan.trials)), clear)
    assert check(lab, plan, store, outage) == (), "nothing is trained again"


def test_without_a_store_nothing_is_finished_elsewhere(tmp_path: Path) -> None:
    lab, plan = lab_and_plan(tmp_path, "reuse=false")
    assert check(lab, plan, None) == ()


def test_a_reason_without_training_again_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"retrain_reason='x': has no effect without reuse=false"):
        compose(check_overrides(["retrain_reason=x"]))


def test_an_arm_that_is_added_to_a_training_of_this_sweep_trains_nothing_again(tmp_path: Path) -> None:
    lab, plan = lab_and_plan(tmp_path, "reuse=false", "experiment.seeds=[0]")
    trial = plan.trials[0]
    store = store_of(trial.identity)
    folder = plan.folder_of(trial)
    save_checkpoint(trial, folder, trial.config.schedule.steps - 1)
    with pytest.raises(ConfigError, match="would be trained again"):
        check(lab, plan, store)
    save_checkpoint(trial, folder, trial.config.schedule.steps)
    files.write_summary(folder, trial.identity, summary_of({"none": {"val/AP": 0.5}}))
    assert plan.summary_of(trial) is None, "an arm is left to evaluate"
    assert check(lab, plan, store) == ()
    # A copy is removed, and the training done again.
    files.write_reused(folder, files.ReuseRecord("12345678abc", "first", {}))
    with pytest.raises(ConfigError, match="would be trained again"):
        check(lab, plan, store)


def save_checkpoint(trial: Trial, folder: Path, step: int) -> None:
    model = nn.Linear(1, 1)
    values = trial.config.model_dump(mode="json")
    checkpoint.save(
        folder / "checkpoints", step=step, config=values, classes=(), model=model, averages={}, state={"optimizer": {}}
    )


def test_rounds_that_may_follow_are_trained_again_and_those_after_all_is_decided_are_not(tmp_path: Path) -> None:
    lab, plan, rounds = plan_rounds(tmp_path, "reuse=false")
    store = store_of(*(trial.identity for trial in plan.trials))
    finish(plan, rounds.needed().indices, clear)
    with pytest.raises(ConfigError, match=r"seed 3 and .* would be trained again"):
        check(lab, plan, store)
    while not (needed := rounds.needed()).complete:
        finish(plan, needed.indices, clear)
    assert len(needed.indices) < len(plan.trials)
    assert check(lab, plan, store) == ()
