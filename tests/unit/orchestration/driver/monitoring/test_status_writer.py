"""The record of a driver: what events, heartbeats, hours and the store show of a command, in its folder."""

import json
import os
from pathlib import Path
from unittest.mock import create_autospec

import pytest

from fcos.storage.run_folder import MetricPoint, ProgressRecord
from orchestration.driver.events import (
    Events,
    TrialFailed,
    TrialFinished,
    TrialReported,
    TrialRetried,
    TrialStarted,
    TrialStopped,
)
from orchestration.driver.monitoring import status_writer
from orchestration.driver.monitoring.status_writer import StatusWriter
from orchestration.driver.progress import SweepProgress, TrialProgress
from orchestration.experiment.training_folder import STATUS
from orchestration.monitor.record import StatusRecord, TrainingRecord, read_status
from orchestration.tracking.tracker import Tracker
from orchestration.trial.failures import Stalled, write_failure
from orchestration.trial.heartbeat import registered
from tests.helpers.experiments.seed_rounds import clear, finish, plan_rounds
from tests.helpers.experiments.summaries import summary_of


class Driver:
    """A command on a plan whose first seed is finished, and whose clock stands."""

    def __init__(self, folder: Path) -> None:
        lab, self.plan, _ = plan_rounds(folder, "budget.cpu_hours=3")
        finish(self.plan, range(2), clear)
        self.plan.folder.mkdir(exist_ok=True)
        # The first training that is not finished, with two arms.
        self.index = next(i for i, trial in enumerate(self.plan.trials) if i > 1 and "none" in trial.arms)
        self.trial = self.plan.trials[self.index]
        self.progress = SweepProgress.of(self.plan)
        self.tracker = create_autospec(Tracker, instance=True)
        self.tracker.outage, self.tracker.lag_seconds = None, 1.5
        self.now = 100.0
        self.writer = StatusWriter(lab, self.plan, self.progress, self.tracker, lambda: self.now)
        self.publish = Events([self.progress.handle, self.writer.handle]).publish

    def start(self, *, first: bool = True) -> None:
        self.publish(TrialStarted(self.index, self.trial, first))

    def report(self, step: int, seconds: float, *points: MetricPoint) -> None:
        self.publish(TrialReported(self.index, self.trial, ProgressRecord(step, 100, seconds, 0, points)))

    def written(self) -> StatusRecord:
        self.writer.write("running")
        record = read_status(self.plan.folder)
        assert record is not None
        return record

    def training(self) -> TrainingRecord:
        return self.written().trainings[self.index]


@pytest.fixture
def driver(tmp_path: Path) -> Driver:
    return Driver(tmp_path)


def test_the_record_names_its_command_its_process_and_its_hours(driver: Driver) -> None:
    (driver.plan.folder / "spent.json").write_text('{"wall": 1.0, "cpu": 2.0, "gpu": 0.0}')
    driver.now = 107.0
    first = driver.written()
    assert (first.name, first.experiment) == (driver.plan.name, "ablation_centerness")
    assert (first.pid, first.started, first.written, first.phase) == (os.getpid(), 100.0, 107.0, "running")
    assert first.store is None and first.store_lag_seconds == 1.5
    assert [(each.name, each.limit, each.spent) for each in first.budget] == [
        ("gpu_hours", None, 0.0), ("cpu_hours", 3.0, 2.0), ("wall_hours", None, 1.0),
    ]  # fmt: skip
    assert driver.written().count == first.count + 1


def test_the_record_follows_a_training_from_its_start_to_its_end(driver: Driver) -> None:
    assert driver.training().state == "waiting" and driver.training().attempt == 0
    driver.start()
    driver.now = 110.0
    loss, ap = MetricPoint(None, "train/loss", 40, 0.5), MetricPoint("none", "val/AP", 40, 0.25)
    driver.report(40, 8.0, loss, ap)
    running = driver.training()
    assert (running.state, running.step, running.loss, running.steps_per_second) == ("running", 40, 0.5, 5.0)
    assert (running.began, running.signed, running.ended, running.attempt) == (100.0, 110.0, None, 1)
    assert running.values == {"none": 0.25} and running.seconds_left == 12.0
    driver.now = 120.0
    metrics = {arm: {"val/AP": 0.5} for arm in driver.trial.arms}
    driver.publish(TrialFinished(driver.index, driver.trial, summary_of(metrics)))
    ended = driver.training()
    assert (ended.state, ended.ended, ended.steps_per_second) == ("finished", 120.0, 5.0)
    assert set(ended.values.values()) == {0.5}


