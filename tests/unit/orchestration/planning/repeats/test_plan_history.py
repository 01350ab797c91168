"""The history of a plan: an entry for each plan that is another, with what changed and how many results there were."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from fcos.errors import ConfigError
from fcos.storage.plan_history import PlanEntry
from orchestration.planning.plan import read_plan, settle_plan
from orchestration.planning.repeats.plan_history import read_plan_history, record_plan_history
from tests.helpers.experiments.recorded_sweeps import plan_sweep
from tests.helpers.experiments.seed_rounds import clear, finish

GIVEN = ("+experiment=ablation_centerness", "experiment.until=seeds", "experiment.seeds=[0,1]")
MORE = ("+experiment=ablation_centerness", "experiment.until=seeds", "experiment.seeds=[0,1,2]")
TIME = datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=UTC)


def command(folder: Path, *words: str, elsewhere: int = 0, results: int = 0) -> tuple[PlanEntry, ...]:
    """Record the plan of a command, which then finishes so many trainings; returns the history."""
    lab, plan = plan_sweep(folder, *words)
    assert lab.experiment is not None
    before = read_plan(plan.folder)
    settle_plan(plan)
    record_plan_history(plan, lab.experiment, read_plan_history(plan.folder), before, elsewhere, TIME)
    finish(plan, range(results), clear)
    history = read_plan_history(plan.folder)
    assert history is not None
    return history.entries


def test_the_first_plan_is_recorded_before_anything_has_begun(tmp_path: Path) -> None:
    (entry,) = command(tmp_path, *GIVEN, elsewhere=2)
    assert (entry.begun, entry.finished, entry.finished_elsewhere, entry.changes) == (0, 0, 2, ())
    assert entry.time == TIME.replace(microsecond=0)
    assert entry.seeds == (0, 1) and set(entry.arms) == {"none", "from_regression", "branch"}
    assert entry.settings["experiment.baseline"] == "none"
    assert entry.settings["experiment.metrics"] == ["val/AP", "val/AP50", "val/AP75"]


def test_the_same_plan_again_adds_nothing_whatever_was_trained(tmp_path: Path) -> None:
    first = command(tmp_path, *GIVEN, results=3)
    assert command(tmp_path, *GIVEN, "data.num_workers=2") == first


def test_seeds_that_are_added_after_results_are_named_with_their_number(tmp_path: Path) -> None:
    command(tmp_path, *GIVEN, results=4)
    _, entry = command(tmp_path, *MORE)
    assert entry.changes == ("seed added: 2",)
    assert (entry.begun, entry.finished) == (0, 4)


def test_trainings_that_have_reported_without_a_result_have_begun(tmp_path: Path) -> None:
    command(tmp_path, *GIVEN)
    _, plan = plan_sweep(tmp_path, *GIVEN)
    folder = plan.folder_of(plan.trials[0])
    folder.mkdir(parents=True)
    (folder / "points.jsonl").write_text("")
    _, entry = command(tmp_path, *MORE)
    assert (entry.begun, entry.finished) == (1, 0)


def test_arms_that_come_and_go_are_named(tmp_path: Path) -> None:
    command(tmp_path, *GIVEN, "~experiment.arms.branch", "~experiment.paper.branch")
    _, entry = command(tmp_path, *GIVEN, "~experiment.arms.from_regression", "~experiment.paper.from_regression")
    assert entry.changes == ("arm added: branch", "arm left out: from_regression")


def test_a_configuration_that_changes_is_named_key_by_key_and_by_arm(tmp_path: Path) -> None:
    command(tmp_path, *GIVEN)
    _, entry = command(tmp_path, *GIVEN, "schedule.steps=900")
    assert entry.changes == ("schedule.steps: 450 -> 900",)
    *_, entry = command(
        tmp_path, *GIVEN, "schedule.steps=900", "experiment.arms.branch.model.postprocess.nms_threshold=0.5"
    )
    assert entry.changes == ("model.postprocess.nms_threshold: 0.6 -> 0.5 (arm branch)",)


@pytest.mark.parametrize(
    ("word", "change"),
    [
        ("experiment.metrics=[val/AP50,val/AP]", "experiment.metrics: ['val/AP', 'val/AP50', 'val/AP75'] -> "),
        ("experiment.margin=2", "experiment.margin: 1.0 -> 2.0"),
        ("experiment.baseline=branch", "experiment.baseline: 'none' -> 'branch'"),
        ("experiment.claim=Another", "experiment.claim: 'A predicted center-ness"),
    ],
)
def test_how_arms_are_compared_is_part_of_the_plan(tmp_path: Path, word: str, change: str) -> None:
    command(tmp_path, *GIVEN)
    _, entry = command(tmp_path, *GIVEN, word)
    assert len(entry.changes) == 1 and entry.changes[0].startswith(change)


def test_seeds_that_may_be_added_are_planned_from_the_start(tmp_path: Path) -> None:
    (entry,) = command(tmp_path, "+experiment=ablation_centerness")
    assert entry.seeds == tuple(range(12))
    _, entry = command(tmp_path, "+experiment=ablation_centerness", "experiment.most_seeds=14")
    assert entry.changes == ("seeds added: 12, 13", "experiment.most_seeds: 12 -> 14")


def test_the_points_of_a_search_are_no_part_of_its_plan(tmp_path: Path) -> None:
    words = ("+experiment=search_fcos", "experiment.search.trials=2")
    (entry,) = command(tmp_path, *words)
    assert entry.arms == {} and entry.settings["experiment.search.trials"] == 2
    _, entry = command(tmp_path, "+experiment=search_fcos", "experiment.search.trials=3")
    assert entry.changes == ("experiment.search.trials: 2 -> 3",)


def test_paths_stay_out_of_a_history_that_is_published(tmp_path: Path) -> None:
    data = ("data=coco", "data.cache_dir=null")
    command(tmp_path, *GIVEN, *data, "data.root=/data/one", "data.train.annotations=/secret/a.json")
    _, entry = command(tmp_path, *GIVEN, *data, "data.root=/data/two", "data.train.annotations=/secret/b.json")
    assert entry.changes == ("data.train.annotations: '<path>' -> '<path>'",)
    text = (tmp_path / "ablation_centerness" / "plan_history.json").read_text()
    assert "secret" not in text and "/data" not in text


def test_a_history_that_cannot_be_read_is_refused_and_not_begun_anew(tmp_path: Path) -> None:
    command(tmp_path, *GIVEN)
    path = tmp_path / "ablation_centerness" / "plan_history.json"
    path.write_text("{}")
    with pytest.raises(ConfigError, match=r"plan_history\.json: .*not readable \(entries: Field required\); restore"):
        command(tmp_path, *GIVEN)
    assert path.read_text() == "{}"
