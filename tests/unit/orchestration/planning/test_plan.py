"""A folder belongs to one plan: what was trained under its name is never mixed with anything else."""

import json
import shutil
from pathlib import Path

import pytest

from fcos.config.parse import with_keys
from fcos.config.run import Config
from fcos.errors import ConfigError
from orchestration.config.compose import compose
from orchestration.config.overrides import check_overrides
from orchestration.experiment.plan_additions import ADDITIONS
from orchestration.experiment.trials import plan_trials
from orchestration.planning import plan as planning
from orchestration.planning.make_plan import make_plan, make_single_plan
from orchestration.planning.plan import (
    PLAN,
    Plan,
    StoredPlan,
    complete_plan,
    read_plan,
    settle_plan,
    update_plan,
)
from orchestration.search.points import SampledPoint
from orchestration.trial.files import write_summary
from tests.helpers.experiments.composed import composed, composed_into, plan_of
from tests.helpers.experiments.summaries import summary_of

EXPERIMENT = "+experiment=ablation_centerness"


def plan_ablation(tmp_path: Path, *words: str, digest: str = "d") -> Plan:
    return plan_of(tmp_path, EXPERIMENT, *words, digest=digest, notes=("3 boxes dropped",))


def pretend_trained(plan: Plan) -> None:
    (plan.folder_of(plan.trials[0]) / "checkpoints" / "step_00000001").mkdir(parents=True)


def test_data_is_prepared_once_for_all_arms_that_share_it(tmp_path: Path) -> None:
    configs: list[Config] = []
    lab = composed_into(tmp_path, EXPERIMENT)
    plan = make_plan(lab, lambda config: (configs.append(config), ("d", ("note",)))[1])  # type: ignore[func-returns-value]
    assert len(configs) == 1
    assert plan.notes == ("note",)
    assert plan.folder == tmp_path / "ablation_centerness"


def test_a_sweep_without_an_experiment_lists_them() -> None:
    with pytest.raises(ConfigError, match=r"no experiment is chosen.*ablation_centerness"):
        make_plan(compose([]), lambda config: ("d", ()))


def test_a_single_run_is_named_after_its_identity(tmp_path: Path) -> None:
    lab = compose(check_overrides([f"output={tmp_path}"]))
    plan = make_single_plan(lab, lambda config: ("d", ()))
    assert plan.name == f"run-{plan.trials[0].identity[:8]}"
    assert plan.folder.name == plan.name
    with pytest.raises(ConfigError, match=r"use python orchestration/sweep\.py"):
        make_single_plan(composed(EXPERIMENT), lambda config: ("d", ()))


def test_the_same_plan_keeps_its_key(tmp_path: Path) -> None:
    first = settle_plan(plan_ablation(tmp_path))
    assert settle_plan(plan_ablation(tmp_path, "data.num_workers=2")) == first


def test_a_copied_or_renamed_folder_is_another_sweep_with_the_same_results(tmp_path: Path) -> None:
    key = settle_plan(plan_ablation(tmp_path))
    pretend_trained(plan_ablation(tmp_path))
    copied = plan_ablation(tmp_path, "name=copied")
    shutil.copytree(plan_ablation(tmp_path).folder, copied.folder)
    assert settle_plan(copied) != key
    assert (
        settle_plan(copied)
        == settle_plan(plan_ablation(tmp_path, "name=copied"))
        != settle_plan(plan_ablation(tmp_path))
    )
    assert settle_plan(plan_ablation(tmp_path)) == key


@pytest.mark.parametrize(
    ("before", "now", "names"),
    [(3, 2, {"t000", "t001", "t002"}), (2, 4, {"t000", "t001", "t002", "t003"})],
)
def test_points_of_a_search_that_are_left_out_this_time_stay(
    tmp_path: Path, before: int, now: int, names: set[str]
) -> None:
    def of(trials: int) -> Plan:
        words = ["+experiment=search_fcos", f"output={tmp_path}", f"experiment.search.trials={trials}"]
        return make_plan(composed(*words), lambda config: ("d", ()))

    first = of(before)
    key = settle_plan(first)
    pretend_trained(first)
    assert settle_plan(of(now)) == key
    stored = json.loads((first.folder / "plan.json").read_text())
    assert set(stored["search"]["drawn"]) == set(stored["arms"]) == names
    assert first.search is not None
    drawn = {name: each["keys"] for name, each in stored["search"]["drawn"].items()}
    assert {name: drawn[name] for name in first.search.drawn} == {
        n: dict(d.keys) for n, d in first.search.drawn.items()
    }