def test_attempts_are_counted_with_the_reason_and_the_kind_of_each_failure(driver: Driver) -> None:
    index, trial = driver.index, driver.trial
    folder = driver.plan.folder_of(trial)
    folder.mkdir(parents=True, exist_ok=True)
    driver.start()
    write_failure(folder, Stalled("no progress"), retryable=True)
    driver.publish(TrialRetried(index, trial, "Stalled: no progress\nmore"))
    (folder / "failure.json").unlink()
    driver.now = 130.0
    driver.start(first=False)
    again = driver.training()
    assert (again.attempt, again.reason, again.began) == (2, "Stalled: no progress", 100.0)
    driver.publish(TrialFailed(index, trial, "its process ended without a word\nlog: x"))
    record = driver.written()
    assert (record.retries, record.failures) == (1, {"Stalled": 1, "unknown": 1})
    failed = record.trainings[index]
    assert (failed.state, failed.reason, failed.ended) == ("failed", "its process ended without a word", 130.0)


def test_a_training_that_was_stopped_has_its_reason(driver: Driver) -> None:
    driver.start()
    driver.publish(TrialStopped(driver.index, driver.trial, "budget", begun=True))
    stopped = driver.training()
    assert (stopped.state, stopped.reason) == ("stopped", "budget") and driver.written().failures == {}


def test_the_best_is_of_any_evaluation_and_those_of_earlier_commands(driver: Driver) -> None:
    best = driver.written().best
    kept = {(arm, trial.seed): clear(arm, trial.seed) for trial in driver.plan.trials[:2] for arm in trial.arms}
    assert best is not None and best.value == pytest.approx(max(kept.values())) == kept[best.arm, best.seed]
    arm = next(iter(driver.trial.arms))
    driver.start()
    driver.report(10, 1.0, MetricPoint(arm, "val/AP", 10, 0.9))
    driver.report(20, 2.0, MetricPoint(arm, "val/AP", 20, 0.1), MetricPoint(arm, "val/AP", 30, float("nan")))
    best = driver.written().best
    assert best is not None and (best.arm, best.step, best.value) == (arm, 10, 0.9)
    assert json.loads((driver.plan.folder / STATUS).read_text())["trainings"][driver.index]["values"] == {arm: None}


def test_heartbeats_are_signs_of_life_and_show_where_it_runs(driver: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = driver.plan.folder_of(driver.trial)
    folder.mkdir(parents=True, exist_ok=True)
    driver.start()
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2")
    monkeypatch.setattr("socket.gethostname", lambda: "one")
    with registered(folder, "trial", "n"), registered(folder, "rank_0", "n"), registered(folder, "rank_1", "n"):
        driver.now = 140.0
        seen = driver.training()
        assert seen.signed == 140.0
        assert [(each.host, each.gpus) for each in seen.workers] == [("one", "2"), ("one", "2")]
        driver.now = 150.0
        assert driver.training().signed == 140.0, "what has not changed is no sign"
        os.utime(folder / "alive" / "rank_1.json", (1, 1))
        assert driver.training().signed == 150.0


def test_a_disk_that_takes_no_record_is_a_warning_once(
    driver: Driver, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(folder: Path, record: StatusRecord) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(status_writer, "write_status", refuse)
    for _ in range(2):
        assert driver.writer.write("running").phase == "running"
    (message,) = caplog.messages
    assert "status.json cannot be written (No space left on device)" in message


def test_after_the_end_nothing_overwrites_it(driver: Driver) -> None:
    driver.writer.write("ended", 4)
    assert driver.writer.write("running").exit_code == 4
    record = read_status(driver.plan.folder)
    assert record is not None and (record.phase, record.exit_code) == ("ended", 4)


@pytest.mark.parametrize("outage", [None, "it does not answer"])
def test_the_store_is_shown_where_it_takes_nothing(driver: Driver, outage: str | None) -> None:
    driver.tracker.outage = outage
    assert driver.written().store == outage


def test_only_what_runs_or_has_changed_is_made_anew(driver: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []
    make = StatusWriter._training

    def counted(writer: StatusWriter, progress: TrialProgress) -> TrainingRecord:
        made.append(progress.index)
        return make(writer, progress)

    monkeypatch.setattr(StatusWriter, "_training", counted)
    first = driver.written()
    assert made == [each.index for each in first.trainings]
    made.clear()
    assert driver.written().trainings == first.trainings and made == []
    driver.now = 101.0
    driver.start()
    assert [driver.training().state for _ in range(2)] == ["running", "running"] and made == [driver.index] * 2
    driver.publish(TrialStopped(driver.index, driver.trial, "no hours", begun=True))
    assert [driver.training().state for _ in range(2)] == ["stopped", "stopped"] and made == [driver.index] * 3
