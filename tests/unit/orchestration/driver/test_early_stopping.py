"""ASHA judges, a file asks: no STOP reaches Tune, and a rerun knows the rungs."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from fcos.storage.run_folder import STOP, MetricPoint, ProgressRecord
from orchestration.config.search import StrategyConfig
from orchestration.driver.early_stopping import StopRequestingScheduler, curve
from orchestration.search.samplers import make_scheduler
from orchestration.trial import files
from orchestration.trial.task import TASK
from orchestration.trial.worker import RECORD
from tests.helpers.experiments.tasks import task_in

STEPS = 90


class Trainings:
    """Trainings of one sweep that report to a scheduler."""

    def __init__(self, folder: Path, mode: str = "max", ended: tuple[str, ...] = (), **strategy: Any) -> None:
        self.folder = folder
        inner = make_scheduler(StrategyConfig(**{"early_stopping": "asha", **strategy}), mode, STEPS)
        self.scheduler = StopRequestingScheduler(inner, "val/AP", mode, [folder / name for name in ended], judged=0)

    def start(self, name: str, seed: int = 0) -> Any:
        (self.folder / name).mkdir(exist_ok=True)
        trial = SimpleNamespace(trial_id=name, config={TASK: task_in(self.folder / name, config={"seed": seed})})
        self.scheduler.on_trial_add(None, trial)
        return trial

    def report(self, trial: Any, step: int, *values: float) -> bool:
        """Return whether the training is requested to stop."""
        scores = [MetricPoint(f"arm{n}", "val/AP", step, value) for n, value in enumerate(values)]
        points = (MetricPoint(None, "train/loss", step, 1.0), *scores)
        files.append_points(self.folder / trial.trial_id, points)
        record = ProgressRecord(step, STEPS, 1.0, 0, points)
        assert self.scheduler.on_trial_result(None, trial, {RECORD: record.to_json()}) == "CONTINUE"
        folder: Path = self.folder / trial.trial_id
        return (folder / STOP).exists()


def test_the_worse_of_two_is_requested_to_stop_once_it_stands_on_a_rung(tmp_path: Path) -> None:
    trainings = Trainings(tmp_path)
    good, poor = trainings.start("good"), trainings.start("poor")
    assert not trainings.report(good, 10, 0.5)
    # The grace period is a ninth of all steps.
    assert not trainings.report(poor, 9, 0.1)
    assert trainings.report(poor, 12, 0.1)
    assert not trainings.report(good, 30, 0.6)


def test_brackets_give_some_trainings_more_time_the_same_in_every_command(tmp_path: Path) -> None:
    def stopped(command: str, early_stopping: str) -> list[bool]:
        (tmp_path / command).mkdir()
        trainings = Trainings(tmp_path / command, early_stopping=early_stopping)
        trials = [trainings.start(f"t{index}") for index in range(12)]
        # Each is worse than the one before, at the first bracket's first rung.
        return [trainings.report(trial, 12, 0.9 - 0.05 * index) for index, trial in enumerate(trials)]

    one_bracket, first, again = stopped("asha", "asha"), stopped("first", "hyperband"), stopped("again", "hyperband")
    assert first == again
    assert 0 < sum(first) < sum(one_bracket)


def test_a_report_without_the_metric_is_no_judgement(tmp_path: Path) -> None:
    trainings = Trainings(tmp_path)
    trial = trainings.start("a")
    assert not trainings.report(trial, 40)
    assert trainings.scheduler.metric is None


def test_the_last_step_ends_by_itself(tmp_path: Path) -> None:
    trainings = Trainings(tmp_path)
    trial = trainings.start("a")
    assert not trainings.report(trial, STEPS, 0.1)
    trainings.scheduler.on_trial_complete(None, trial, {})


def test_what_asks_is_repeated_for_another_attempt(tmp_path: Path) -> None:
    trainings = Trainings(tmp_path)
    trainings.report(trainings.start("good"), 10, 0.5)
    poor = trainings.start("poor")
    assert trainings.report(poor, 10, 0.1)
    files.clear_stop(tmp_path / "poor")
    assert trainings.report(poor, 11)


@pytest.mark.parametrize(("mode", "stops"), [("max", True), ("min", False)])
def test_the_next_command_finds_the_rungs_as_they_were(tmp_path: Path, mode: str, stops: bool) -> None:
    before = Trainings(tmp_path, mode)
    before.report(before.start("ended"), 10, 0.5)
    after = Trainings(tmp_path, mode, ended=("ended",))
    assert after.report(after.start("new"), 10, 0.4) is stops


def test_of_several_arms_the_best_counts() -> None:
    values = (("a", "val/AP", 2, 0.1), ("b", "val/AP", 2, 0.3), ("a", "val/AP", 1, 0.2), ("a", "val/AP50", 2, 0.9))
    points = [MetricPoint(*value) for value in values]
    assert curve(points, "val/AP", max) == {1: 0.2, 2: 0.3}
