"""Progress, time left and the lines that a person reads."""

import io
from typing import Any

from rich.console import Console

from orchestration.cli.console import PlainView, make_view, rows_that_fit
from orchestration.cli.progress import Board, Row, State, clock


def record(step: int, seconds: float, resumed_from: int = 0, points: Any = ()) -> dict[str, Any]:
    return {
        "step": step,
        "total_steps": 100,
        "seconds": seconds,
        "resumed_from": resumed_from,
        "points": list(points),
    }


def test_time_left_follows_this_attempts_pace() -> None:
    row = Row("a", 100, state="running")
    assert row.seconds_left is None
    row.take(record(60, 10.0, resumed_from=50))
    assert row.seconds_left == 40.0


def test_a_row_keeps_the_newest_loss_and_ap_of_every_arm() -> None:
    row = Row("a, b", 100, state="running")
    row.take(
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
    assert row.loss == 1.0
    assert row.ap_text == "AP 0.500 / 0.250"


def test_the_whole_is_timed_over_trainings_side_by_side() -> None:
    rows = [Row("a", 100, state="running"), Row("b", 100), Row("c", 100, state="kept")]
    board = Board(rows, abreast=2)
    assert board.seconds_left is None
    rows[0].take(record(50, 5.0))
    # 50 + 100 steps at 0.1 s, two at a time.
    assert board.seconds_left == 7.5
    assert (board.steps_done, board.steps) == (150, 300)


def test_clock() -> None:
    assert [clock(None), clock(0), clock(61.4), clock(3600)] == ["--:--", "00:00", "01:01", "1:00:00"]


def test_plain_lines_at_start_quarters_and_end_only() -> None:
    out = io.StringIO()
    row = Row("branch · seed 0", 100)
    board = Board([row], abreast=1)
    view = PlainView(board, Console(file=out, width=200))
    view.changed(row)
    row.state = "running"
    for step in range(0, 101, 5):
        row.take(record(step, float(step)))
        view.changed(row)
    row.state = "finished"
    view.changed(row)
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
    rows = [Row("branch", 100, state="running"), Row("none", 100, state="failed", note="gone")]
    with make_view(Board(rows, abreast=1), Console(file=out, force_terminal=True, width=120)) as view:
        rows[0].take(record(50, 5.0, points=[[None, "train/loss", 50, 0.5]]))
        view.changed(rows[0])
    text = out.getvalue()
    assert "loss 0.500" in text
    assert "00:05 left" in text
    assert "gone" in text
    assert "all: 1 of 2" in text


def test_a_low_terminal_shows_what_runs_and_what_failed() -> None:
    states: tuple[State, ...] = ("finished", "failed", "running", "waiting", "running", "waiting")
    rows = [Row(f"{place}", 100, state=state) for place, state in enumerate(states)]
    assert rows_that_fit(rows, 10) == rows
    assert [row.label for row in rows_that_fit(rows, 4)] == ["1", "2", "3", "4"]
    assert [row.label for row in rows_that_fit(rows, 0)] == ["2"]


def test_a_run_without_training_counts_images_and_learns_their_number() -> None:
    rows = [Row(label, 0, "image", state="waiting") for label in ("a", "b", "c")]
    rows[2] = Row("c", 5000, "image", state="kept")
    board = Board(rows, abreast=1)
    assert (board.steps_done, board.steps, board.seconds_left) == (5000, 15000, None)
    rows[0].state = "running"
    assert rows[0].doing == "starts"
    rows[0].take({**record(1000, 2.0), "total_steps": 4000})
    assert rows[0].doing == "image 1000 of 4000"
    # 3000 images and, for b, as many as the longest run has.
    assert board.seconds_left == 16.0


def test_a_search_for_ranges_tells_its_rounds() -> None:
    row = Row("a", 0, "image", state="running")
    row.take(record(0, 3.0, points=[[None, "coverage/search_objective", 2, 1.0432]]))
    assert row.doing == "level ranges, round 2: objective 104.32"
    assert row.seconds_left is None


def told(*reports: tuple[int, float]) -> list[str]:
    """What is printed of a row that reports so many images after so many seconds."""
    out = io.StringIO()
    row = Row("a", 0, "image")
    view = PlainView(Board([row], abreast=1), Console(file=out, width=200))
    for step, seconds in reports:
        row.state = "running"
        row.take(record(step, seconds))
        view.changed(row)
    row.state = "finished"
    view.changed(row)
    return [line.split("  ")[1] for line in out.getvalue().splitlines()]


def test_a_short_run_has_no_lines_but_start_and_end() -> None:
    assert told((0, 0.0), (30, 0.3), (60, 0.6), (90, 0.9), (100, 1.0)) == ["starts", "finished"]


def test_a_quarter_that_came_too_soon_is_told_when_its_time_has_come() -> None:
    assert told((0, 0.0), (30, 1.0), (40, 6.0), (60, 7.0), (80, 11.5), (100, 12.0)) == [
        "starts",
        "image 40 of 100",
        "image 80 of 100",
        "finished",
    ]


def test_the_last_image_is_not_told_beside_the_end() -> None:
    assert told((0, 0.0), (50, 2.0), (100, 9.0)) == ["starts", "finished"]


def test_a_new_attempt_is_told_however_soon() -> None:
    assert told((0, 0.0), (50, 30.0), (80, 1.0)) == ["starts", "image 50 of 100", "image 80 of 100", "finished"]
