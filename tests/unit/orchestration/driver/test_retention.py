"""Checkpoints of the lesser trainings make room, in the order of the metric, and none that somebody rests on."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from fcos.config.evaluation import EvaluationSettings
from fcos.errors import ConfigError
from fcos.storage.run_folder import REUSED, MetricPoint
from orchestration.config.compose import compose
from orchestration.config.overrides import check_overrides
from orchestration.config.schema import LabConfig
from orchestration.driver import retention
from orchestration.driver.events import TrialFinished
from orchestration.driver.retention import (
    CheckpointRetention,
    Ranking,
    describe_kept,
    rank,
    ranked_value,
    remove_checkpoints,
)
from orchestration.experiment.provenance import Provenance
from orchestration.experiment.trials import Trial
from orchestration.planning.plan import Plan
from orchestration.trial import files
from tests.helpers.experiments.summaries import summary_of


def test_the_best_come_first_equals_in_their_order_and_what_has_no_value_has_no_rank() -> None:
    values = {"a": 0.1, "b": 0.3, "c": None, "d": 0.3, "e": 0.5}
    assert rank(values, "max") == ["e", "b", "d", "a"]
    assert rank(values, "min") == ["a", "b", "d", "e"]


@pytest.mark.parametrize(
    ("metrics", "highest", "lowest"),
    [
        ({"one": {"val/AP": 0.1}, "two": {"val/AP": 0.5}}, 0.5, 0.1),
        ({"one": {"val/AP": float("nan")}, "two": {"val/AP": 0.2}}, 0.2, 0.2),
        ({"one": {"val/AP": float("inf")}}, None, None),
        ({"arm": {}}, None, None),
    ],
)
def test_a_training_counts_by_its_best_arm_and_by_finite_values_alone(
    tmp_path: Path, metrics: dict[str, dict[str, float]], highest: float | None, lowest: float | None
) -> None:
    assert ranked_value(tmp_path, metrics, Ranking("val/AP", "max")) == highest
    assert ranked_value(tmp_path, metrics, Ranking("val/AP", "min")) == lowest


def test_a_loss_counts_by_its_last_point(tmp_path: Path) -> None:
    points = [MetricPoint(None, "train/loss", step, loss) for step, loss in ((2, 0.5), (12, 0.9), (10, 0.1))]
    files.append_points(tmp_path, points)
    assert ranked_value(tmp_path, {"arm": {"val/AP": 0.3}}, Ranking("train/loss", "min")) == 0.9
    assert ranked_value(tmp_path, {"arm": {"val/AP": 0.3}}, Ranking("train/loss_quality", "min")) is None


def plan_in(output: Path, values: Mapping[str, float | None]) -> Plan:
    """A sweep with a training for each value; those without one are not finished."""
    config = compose(check_overrides([])).training
    arms = {"arm": EvaluationSettings.of(config)}
    trials = [Trial(f"{name:0>16}", 0, config, arms, data_digest="", trunk=name) for name in values]
    plan = Plan("mine", output / "mine", trials, Provenance("", {}), {})
    for trial, value in zip(trials, values.values(), strict=True):
        checkpoint = plan.folder_of(trial) / "checkpoints" / "step_00000004"
        checkpoint.mkdir(parents=True)
        (checkpoint / "model.safetensors").write_bytes(bytes(1000))
        if value is not None:
            files.write_summary(plan.folder_of(trial), trial.identity, summary_of({"arm": {"val/AP": value}}))
    return plan


def lab_of(output: Path, keep: int | None, metric: str | None = None) -> LabConfig:
    experiment = None if metric is None else SimpleNamespace(search=None, metrics=(metric,))
    keeping = SimpleNamespace(trained=keep)
    return cast(LabConfig, SimpleNamespace(keep=keeping, folder=output, experiment=experiment, is_in_bucket=False))


def left(plan: Plan) -> str:
    kept = [trial.identity.lstrip("0") for trial in plan.trials if (plan.folder_of(trial) / "checkpoints").exists()]
    return "".join(kept)


def test_all_stay_unless_a_number_is_given(tmp_path: Path) -> None:
    plan = plan_in(tmp_path, {"a": 0.1, "b": 0.3})
    assert remove_checkpoints(lab_of(tmp_path, None), plan).lines(2) == []
    assert remove_checkpoints(lab_of(tmp_path, 2), plan).lines(2) == []
    assert left(plan) == "ab"


def test_the_lesser_make_room_and_the_unfinished_do_not(tmp_path: Path) -> None:
    plan = plan_in(tmp_path, {"a": 0.1, "b": 0.3, "c": None, "d": 0.2})
    found = remove_checkpoints(lab_of(tmp_path, 1), plan)
    assert left(plan) == "bc"
    assert [each.trial.identity[-1] for each in found.removed] == ["d", "a"]
    assert found.lines(1) == [
        "keep.trained=1: of 3 trainings ranked by val/AP, highest first, the checkpoints of 2 were removed (0.0 MB): "
        "arm · seed 0, arm · seed 0"
    ]
    # Summary and curves are not touched, and there is nothing left to do.
    assert all(plan.summary_of(trial) for trial in plan.trials if trial.identity[-1] != "c")
    assert remove_checkpoints(lab_of(tmp_path, 1), plan).lines(1) == []


class Rolling:
    """A sweep that goes on, whose trainings finish at given moments."""

    def __init__(self, tmp_path: Path, values: Mapping[str, float | None], keep: int | None) -> None:
        self.plan, self.now = plan_in(tmp_path, values), 0.0
        self.unfinished = {trial.identity for trial in self.plan.trials}
        self.recorded: list[tuple[str, str]] = []
        lab = lab_of(tmp_path, keep)
        self.retention = CheckpointRetention(lab, self.plan, lambda: self.unfinished, self.record, lambda: self.now)

    def record(self, trial: Trial, reason: str) -> None:
        self.recorded.append((trial.identity[-1], reason))

    def finish(self, index: int, moment: float) -> str:
        """Finish a training; return those that have their checkpoints after it."""
        trial, self.now = self.plan.trials[index], moment
        summary = self.plan.summary_of(trial)
        assert summary is not None
        self.unfinished.discard(trial.identity)
        self.retention.handle(TrialFinished(index, trial, summary))
        return left(self.plan)


def test_while_trainings_run_those_below_the_best_make_room_after_a_minute(tmp_path: Path) -> None:
    rolling = Rolling(tmp_path, {"a": 0.1, "b": 0.3, "c": 0.2, "d": 0.4}, 1)
    assert rolling.finish(0, 0) == "abcd"
    assert rolling.finish(1, 50) == "abcd"
    # The first one is not the best now, and long enough ago.
    assert rolling.finish(2, 70) == "bcd"
    assert rolling.finish(3, 200) == "d"
    assert rolling.recorded == [(name, "not among the 1 best by val/AP") for name in "abc"]
    removed, (line,) = rolling.retention.end(())
    assert [trial.identity[-1] for trial in removed] == ["a", "b", "c"]
    assert "of 4 trainings ranked by val/AP, highest first, the checkpoints of 3 were removed" in line


def test_the_end_of_a_sweep_waits_for_no_minute(tmp_path: Path) -> None:
    rolling = Rolling(tmp_path, {"a": 0.1, "b": 0.3}, 1)
    rolling.finish(0, 0)
    assert rolling.finish(1, 1) == "ab"
    removed, _ = rolling.retention.end(())
    assert ([trial.identity[-1] for trial in removed], left(rolling.plan)) == (["a"], "b")
    assert rolling.recorded == [("a", "not among the 1 best by val/AP")]


def test_while_trainings_run_all_stay_unless_a_number_is_given(tmp_path: Path) -> None:
    rolling = Rolling(tmp_path, {"a": 0.1, "b": 0.3}, None)
    assert [rolling.finish(0, 0), rolling.finish(1, 1000)] == ["ab", "ab"]


def test_what_another_training_begins_from_stays_until_it_has_ended(tmp_path: Path) -> None:
    rolling = Rolling(tmp_path, {"a": 0.1, "b": 0.3, "c": 0.2, "d": 0.25}, 1)
    trials = [replace(each, trunk="d" if index == 3 else "one") for index, each in enumerate(rolling.plan.trials)]
    rolling.plan = rolling.retention.plan = replace(rolling.plan, trials=trials)
    rolling.finish(0, 0)
    assert rolling.finish(1, 100) == "abcd"
    rolling.finish(2, 200)
    assert rolling.finish(3, 300) == "bd"


def test_a_long_list_of_removed_ones_is_cut(tmp_path: Path) -> None:
    plan = plan_in(tmp_path, {name: 0.01 * index for index, name in enumerate("abcdefgh")})
    (line,) = remove_checkpoints(lab_of(tmp_path, 1), plan).lines(1)
    assert "the checkpoints of 7 were removed" in line
    assert line.endswith(": " + "arm · seed 0, " * 6 + "...")


def test_a_sweep_that_keeps_much_has_a_note_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = plan_in(tmp_path, {"a": 0.1, "b": 0.3})
    assert describe_kept(plan, None) == []
    monkeypatch.setattr(retention, "WORTH_A_LINE", 2000)
    (line,) = describe_kept(plan, None)
    assert line.startswith("checkpoints of 2 trainings take 0.0 GB; the same command with keep.trained=N leaves")
    assert describe_kept(plan, 2) == []


def test_the_highest_loss_goes_first(tmp_path: Path) -> None:
    plan = plan_in(tmp_path, {"a": 0.1, "b": 0.3, "c": 0.2})
    for trial, loss in zip(plan.trials, (0.7, 0.9, 0.8), strict=True):
        files.append_points(plan.folder_of(trial), [MetricPoint(None, "train/loss", 4, loss)])
    (line,) = remove_checkpoints(lab_of(tmp_path, 2, "train/loss"), plan).lines(2)
    assert "of 3 trainings ranked by train/loss, lowest first, the checkpoints of 1 were removed" in line
    assert left(plan) == "ac"


def test_without_a_value_nothing_is_removed(tmp_path: Path) -> None:
    plan = plan_in(tmp_path, {"a": float("nan"), "b": 0.3, "c": 0.1})
    assert remove_checkpoints(lab_of(tmp_path, 1), plan).lines(1)[1:] == [
        "kept all the same, as they have no finite val/AP to be ranked by: arm · seed 0"
    ]
    assert left(plan) == "ab"
    nothing = plan_in(tmp_path / "other", {"a": 0.1, "b": 0.3})
    lines = remove_checkpoints(lab_of(tmp_path / "other", 1, "val/APl"), nothing).lines(1)
    assert lines == ["kept all the same, as they have no finite val/APl to be ranked by: arm · seed 0, arm · seed 0"]
    assert left(nothing) == "ab"


def test_what_another_sweep_took_over_stays_there_and_here(tmp_path: Path) -> None:
    plan = plan_in(tmp_path, {"a": 0.1, "b": 0.3, "c": 0.2})
    theirs = tmp_path / "theirs" / "trials" / "x"
    (theirs / "checkpoints").mkdir(parents=True)
    (theirs / REUSED).write_text(json.dumps({"sweep": "mine", "arms": {}, "trained_by": "x"}))
    (theirs / "checkpoints" / "step_00000004").symlink_to(
        plan.folder_of(plan.trials[0]) / "checkpoints" / "step_00000004"
    )
    # One of ours is itself from elsewhere.
    (plan.folder_of(plan.trials[2]) / REUSED).write_text(json.dumps({"sweep": "other", "arms": {}, "trained_by": "x"}))
    found = remove_checkpoints(lab_of(tmp_path, 1), plan)
    assert left(plan) == "abc"
    assert found.lines(1) == ["kept all the same, as others need them: arm · seed 0"]


@pytest.mark.parametrize("word", ["keep.trained=0", "keep.trained=some", "keep.traine=1"])
def test_bad_values_are_refused(word: str) -> None:
    with pytest.raises(ConfigError, match="keep"):
        compose(check_overrides(["+experiment=ablation_centerness", word]))
