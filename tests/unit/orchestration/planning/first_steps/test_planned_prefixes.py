"""Which trainings begin from which others, and what they take from there."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from torch import nn

from fcos.errors import ConfigError
from fcos.storage import checkpoint_folder
from fcos.storage.run_folder import FORKS, MetricPoint
from fcos.training import checkpoint
from orchestration.driver.searchers.training_queue import TrainingQueue
from orchestration.experiment.extension import Extension
from orchestration.experiment.prefixes import Prefix, Trunk
from orchestration.experiment.trials import Trial
from orchestration.planning.first_steps.begin_from import begin_from
from orchestration.planning.first_steps.planned_prefixes import find_prefixes
from orchestration.planning.make_plan import make_plan
from orchestration.planning.plan import Plan
from orchestration.trial import files
from orchestration.trial.failures import write_failure
from orchestration.trial.origin import OriginRecord, read_origin
from tests.helpers.experiments.composed import composed

COSINE, STEP, HALF, NONE = range(4)


def plan_of(output: Path, *words: str) -> Plan:
    words = ("experiment.seeds=[0]", f"output={output}", *words)
    return make_plan(composed("+experiment=ablation_decay", *words), lambda config: ("d", ()))


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    return plan_of(tmp_path)


def save(
    plan: Plan, trial: Trial, step: int, name: str = FORKS, averages: dict[float, nn.Module] | None = None
) -> None:
    checkpoint.save(
        plan.folder_of(trial) / name,
        step=step,
        config={"schedule": {"ema": None}},
        classes=(),
        model=nn.Linear(1, 1),
        averages=averages or {},
        state={},
    )


def taken(plan: Plan) -> dict[str, tuple[str, int]]:
    """Return arm -> the arm that it begins from, and the step."""
    prefixes = find_prefixes(plan, plan.trials, {})
    return {
        next(iter(trial.arms)): (next(iter(prefix.trunk.evaluations)), prefix.step)
        for trial in plan.trials
        if (prefix := prefixes.of(trial)) is not None
    }


def test_arms_of_a_decay_ablation_take_all_but_sixty_percent_of_their_steps(plan: Plan) -> None:
    assert taken(plan) == {"step": ("cosine", 251), "step_to_half": ("step", 667), "none": ("step", 667)}
    trained = sum(trial.config.schedule.steps for trial in plan.trials) - 251 - 2 * 667
    assert trained == 2415 <= 0.61 * 4000


def test_seeds_and_settings_that_decide_the_state_share_nothing(tmp_path: Path) -> None:
    words = ["experiment.arms.none.schedule.weight_decay=0.1", "experiment.seeds=[0,1]"]
    plan = plan_of(tmp_path, *words)
    prefixes = find_prefixes(plan, plan.trials, {})
    for trial in plan.trials:
        prefix = prefixes.of(trial)
        assert prefix is None or f"seed {trial.seed}" in prefix.trunk.label
        assert ("none" in trial.arms) <= (prefix is None)
    assert len(prefixes.by_identity) == 4


def test_few_common_steps_are_not_worth_waiting_for(tmp_path: Path) -> None:
    assert taken(plan_of(tmp_path, "schedule.warmup_steps=99")).get("step") == ("cosine", 100)
    assert "step" not in taken(plan_of(tmp_path, "schedule.warmup_steps=98"))


def test_a_training_whose_trunk_lacks_an_average_takes_nothing(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, "experiment.arms.none.schedule.ema=0.9")
    assert "none" not in taken(plan)
    both = plan_of(tmp_path, *(f"experiment.arms.{arm}.schedule.ema=0.9" for arm in ("step", "none")))
    assert taken(both)["none"] == ("step", 667)


def test_a_trunk_that_is_past_the_fork_gives_the_newest_checkpoint_before_it(plan: Plan) -> None:
    save(plan, plan.trials[STEP], 500, "checkpoints")
    save(plan, plan.trials[STEP], 750, "checkpoints")
    # The others have more steps in common with each other than are left of it.
    assert taken(plan) == {"step_to_half": ("step", 500), "none": ("step_to_half", 667)}
    save(plan, plan.trials[STEP], 667)
    assert taken(plan) == {"step_to_half": ("step", 667), "none": ("step", 667)}


def test_a_trunk_that_begins_after_the_fork_itself_is_not_waited_for(plan: Plan, tmp_path: Path) -> None:
    before = plan_of(tmp_path / "before")
    save(before, before.trials[STEP], 667)
    elsewhere = Trunk.of(before.trials[STEP], "before", before.folder_of(before.trials[STEP]))
    pending = [plan.trials[STEP], plan.trials[COSINE]]
    prefixes = find_prefixes(plan, pending, {plan.trials[STEP].identity: [elsewhere]})
    assert prefixes.steps_of(plan.trials[STEP]) == 667
    assert prefixes.of(plan.trials[COSINE]) is None, "step never passes the step at which cosine parts"


def test_a_training_that_is_held_back_takes_nothing_yet(plan: Plan) -> None:
    finish_first_steps(plan, plan.trials[STEP], 667)
    queue = TrainingQueue(plan, {})
    queue.put([HALF, NONE])
    files.hold_back(plan.folder)
    assert {queue.take(), queue.take()} == {HALF, NONE}
    assert read_origin(plan.folder_of(plan.trials[HALF])) is None


def test_a_trunk_whose_folder_is_gone_leaves_a_note(plan: Plan) -> None:
    trial = plan.trials[HALF]
    files.begin_training(plan.folder_of(trial))
    assert begin_from(prefix_from(plan, plan.trials[STEP]), trial, plan.folder_of(trial)) == 0
    (note,) = files.read_notes(plan.folder_of(trial))
    assert "its checkpoint is gone" in note


def test_the_origin_of_an_attempt_that_is_of_no_use_is_forgotten(plan: Plan) -> None:
    trial = plan.trials[HALF]
    finish_first_steps(plan, plan.trials[STEP], 667)
    begin_from(prefix_from(plan, plan.trials[STEP]), trial, plan.folder_of(trial))
    assert begin_from(None, trial, plan.folder_of(trial)) == 0
    assert read_origin(plan.folder_of(trial)) is not None, "it goes on from that checkpoint"
    shutil.rmtree(plan.folder_of(trial) / "checkpoints")
    begin_from(None, trial, plan.folder_of(trial))
    assert read_origin(plan.folder_of(trial)) is None


def test_a_training_with_a_checkpoint_of_its_own_takes_nothing(plan: Plan) -> None:
    save(plan, plan.trials[NONE], 250, "checkpoints")
    assert "none" not in taken(plan)


def prefix_from(plan: Plan, trunk: Trial, step: int = 667) -> Prefix:
    return Prefix(Trunk.of(trunk, plan.name, plan.folder_of(trunk)), step)


def finish_first_steps(plan: Plan, trunk: Trial, step: int) -> None:
    """Leave what a training has left when it reaches a step."""
    folder = plan.folder_of(trunk)
    files.begin_training(folder)
    arm = next(iter(trunk.arms))
    keys = [(None, "train/loss", 660), (arm, "val/AP", 500), (None, "train/loss", 667), (None, "train/loss", 680)]
    files.append_points(folder, [MetricPoint(of, key, at, 0.5) for of, key, at in keys])
    save(plan, trunk, step)


def test_state_and_points_are_taken_under_the_own_arm_with_a_record(plan: Plan) -> None:
    trunk, trial = plan.trials[STEP], plan.trials[NONE]
    finish_first_steps(plan, trunk, 667)
    folder = plan.folder_of(trial)
    files.begin_training(folder)
    files.append_points(folder, [MetricPoint(None, "train/loss", 20, 9.0)])
    assert begin_from(prefix_from(plan, trunk), trial, plan.folder_of(trial)) == 667
    assert checkpoint_folder.newest_step(folder / "checkpoints") == 667
    # 667 is no step at which this training reports.
    assert files.read_points(folder) == [(None, "train/loss", 660, 0.5), ("none", "val/AP", 500, 0.5)]
    trained_by = files.training_id(plan.folder_of(trunk))
    assert read_origin(folder) == OriginRecord(trained_by, "ablation_decay", "step · seed 0", 667)
    assert [path.name for path in (folder / "checkpoints").iterdir()] == ["step_00000667"]


@pytest.mark.parametrize("damage", ["none", "model.safetensors"])
def test_without_a_whole_checkpoint_it_begins_at_the_start_with_a_note(plan: Plan, damage: str) -> None:
    trunk, trial = plan.trials[STEP], plan.trials[NONE]
    folder = plan.folder_of(trunk)
    files.begin_training(folder)
    files.begin_training(plan.folder_of(trial))
    write_failure(folder, RuntimeError("the loss is not finite"), retryable=False)
    if damage != "none":
        finish_first_steps(plan, trunk, 667)
        (checkpoint_folder.folder_of(folder / FORKS, 667) / damage).write_bytes(b"other")
    assert begin_from(prefix_from(plan, trunk), trial, plan.folder_of(trial)) == 0
    (note,) = files.read_notes(plan.folder_of(trial))
    assert note.startswith("trained from the start, not from step 667 of step · seed 0: ")
    assert ("damaged" if damage != "none" else "the loss is not finite") in note
    assert checkpoint_folder.newest_step(plan.folder_of(trial) / "checkpoints") == 0


def test_each_training_waits_for_its_checkpoint_and_trunks_come_first(plan: Plan) -> None:
    queue = TrainingQueue(plan, {})
    queue.put(range(4))
    assert queue.take() == COSINE and queue.forks(COSINE) == (251,)
    assert queue.take() is None and queue
    save(plan, plan.trials[COSINE], 251)
    assert queue.take() == STEP and queue.forks(STEP) == (667,)
    assert queue.take() is None
    save(plan, plan.trials[STEP], 667)
    assert (queue.take(), queue.take()) == (HALF, NONE)
    assert not queue and queue.forks(NONE) == ()


def test_trainings_whose_trunk_ended_without_a_checkpoint_begin_at_the_start(plan: Plan) -> None:
    queue = TrainingQueue(plan, {})
    queue.put(range(4))
    assert queue.take() == COSINE
    queue.end(COSINE)
    assert queue.take() == STEP
    queue.end(STEP)
    assert (queue.take(), queue.take(), queue.take()) == (HALF, NONE, None)


def test_without_sharing_all_begin_at_once(plan: Plan) -> None:
    queue = TrainingQueue(replace(plan, shares=False), {})
    queue.put(range(4))
    assert [queue.take() for _ in range(5)] == [*range(4), None]
    assert not any(queue.forks(index) for index in range(4))


def test_two_slots_have_work_while_trunks_of_two_seeds_run(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, "experiment.seeds=[0,1]")
    queue = TrainingQueue(plan, {})
    queue.put(range(8))
    assert (queue.take(), queue.take()) == (COSINE, 4 + COSINE)
    for index in (COSINE, 4 + COSINE):
        save(plan, plan.trials[index], 251)
    assert (queue.take(), queue.take()) == (STEP, 4 + STEP)


def test_a_checkpoint_by_choice_is_taken_with_a_note_or_ends_the_command(plan: Plan, tmp_path: Path) -> None:
    save(plan, plan.trials[COSINE], 750, "checkpoints")
    path = checkpoint_folder.folder_of(plan.folder_of(plan.trials[COSINE]) / "checkpoints", 750)
    files.append_points(plan.folder_of(plan.trials[COSINE]), [MetricPoint(None, "train/loss", 740, 0.5)])
    chosen = replace(plan, shares=False, extension=Extension(path, 750, checkpoint_folder.digest(path)))
    queue = TrainingQueue(chosen, {})
    queue.put([HALF, NONE])
    assert queue.take() == HALF
    folder = plan.folder_of(plan.trials[HALF])
    assert checkpoint_folder.newest_step(folder / "checkpoints") == 750
    assert files.read_points(folder) == [(None, "train/loss", 740, 0.5)]
    (note,) = files.read_notes(folder)
    assert note.startswith(f"extend: began with weights and optimizer of step 750 of {path}")
    (path / "model.safetensors").write_bytes(b"other")
    with pytest.raises(ConfigError, match=r"extend=.*cannot be taken any more.*damaged"):
        queue.take()
