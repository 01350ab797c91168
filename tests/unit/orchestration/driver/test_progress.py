"""Progress of a sweep: states, time left, and the lines on the console."""

import io
from typing import Any

import pytest
from rich.console import Console

from fcos.config.evaluation import EvaluationSettings
from fcos.config.parse import parse
from fcos.config.run import Config
from fcos.storage.run_folder import MetricPoint, ProgressRecord
from orchestration.cli.console import format_duration
from orchestration.driver.events import (
    TrialEvent,
    TrialFailed,
    TrialFinished,
    TrialFollowed,
    TrialReported,
    TrialReused,
    TrialStarted,
    TrialStopped,
)
from orchestration.driver.progress import State, SweepProgress, Totals, TrialProgress
from orchestration.driver.progress_view import PlainView, make_view, trials_that_fit
from orchestration.experiment.trials import Trial
from tests.helpers.experiments.summaries import summary_of


@pytest.fixture
def trial(tiny_values: dict[str, Any]) -> Trial:
    config = parse(Config, tiny_values)
    return Trial("x" * 16, 0, config, {"branch": EvaluationSettings.of(config)}, "d", "t")


def record(step: int, seconds: float, resumed_from: int = 0, points: Any = (), total: int = 100) -> ProgressRecord:
    return ProgressRecord(step, total, seconds, resumed_from, tuple(MetricPoint(*point) for point in points))


def row(index: int = 0, total: int = 100, **values: Any) -> TrialProgress:
    return TrialProgress(index, None, total, **values)


def test_events_change_the_state_of_their_training(trial: Trial) -> None:
    progress = SweepProgress([row(0), row(1), row(2)])
    assert progress.trials[0].label == "t000 · to be drawn"
    progress.handle(TrialStarted(0, trial, first=True))
    assert (progress.trials[0].state, progress.trials[0].label) == ("running", "branch · seed 0")
    progress.handle(TrialReported(0, trial, record(50, 1.0)))
    assert progress.trials[0].step == 50
    progress.handle(TrialFinished(0, trial, summary_of({"branch": {"val/AP": 0.5}}, pruned=50)))
    ended = progress.trials[0]
    assert (ended.state, ended.note, ended.ap_text, ended.total_steps) == (
        "finished", "pruned at step 50", "AP 0.500", 50,
    )  # fmt: skip
    progress.handle(TrialFailed(1, trial, "why\nand a log"))
    progress.handle(TrialStopped(2, trial, "a full disk", begun=False))
    assert [(each.state, each.note) for each in progress.trials[1:]] == [("failed", "why"), ("stopped", "not started")]
    assert progress.count("failed", "stopped") == 2


def test_points_that_were_never_drawn_are_no_trainings(trial: Trial) -> None:
    progress = SweepProgress([TrialProgress(0, trial, 10), row(1)])
    assert [each for _, each in progress.planned("waiting")] == [trial]


def test_time_left_follows_this_attempts_pace() -> None:
    one = row(state="running")
    assert one.seconds_left is None
    one.update(record(60, 10.0, resumed_from=50))
    assert one.seconds_left == 40.0


def test_a_row_keeps_the_newest_loss_and_ap_of_every_arm() -> None:
    one = row(state="running")
    one.update(
        record(
            10,
            1.0,
            points=[
                [None, "train/loss", 5, 2.0],
                [None, "train/loss", 10, 1.0],
                ["a", "val/AP", 10, 0.5],
                ["b", "val/AP", 10, 0.25],
            ],
        )
    )
    assert one.loss == 1.0
    assert one.ap_text == "AP 0.500 / 0.250"


def test_the_whole_is_timed_over_trainings_side_by_side(trial: Trial) -> None:
    rows = [row(0, state="running"), row(1), row(2, state="kept")]
    progress = SweepProgress(rows, max_concurrent=2)
    assert progress.seconds_left is None
    progress.handle(TrialReported(0, trial, record(50, 5.0)))
    # 50 + 100 steps at 0.1 s, two at a time.
    assert progress.seconds_left == 7.5
    assert (progress.steps_done, progress.steps) == (150, 300)


def test_the_sums_follow_each_event_and_look_at_its_training_alone(
    trial: Trial, monkeypatch: pytest.MonkeyPatch
) -> None:
    progress = SweepProgress([row(index, total=0 if index == 3 else 100) for index in range(50)], max_concurrent=7)
    events: list[TrialEvent] = [
        TrialStarted(3, trial, first=True),
        TrialReported(3, trial, record(20, 2.0, total=200)),
        TrialStarted(4, trial, first=True),
        TrialReported(4, trial, record(50, 5.0, resumed_from=10)),
        TrialFollowed(5, trial, "other", "box", 30, 100, None),
        TrialStarted(5, trial, first=True),
        TrialFinished(4, trial, summary_of({"branch": {}}, pruned=60)),
        TrialFailed(3, trial, "why"),
        TrialReused(6, trial, summary_of({"branch": {}}), "other"),
        TrialStopped(5, trial, "no hours", begun=True),
    ]
    counted: list[Any] = []
    of = Totals.of

    def count(*arguments: Any) -> Totals:
        counted.append(arguments)
        return of(*arguments)

    monkeypatch.setattr(Totals, "of", count)
    for event in events:
        progress.handle(event)
        assert progress.totals == SweepProgress(progress.all_trials).totals, event
        counted.clear()
        progress.handle(event)
        assert progress.seconds_left is None or len(counted) <= 2, "before and after, of one training"
    progress.stop_waiting("no space")
    assert (progress.totals.ended, progress.totals.unfinished) == (50, 0)


def test_durations() -> None:
    shown = [format_duration(seconds) for seconds in (None, 0, 61.4, 3600)]
    assert shown == ["--:--", "00:00", "01:01", "1:00:00"]


