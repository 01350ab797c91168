"""Trainings as lines of JSON: each change once, progress now and then, evaluations always."""

import io
import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from fcos.installation import ROOT
from fcos.storage.run_folder import MetricPoint, ProgressRecord
from orchestration.cli.event_stream import SILENT, EventStream
from orchestration.driver.event_lines import QUIET_SECONDS, EventLines
from orchestration.driver.events import (
    Events,
    TrialFailed,
    TrialFinished,
    TrialFollowed,
    TrialReported,
    TrialRetried,
    TrialReused,
    TrialStarted,
    TrialStopped,
)
from orchestration.driver.progress import SweepProgress
from orchestration.planning.plan import Plan
from tests.helpers.experiments.seed_rounds import clear, finish, plan_rounds
from tests.helpers.experiments.summaries import summary_of

SCHEMA = json.loads((ROOT / "docs" / "events.schema.json").read_text())


class Lines:
    """A plan's events, and what is written of them."""

    def __init__(self, plan: Plan) -> None:
        self.file, self.trial = io.StringIO(), plan.trials[0]
        progress = SweepProgress.of(plan)
        self.lines = EventLines(plan, progress, EventStream(self.file))
        self.publish = Events([progress.handle, self.lines.handle]).publish

    def report(self, step: int, seconds: float, *points: MetricPoint) -> None:
        self.publish(TrialReported(0, self.trial, ProgressRecord(step, 100, seconds, 0, points)))

    def written(self) -> list[dict[str, Any]]:
        events = [json.loads(line, parse_constant=pytest.fail) for line in self.file.getvalue().splitlines()]
        for event in events:
            jsonschema.Draft202012Validator(SCHEMA).validate(event)
        return events


@pytest.fixture
def shown(tmp_path: Path) -> Lines:
    return Lines(plan_rounds(tmp_path)[1])


def test_a_training_from_its_start_to_its_end(shown: Lines) -> None:
    trial = shown.trial
    shown.publish(TrialStarted(0, trial, first=True))
    shown.publish(TrialRetried(0, trial, "its process was killed"))
    shown.publish(TrialStarted(0, trial, first=False))
    metrics = {arm: {"val/AP": 0.25, "val/class_AP/disc": 0.5} for arm in trial.arms}
    shown.publish(TrialFinished(0, trial, summary_of(metrics, checkpoint="checkpoints/step_00000004")))
    shown.publish(TrialFailed(0, trial, "diverged"))
    shown.publish(TrialStopped(0, trial, "budget", begun=True))
    events = shown.written()
    assert [event["type"] for event in events] == [
        "training_started",
        "training_retried",
        "training_started",
        "training_finished",
        "training_failed",
        "training_stopped",
    ]
    assert {event["identity"] for event in events} == {trial.identity}
    assert events[3]["metrics"] == {arm: {"val/AP": 0.25} for arm in trial.arms}
    assert events[3]["checkpoint"].startswith(events[3]["folder"])


def test_progress_is_written_now_and_then_and_every_evaluation(shown: Lines) -> None:
    shown.publish(TrialStarted(0, shown.trial, first=True))
    loss = MetricPoint(None, "train/loss", 1, 1.5)
    shown.report(1, 0.1, loss)
    shown.report(2, 0.2, loss)
    shown.report(3, 0.3, MetricPoint("none", "val/AP", 3, 0.25), MetricPoint("none", "val/class_AP/a", 3, 0.5))
    shown.report(4, 0.4 + QUIET_SECONDS, loss)
    events = shown.written()[1:]
    assert [event["step"] for event in events] == [1, 3, 4]
    assert events[0]["loss"] == 1.5 and events[0]["metrics"] == {}
    assert events[1]["metrics"] == {"none": {"val/AP": 0.25}}


def test_another_attempt_counts_its_seconds_from_zero(shown: Lines) -> None:
    shown.publish(TrialStarted(0, shown.trial, first=True))
    shown.report(50, 900.0)
    shown.publish(TrialStarted(0, shown.trial, first=False))
    shown.report(41, 0.5)
    assert [event["step"] for event in shown.written() if event["type"] == "training_progress"] == [50, 41]


def test_a_round_shows_what_it_decided(tmp_path: Path) -> None:
    _, plan, rounds = plan_rounds(tmp_path)
    shown = Lines(plan)
    shown.lines.emit_look(rounds.needed(), begun=6)
    assert shown.written() == [], "nothing was looked at yet"
    finish(plan, rounds.needed().indices, clear)
    shown.lines.emit_look(rounds.needed(), begun=2)
    (event,) = shown.written()
    assert (event["type"], event["seeds"], event["begun"], event["complete"]) == ("look", 3, 2, False)
    assert event["undecided"] == ["from_regression", "branch"] and set(event["outcomes"]) == set(event["undecided"])


def test_what_another_sweep_trains_and_has_trained(shown: Lines) -> None:
    trial = shown.trial
    shown.publish(TrialFollowed(0, trial, "first", "one", 0, 0, None))
    shown.publish(TrialFollowed(0, trial, "first", "one", 30, 100, 1.5))
    metrics = {arm: {"val/AP": 0.25, "val/class_AP/disc": 0.5} for arm in trial.arms}
    shown.publish(TrialReused(0, trial, summary_of(metrics), "first"))
    begun, followed, reused = shown.written()
    assert (begun["type"], begun["sweep"], begun["host"], begun["step"], begun["loss"]) == (
        "training_followed", "first", "one", 0, None,
    )  # fmt: skip
    assert begun["total_steps"] == trial.config.schedule.steps, "its own, before the other one has reported"
    assert (followed["step"], followed["total_steps"], followed["loss"]) == (30, 100, 1.5)
    assert (reused["type"], reused["sweep"]) == ("training_reused", "first")
    assert reused["metrics"] == {arm: {"val/AP": 0.25} for arm in trial.arms}


def test_without_a_reader_nothing_is_written(tmp_path: Path) -> None:
    plan = plan_rounds(tmp_path)[1]
    lines = EventLines(plan, SweepProgress.of(plan), SILENT)
    lines.handle(TrialStarted(0, plan.trials[0], first=True))
    lines.emit_given_look(3, complete=True)