def test_seeds_and_arms_may_come_and_go_but_not_change(tmp_path: Path) -> None:
    key = settle_plan(plan_ablation(tmp_path))
    pretend_trained(plan_ablation(tmp_path))
    fewer = ("~experiment.arms.from_regression", "~experiment.paper.from_regression")
    assert settle_plan(plan_ablation(tmp_path, *fewer, "experiment.seeds=[0,7]")) == key
    changed = "experiment.arms.from_regression.model.postprocess.nms_threshold=0.1"
    with pytest.raises(ConfigError, match=r"nms_threshold: 0\.6 -> 0\.1 \(arm from_regression\)"):
        settle_plan(plan_ablation(tmp_path, changed))


@pytest.mark.parametrize(
    ("arguments", "digest", "message"),
    [
        (["schedule.steps=900"], "d", r"schedule\.steps: 450 -> 900\n"),
        ([], "other", "the data changed"),
    ],
)
def test_another_configuration_is_refused_with_the_difference(
    tmp_path: Path, arguments: list[str], digest: str, message: str
) -> None:
    settle_plan(plan_ablation(tmp_path))
    pretend_trained(plan_ablation(tmp_path))
    with pytest.raises(ConfigError, match=message):
        settle_plan(plan_ablation(tmp_path, *arguments, digest=digest))


def test_before_anything_is_trained_a_plan_may_change(tmp_path: Path) -> None:
    first = settle_plan(plan_ablation(tmp_path))
    assert settle_plan(plan_ablation(tmp_path, "schedule.steps=900")) != first


def test_a_summary_is_found_by_identity(tmp_path: Path) -> None:
    plan = plan_ablation(tmp_path)
    trial = plan.trials[0]
    assert plan.summary_of(trial) is None
    plan.folder_of(trial).mkdir(parents=True)
    metrics = {arm: {"val/AP": 0.5} for arm in trial.arms}
    write_summary(plan.folder_of(trial), trial.identity, summary_of(metrics))
    assert plan.summary_of(trial) == summary_of(metrics)


def test_a_folder_below_a_file_holds_no_finished_training(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    plan = plan_ablation(tmp_path / "file")
    assert plan.summary_of(plan.trials[0]) is None


def test_looks_are_stored_with_the_plan_and_stay(tmp_path: Path) -> None:
    settle_plan(plan_ablation(tmp_path), [3])
    settle_plan(plan_ablation(tmp_path), [2, 3])
    settle_plan(plan_ablation(tmp_path))
    stored = read_plan(plan_ablation(tmp_path).folder)
    assert stored is not None and stored.looks == [2, 3]


def test_a_search_is_found_again_from_its_plan_and_what_was_added_to_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(planning, "is_whole_plan_due", lambda count: count == 3)
    words = ("+experiment=search_fcos", "search=tpe", "experiment.search.trials=6")
    plan = plan_of(tmp_path, *words)
    settle_plan(plan)
    assert plan.search is not None
    for number in range(6):
        rate = 0.01 + 0.001 * number
        keys = {"schedule.lr_per_16_images": rate}
        config = with_keys(plan.search.base, keys)
        name = f"t{number:03d}"
        (trial,) = plan_trials({name: config}, (0,), plan.provenance, {name: "d"})
        plan.search.drawn[name] = SampledPoint(point=keys, keys=keys)
        plan.grow(name, config, trial)
        update_plan(plan)
        stored = read_plan(plan.folder)
        assert stored == StoredPlan.of(plan, key="" if stored is None else stored.key)
    assert len(json.loads((plan.folder / PLAN).read_text())["trials"]) == 3
    again = plan_of(tmp_path, *words)
    assert [trial.identity for trial in again.trials] == [trial.identity for trial in plan.trials]
    complete_plan(plan.folder)
    assert len(json.loads((plan.folder / PLAN).read_text())["trials"]) == 6
    assert not (plan.folder / ADDITIONS).exists()