def test_plain_lines_at_start_quarters_and_end_only() -> None:
    out = io.StringIO()
    one = row()
    view = PlainView(SweepProgress([one]), Console(file=out, width=200))
    view.show(one)
    one.state = "running"
    for step in range(0, 101, 5):
        one.update(record(step, float(step)))
        view.show(one)
    one.state = "finished"
    view.show(one)
    lines = out.getvalue().splitlines()
    assert [line.split("  ")[1] for line in lines] == [
        "starts",
        "step 25 of 100",
        "step 50 of 100",
        "step 75 of 100",
        "finished",
    ]


def test_a_terminal_gets_the_live_view() -> None:
    out = io.StringIO()
    rows = [row(0, state="running"), row(1, state="failed", note="gone")]
    with make_view(SweepProgress(rows), Console(file=out, force_terminal=True, width=120)):
        rows[0].update(record(50, 5.0, points=[[None, "train/loss", 50, 0.5]]))
    text = out.getvalue()
    assert "loss 0.500" in text
    assert "00:05 left" in text
    assert "gone" in text
    assert "all: 1 of 2" in text


def test_a_low_terminal_shows_what_runs_and_what_failed() -> None:
    states: tuple[State, ...] = ("finished", "failed", "running", "waiting", "running", "waiting")
    rows = [row(index, state=state) for index, state in enumerate(states)]
    assert trials_that_fit(rows, 10) == rows
    assert [each.index for each in trials_that_fit(rows, 4)] == [1, 2, 3, 4]
    assert [each.index for each in trials_that_fit(rows, 0)] == [2]


def test_a_run_without_training_counts_images_and_learns_their_number() -> None:
    rows = [row(index, 0, unit="image") for index in range(3)]
    rows[2] = row(2, 5000, unit="image", state="kept")
    progress = SweepProgress(rows)
    assert (progress.steps_done, progress.steps, progress.seconds_left) == (5000, 15000, None)
    rows[0].state = "running"
    assert rows[0].position == "starts"
    rows[0].update(record(1000, 2.0, total=4000))
    assert rows[0].position == "image 1000 of 4000"
    # 3000 images and, for the second, as many as the longest run has.
    assert progress.seconds_left == 16.0


def test_a_search_for_ranges_reports_its_rounds() -> None:
    one = row(total=0, unit="image", state="running")
    one.update(record(0, 3.0, points=[[None, "coverage/search_objective", 2, 1.0432]]))
    assert one.position == "level ranges, round 2: objective 104.32"
    assert one.seconds_left is None


def printed(*reports: tuple[int, float]) -> list[str]:
    """What is printed of a training that reports so many images after so many seconds."""
    out = io.StringIO()
    one = row(total=0, unit="image")
    view = PlainView(SweepProgress([one]), Console(file=out, width=200))
    for step, seconds in reports:
        one.state = "running"
        one.update(record(step, seconds))
        view.show(one)
    one.state = "finished"
    view.show(one)
    return [line.split("  ")[1] for line in out.getvalue().splitlines()]


def test_a_short_run_has_no_lines_but_start_and_end() -> None:
    assert printed((0, 0.0), (30, 0.3), (60, 0.6), (90, 0.9), (100, 1.0)) == ["starts", "finished"]


def test_a_quarter_that_came_too_soon_is_reported_when_its_time_has_come() -> None:
    assert printed((0, 0.0), (30, 1.0), (40, 6.0), (60, 7.0), (80, 11.5), (100, 12.0)) == [
        "starts",
        "image 40 of 100",
        "image 80 of 100",
        "finished",
    ]


def test_the_last_image_is_not_reported_beside_the_end() -> None:
    assert printed((0, 0.0), (50, 2.0), (100, 9.0)) == ["starts", "finished"]


def test_a_new_attempt_is_reported_however_soon() -> None:
    assert printed((0, 0.0), (50, 30.0), (80, 1.0)) == ["starts", "image 50 of 100", "image 80 of 100", "finished"]


def test_one_that_another_sweep_trains_is_followed_to_its_end(trial: Trial) -> None:
    out = io.StringIO()
    progress = SweepProgress([TrialProgress(0, trial, 100)])
    view = PlainView(progress, Console(file=out, width=200))
    for step in range(0, 61, 5):
        event = TrialFollowed(0, trial, "first", "one", step, 100 if step else 0, 1.25 if step else None)
        progress.handle(event)
        view.handle(event)
    assert [each for _, each in progress.planned("followed")] == [trial]
    assert progress.all_trials[0].seconds_left is None, "it takes nothing of this command's time"
    reused = TrialReused(0, trial, summary_of({"branch": {"val/AP": 0.5}}), "first")
    progress.handle(reused)
    view.handle(reused)
    lines = [line.split("  [")[0] for line in out.getvalue().splitlines()]
    assert lines == [
        "branch · seed 0:  trained by sweep first on one  starts",
        "branch · seed 0:  trained by sweep first on one  step 25 of 100  loss 1.250",
        "branch · seed 0:  trained by sweep first on one  step 50 of 100  loss 1.250",
        "branch · seed 0:  reused from first  loss 1.250  AP 0.500",
    ]
    assert progress.all_trials[0].state == "kept"


def test_one_that_is_taken_over_from_another_sweep_begins_at_its_own_step(trial: Trial) -> None:
    progress = SweepProgress([TrialProgress(0, trial, 100)])
    progress.handle(TrialFollowed(0, trial, "first", "one", 60, 100, 1.25))
    progress.handle(TrialStarted(0, trial, first=True))
    row = progress.all_trials[0]
    assert (row.state, row.step, row.began_at, row.loss, row.note) == ("running", 0, 0, None, "")
