"""Trainings of other sweeps whose checkpoints a longer or changed schedule goes on from."""

from pathlib import Path
from typing import Any

import pytest

from fcos.storage import checkpoint_folder
from fcos.storage.run_folder import ATTEMPTS, FORKS
from orchestration.driver.searchers.training_queue import TrainingQueue
from orchestration.experiment.trials import Trial
from orchestration.planning.explain import explain
from orchestration.planning.first_steps.planned_prefixes import find_prefixes
from orchestration.planning.first_steps.trunks import find_trunks
from orchestration.planning.make_plan import make_single_plan
from orchestration.planning.plan import Plan
from orchestration.planning.reuse import ReusableRuns
from orchestration.tracking.history import PastRun
from orchestration.trial import files
from tests.helpers.experiments.composed import composed_into
from tests.helpers.experiments.stored_runs import StoredRuns
from tests.helpers.other_command import save_checkpoint

STEP = ("schedule.decay=step", "schedule.milestones=[600,800]")


def plan_single(output: Path, *words: str) -> Plan:
    return make_single_plan(composed_into(output, *words), lambda config: ("d", ()))


def trained_run(folder: Path, trial: Trial, steps: dict[int, str]) -> PastRun:
    """A run with checkpoints at some steps, each in a folder of its own kind."""
    files.begin_training(folder)
    for step, name in steps.items():
        save_checkpoint(folder / name, trial, step)
    tags = {
        "fcos.trunk": trial.trunk,
        "fcos.train_identity": trial.identity,
        "fcos.identity": trial.identity_of(""),
        "fcos.training_id": files.training_id(folder),
        "fcos.folder": str(folder),
        "fcos.sweep": "before",
        "fcos.arm": "",
    }
    return PastRun("1234567890", tags, {}, {})


def begins_at(tmp_path: Path, before: tuple[str, ...], now: tuple[str, ...], steps: dict[int, str]) -> Any:
    """Return what a training takes of another one that has checkpoints at some steps, and why."""
    (past,) = plan_single(tmp_path / "before", *before).trials
    run = trained_run(tmp_path / "before" / "trials" / "x", past, steps)
    plan = plan_single(tmp_path / "now", *now)
    trunks = find_trunks(StoredRuns(run), plan, plan.trials)
    prefix = find_prefixes(plan, plan.trials, trunks).of(plan.trials[0])
    return prefix and prefix.step, "\n".join(explain(plan, ReusableRuns(None, trunks=trunks), reuse=True))


def test_more_steps_at_a_constant_rate_go_on_from_the_end(tmp_path: Path) -> None:
    constant = ("schedule.decay=none",)
    step, _ = begins_at(
        tmp_path, constant, (*constant, "schedule.steps=2000"), {750: "checkpoints", 1000: "checkpoints"}
    )
    assert step == 1000


def test_another_second_milestone_goes_on_from_the_checkpoint_at_the_first(tmp_path: Path) -> None:
    later = ("schedule.decay=step", "schedule.milestones=[700,900]")
    step, _ = begins_at(tmp_path, STEP, later, {600: FORKS, 750: "checkpoints", 1000: "checkpoints"})
    assert step == 600


def test_the_papers_longer_recipe_takes_the_steps_of_the_shorter_one_before_its_first_decay(tmp_path: Path) -> None:
    once, twice = ("schedule=paper_1x",), ("schedule=paper_2x",)
    schedules = [composed_into(tmp_path, *words).schedule for words in (once, twice)]
    assert [(each.steps, each.kept_milestone) for each in schedules] == [(90_000, 60_000), (180_000, 120_000)]
    newest = {87_500: "checkpoints", 90_000: "checkpoints"}
    step, _ = begins_at(tmp_path / "kept", once, twice, {60_000: FORKS, **newest})
    assert step == 60_000
    step, _ = begins_at(tmp_path / "newest", once, twice, newest)
    assert step is None, "its rate has fallen by then"


def test_a_cosine_cannot_be_longer_and_explain_names_where_they_part(tmp_path: Path) -> None:
    step, text = begins_at(tmp_path, (), ("schedule.steps=2000",), {750: "checkpoints", 1000: "checkpoints"})
    assert step is None
    assert "run 12345678 of before is the same up to step 251 alone, and has checkpoints at 750, 1000:" in text
    assert "schedule.steps: 1000 -> 2000" in text


@pytest.mark.parametrize("change", ["seed=1", "schedule.weight_decay=0.5", "model.head.num_convs=1"])
def test_what_decides_the_state_parts_from_the_start(tmp_path: Path, change: str) -> None:
    step, text = begins_at(tmp_path, ("schedule.decay=none",), ("schedule.decay=none", change), {1000: "checkpoints"})
    assert step is None and "is the same up to" not in text


def test_what_is_no_longer_that_training_is_left_alone(tmp_path: Path) -> None:
    constant = ("schedule.decay=none",)
    (past,) = plan_single(tmp_path / "before", *constant).trials
    folder = tmp_path / "before" / "trials" / "x"
    run = trained_run(folder, past, {1000: "checkpoints"})
    plan = plan_single(tmp_path / "now", *constant, "schedule.steps=2000")

    def found() -> int:
        return len(find_trunks(StoredRuns(run), plan, plan.trials)[plan.trials[0].identity])

    assert found() == 1
    (folder / ATTEMPTS).write_text('{"accumulate": 2}')
    assert found() == 0, "smaller micro-batches made another state"
    (folder / ATTEMPTS).unlink()
    (folder / "training_id.txt").write_text("another\n")
    assert found() == 0


@pytest.mark.parametrize(
    ("held", "begins"), [({250: "checkpoints"}, 250), ({500: "checkpoints", 1000: "checkpoints"}, 1000)]
)
def test_the_same_training_elsewhere_is_gone_on_from_and_never_waited_for(
    tmp_path: Path, held: dict[int, str], begins: int
) -> None:
    """It may be running there, or have been killed between its last checkpoint and its summary."""
    (past,) = plan_single(tmp_path / "before").trials
    run = trained_run(tmp_path / "before" / "trials" / "x", past, held)
    plan = plan_single(tmp_path / "now")
    trunks = find_trunks(StoredRuns(run), plan, plan.trials)
    (prefix,) = find_prefixes(plan, plan.trials, trunks).by_identity.values()
    assert (prefix.step, prefix.waits, prefix.trunk.identity) == (begins, False, plan.trials[0].identity)
    queue = TrainingQueue(plan, trunks)
    queue.put([0])
    assert (queue.take(), queue.forks(0)) == (0, ())
    assert checkpoint_folder.newest_step(plan.folder_of(plan.trials[0]) / "checkpoints") == begins


def test_other_evaluations_on_the_way_are_another_training(tmp_path: Path) -> None:
    step, _ = begins_at(tmp_path, (), ("schedule.eval_every=100",), {1000: "checkpoints"})
    assert step is None, "it would have none of its evaluations"
