"""An experiment with a search: what is refused, which points are planned, and what an earlier command drew."""

from pathlib import Path

import pytest

from fcos.errors import ConfigError
from orchestration.driver.progress import SweepProgress
from orchestration.planning.plan import Plan, settle_plan
from orchestration.planning.reuse import ReusableRuns
from orchestration.planning.table import plan_table
from orchestration.search.points import SampledPoint
from orchestration.trial.failures import write_failure
from orchestration.trial.files import write_summary
from tests.helpers.experiments.composed import composed, plan_of
from tests.helpers.experiments.summaries import summary_of

SEARCH = "+experiment=search_fcos"
# One key instead of those of the file.
ONLY = ("++experiment.search.space.schedule.momentum.choice=[0.8,0.9]",)
NONE = tuple(
    f"experiment.search.space.{key}=null"
    for key in (
        "model.assignment.ranges",
        "model.assignment.center_sampling_radius",
        "model.head.norm",
        "model.head.gn_groups",
        "model.loss.regression_weight",
        "model.loss.quality_weight",
        "schedule.lr_per_16_images",
    )
)


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["+experiment=ablation_centerness", "search=asha"], "would bias their comparison"),
        (["+experiment=ablation_centerness", "search=tpe"], "no effect without experiment.search"),
        (["search=grid"], "no effect without experiment.search"),
        ([SEARCH, "experiment.arms.a.schedule.lr=0.1"], "give exactly one of them; both are given"),
        ([SEARCH, "experiment.search=null"], "give exactly one of them; neither is given"),
        ([SEARCH, "experiment.baseline=a"], "have no meaning for a search"),
        ([SEARCH, "experiment.search.trails=3"], "did you mean experiment.search.trials"),
        ([SEARCH, "search.grace_steps=5"], "no effect with early_stopping=none"),
    ],
)
def test_a_mistake_in_the_experiment_is_refused(overrides: list[str], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        composed(*overrides)


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["search=grid"], r"ranges has no grid; give choice, or search=random"),
        (["search=asha", "schedule.eval_every=null"], r"give schedule\.eval_every"),
        (["search=asha", "schedule.eval_every=400"], r"nothing would ever be stopped.*step 400"),
        (["search=asha", "search.grace_steps=400"], "nothing would ever be stopped"),
        (["search=asha", "search.brackets=4"], "brackets=4 has no effect with early_stopping=asha"),
        (["experiment.search.metric=val/AQ"], r"metric: val/AQ: no such metric; did you mean val/AP"),
        (["experiment.search.metric=train/loss"], "must begin with val/"),
        (
            ["search=tpe", "experiment.search.space.model.postprocess.nms_threshold.uniform=[0.4,0.7]"],
            "use search=random",
        ),
        (["search=grid", *NONE, *ONLY, "experiment.search.trials=1"], "the grid has 2 points"),
    ],
)
def test_a_search_that_cannot_work_is_refused(tmp_path: Path, overrides: list[str], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        plan_of(tmp_path, SEARCH, *overrides)
    assert list(tmp_path.iterdir()) == []


def test_more_trials_begin_with_the_same_points(tmp_path: Path) -> None:
    few, many = (plan_of(tmp_path, SEARCH, f"experiment.search.trials={count}") for count in (3, 6))
    assert [trial.identity for trial in many.trials[:3]] == [trial.identity for trial in few.trials]
    assert list(many.arms) == [f"t{index:03d}" for index in range(6)]
    assert len({trial.identity for trial in many.trials}) == 6


def test_a_small_space_is_sampled_once_and_reported_as_small(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, SEARCH, *NONE, *ONLY, "experiment.search.trials=5")
    assert sorted(arm.schedule.momentum for arm in plan.arms.values()) == [0.8, 0.9]
    assert plan.notes == ("the space holds 2 different configurations, fewer than trials=5",)


def test_points_that_the_schema_refuses_are_skipped_and_counted(tmp_path: Path) -> None:
    groups = "++experiment.search.space.model.head.gn_groups.choice=[3,8]"
    plan = plan_of(tmp_path, SEARCH, "search=grid", *NONE, groups)
    assert [arm.model.head.gn_groups for arm in plan.arms.values()] == [8]
    assert plan.notes[0].startswith("1 point was no valid configuration and left out, the first because: model.")


def test_inference_settings_share_a_training(tmp_path: Path) -> None:
    key = "++experiment.search.space.model.postprocess.nms_threshold.choice=[0.5,0.6,0.7]"
    plan = plan_of(tmp_path, SEARCH, "search=grid", *NONE, key)
    assert [list(trial.arms) for trial in plan.trials] == [["t000", "t001", "t002"]]


def grown(tmp_path: Path) -> Plan:
    """A TPE search in which an earlier command drew three points: one pruned, one diverged, one unfinished."""
    source = plan_of(tmp_path, SEARCH, "experiment.search.trials=3")
    plan = plan_of(tmp_path, SEARCH, "search=tpe_asha")
    assert source.search is not None and plan.search is not None
    for name, trial in zip(source.arms, source.trials, strict=True):
        plan.search.drawn[name] = SampledPoint.model_validate(source.search.drawn[name].model_dump())
        plan.grow(name, source.arms[name], trial)
    settle_plan(plan)
    pruned, diverged, unfinished = plan.trials
    for trial in (pruned, diverged, unfinished):
        (plan.folder_of(trial) / "checkpoints" / "step_00000050").mkdir(parents=True)
    summary = summary_of({"t000": {"val/AP": 0.1}}, step=50, pruned=50)
    write_summary(plan.folder_of(pruned), pruned.identity, summary)
    write_failure(plan.folder_of(diverged), Diverged("not finite at step 7"), retryable=False)
    return plan


class Diverged(RuntimeError):
    """As fcos.training.step's."""


def test_the_next_command_knows_what_was_drawn(tmp_path: Path) -> None:
    before = grown(tmp_path)
    again = plan_of(tmp_path, SEARCH, "search=tpe_asha", "experiment.search.trials=5")
    assert [trial.identity for trial in again.trials] == [trial.identity for trial in before.trials]
    assert [(row.state, row.note) for row in SweepProgress.of(again).trials] == [
        ("kept", "pruned at step 50"),
        ("failed", "not finite at step 7"),
        ("waiting", ""),
        ("waiting", ""),
        ("waiting", ""),
    ]
    title, _, rows = plan_table(again, ReusableRuns(None))
    assert title == "search_fcos: 3 trainings of 5 drawn"
    assert [row[-1] for row in rows] == ["pruned at step 50", "resumes", "resumes"]
    # Without early stopping half a training is no result.
    assert SweepProgress.of(plan_of(tmp_path, SEARCH, "search=tpe")).trials[0].state == "waiting"


def test_another_space_does_not_go_on_under_the_same_name(tmp_path: Path) -> None:
    grown(tmp_path)
    wider = "experiment.search.space.schedule.lr_per_16_images.loguniform=[0.001,0.05]"
    with pytest.raises(ConfigError, match=r"experiment\.search\.space.*lr_per_16_images"):
        settle_plan(plan_of(tmp_path, SEARCH, "search=tpe_asha", wider))
    with pytest.raises(ConfigError, match=r"model\.fpn\.channels: 32 -> 64"):
        settle_plan(plan_of(tmp_path, SEARCH, "search=tpe_asha", "model.fpn.channels=64"))


def refusal(tmp_path: Path, before: tuple[str, ...], now: tuple[str, ...]) -> str:
    """What is said where a search that has trained is given again with other words."""
    first = plan_of(tmp_path, SEARCH, "experiment.search.trials=2", *before)
    settle_plan(first)
    (first.folder_of(first.trials[0]) / "checkpoints" / "step_00000004").mkdir(parents=True)
    with pytest.raises(ConfigError, match="holds runs of another configuration") as caught:
        settle_plan(plan_of(tmp_path, SEARCH, "experiment.search.trials=2", *now))
    return "\n".join(str(caught.value).splitlines()[1:-1])


def test_another_seed_or_searcher_is_the_difference_and_not_the_points_that_it_draws(tmp_path: Path) -> None:
    assert refusal(tmp_path / "a", (), ("search.seed=5",)) == "  search.seed: 0 -> 5, which draws other points"
    choices = (*NONE, *ONLY)
    message = refusal(tmp_path / "b", choices, (*choices, "search=grid"))
    assert message == "  search.searcher: 'random' -> 'grid', which draws other points"
    both = refusal(tmp_path / "c", (), ("search.seed=5", "schedule.batch_size=4"))
    assert both == "  search.seed: 0 -> 5, which draws other points\n  schedule.batch_size: 8 -> 4"


def test_another_configuration_of_the_same_points_is_named_by_its_key(tmp_path: Path) -> None:
    assert refusal(tmp_path, (), ("schedule.batch_size=4",)) == "  schedule.batch_size: 8 -> 4"
    lower = "experiment.search.space.schedule.lr_per_16_images.loguniform=[0.01,0.1]"
    assert refusal(tmp_path / "b", (), (lower,)).startswith("  experiment.search.space.schedule.lr_per_16_images.log")
