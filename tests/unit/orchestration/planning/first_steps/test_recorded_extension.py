"""A rerun needs no more of a checkpoint that its training began from, and says so where it still does."""

import shutil
from pathlib import Path

import pytest
from torch import nn

from fcos.errors import ConfigError
from fcos.storage import checkpoint_folder
from fcos.storage.run_folder import SUMMARY
from fcos.training import checkpoint
from orchestration.config.compose import compose
from orchestration.config.overrides import check_overrides
from orchestration.experiment.extension import MissingCheckpointError
from orchestration.planning.first_steps.begin_from import begin_from
from orchestration.planning.first_steps.planned_prefixes import find_prefixes
from orchestration.planning.make_plan import make_single_plan
from orchestration.planning.plan import Plan, read_plan, settle_plan
from orchestration.trial import files
from tests.helpers.experiments.summaries import summary_of

LONGER = ("schedule.steps=2000", "schedule.decay=none")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """The folder of a finished training with a checkpoint of its last step."""
    training = compose(check_overrides([])).training
    folder = tmp_path / "first" / "trials" / "x"
    checkpoint.save(
        folder / "checkpoints",
        step=1000,
        config=training.model_dump(mode="json"),
        classes=(),
        model=nn.Linear(1, 1),
        averages={},
        state={"optimizer": {}},
    )
    (folder / SUMMARY).write_text("{}")
    return folder


def plan_extension(source: Path, *words: str) -> Plan:
    output = source.parents[2]
    lab = compose(check_overrides([f"extend={output / 'first'}", *LONGER, f"output={output}", *words]))
    return make_single_plan(lab, lambda config: ("d", ()))


def begun(source: Path, *words: str) -> Plan:
    """A plan whose training has taken the checkpoint."""
    plan = plan_extension(source, *words)
    settle_plan(plan)
    (trial,) = plan.trials
    files.begin_training(plan.folder_of(trial))
    begin_from(find_prefixes(plan, plan.trials, {}).of(trial), trial, plan.folder_of(trial))
    return plan


@pytest.mark.parametrize("words", [["name=more"], []], ids=["named", "unnamed"])
def test_a_training_that_has_begun_goes_on_without_the_removed_source(source: Path, words: list[str]) -> None:
    before = begun(source, *words)
    shutil.rmtree(source / "checkpoints")
    again = plan_extension(source, *words)
    assert (again.name, again.trials[0].identity) == (before.name, before.trials[0].identity)
    assert find_prefixes(again, again.trials, {}).by_identity == {}
    assert checkpoint_folder.newest_step(again.folder_of(again.trials[0]) / "checkpoints") == 1000


def test_a_finished_training_is_done_without_its_source(source: Path) -> None:
    before = begun(source, "name=more")
    (trial,) = before.trials
    files.write_summary(before.folder_of(trial), trial.identity, summary_of({"": {"val/AP": 0.5}}))
    shutil.rmtree(source.parents[1])
    again = plan_extension(source, "name=more")
    assert again.summary_of(again.trials[0]) is not None


def test_a_training_that_has_not_begun_names_the_removed_checkpoint_and_the_way_out(source: Path) -> None:
    settle_plan(plan_extension(source, "name=more"))
    shutil.rmtree(source / "checkpoints")
    again = plan_extension(source, "name=more")
    with pytest.raises(ConfigError, match=r"extend=.*first: the checkpoint .*step_00001000 has been removed since.*"):
        find_prefixes(again, again.trials, {})


def test_a_damaged_checkpoint_is_refused_before_anything_runs(source: Path) -> None:
    settle_plan(plan_extension(source, "name=more"))
    file = source / "checkpoints" / "step_00001000" / "model.safetensors"
    content = file.read_bytes()
    file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    again = plan_extension(source, "name=more")
    with pytest.raises(ConfigError, match=r"step_00001000 has been removed since an earlier command, or is damaged"):
        find_prefixes(again, again.trials, {})


def test_another_name_or_path_knows_nothing_of_a_removed_checkpoint(source: Path) -> None:
    begun(source, "name=more")
    shutil.rmtree(source / "checkpoints")
    with pytest.raises(MissingCheckpointError, match=r"its training is finished and has no checkpoint any more"):
        plan_extension(source, "name=other")
    with pytest.raises(MissingCheckpointError, match="no such folder"):
        plan_extension(source, "name=more", f"extend={source.parents[2] / 'second'}")


def test_the_record_is_in_the_plan_of_a_command_that_goes_on_by_choice_alone(source: Path) -> None:
    plan = plan_extension(source, "name=more")
    settle_plan(plan)
    stored = read_plan(plan.folder)
    assert stored is not None and stored.extension == plan.extension
    lab = compose(check_overrides([f"output={source.parents[2]}", "name=plain"]))
    plain = make_single_plan(lab, lambda config: ("d", ()))
    settle_plan(plain)
    stored = read_plan(plain.folder)
    assert stored is not None and "extension" not in stored.values()


def test_smaller_micro_batches_of_the_source_are_noted(source: Path) -> None:
    files.write_json(source / "attempts.json", {"accumulate": 4})
    plan = begun(source, "name=more")
    began, memory = files.read_notes(plan.folder_of(plan.trials[0]))
    assert "began with weights and optimizer of step 1000" in began
    assert memory == (
        "extend: schedule.accumulate=4 there, for want of memory: its micro-batches were smaller than configured"
    )
