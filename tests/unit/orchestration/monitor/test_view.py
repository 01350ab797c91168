"""What people see of sweeps: on wide and narrow terminals, without colors, in a pipe."""

import io
from typing import Any

import pytest
from rich.console import Console

from orchestration.cli.status_records import SweepRow, SweepsEvent, SweepStatusEvent, TrainingRow
from orchestration.monitor.view import REASON_LETTERS, show


def sweep(name: str = "shapes", **values: Any) -> SweepRow:
    known = {
        "name": name, "folder": f"/out/{name}", "experiment": "ablation_centerness", "state": "running", "done": 3,
        "running": 2, "failed": 1, "left": 4, "started": None, "seconds": 3725.0, "seconds_left": 65.0, "host": "one",
        "pid": 7, "silent_seconds": 2.0, "exit_code": None, "notes": (),
    }  # fmt: skip
    return SweepRow.model_validate({**known, **values})


def row(index: int = 0, **values: Any) -> TrainingRow:
    known = {
        "index": index, "identity": "i", "label": f"branch · seed {index}", "arms": ("branch",), "seed": index,
        "state": "running", "unit": "step", "step": 40, "total_steps": 100, "loss": 1.25, "steps_per_second": 3.5,
        "workers": ({"host": "one", "gpus": "0"}, {"host": "one", "gpus": "1"}), "seconds": 60.0, "seconds_left": 90.0,
        "silent_seconds": 3.0, "attempt": 2, "reason": None, "values": {"branch": 0.25},
    }  # fmt: skip
    return TrainingRow.model_validate({**known, **values})


def status(*trainings: TrainingRow, **values: Any) -> SweepStatusEvent:
    known = {
        "sweep": sweep(), "trainings": trainings, "steps": 40, "total_steps": 100, "retries": 1, "failures": {},
        "best": {"metric": "val/AP", "arm": "branch", "seed": 0, "step": 40, "value": 0.25},
        "budget": [{"name": "gpu_hours", "limit": 10, "spent": 1.5}, {"name": "cpu_hours", "limit": None, "spent": 0}],
        "store": None, "store_lag_seconds": 0.0,
    }  # fmt: skip
    return SweepStatusEvent.model_validate({**known, **values})


def shown(event: Any, width: int = 200, *, terminal: bool = True, height: int = 50, **more: Any) -> str:
    file = io.StringIO()
    options: dict[str, Any] = {"width": width, "height": height, "color_system": "standard", **more}
    show(Console(file=file, force_terminal=terminal, **options), event)
    return file.getvalue()


def test_all_sweeps_are_a_table() -> None:
    dead = sweep("old", state="dead", notes=("it is gone",))
    event = SweepsEvent(output="/out", sweeps=(sweep(), dead), notes=("n",))
    head, title, first, second, *notes = shown(event, no_color=True, color_system=None).splitlines()
    assert head == "2 sweeps in /out"
    assert title.split("  ")[0] == "name" and "sign of life" in title
    assert " ".join(first.split()) == "shapes ablation_centerness running 3 2 1 4 1:02:05 01:05 one 00:02 ago"
    assert "dead driver" in second
    assert notes == ["note: old: it is gone", "note: n"]


def test_one_sweep_is_its_state_and_its_trainings() -> None:
    lines = shown(status(row()), color_system=None).splitlines()
    assert lines[0] == (
        "shapes: running; 3 done, 2 running, 1 failed, 4 left; 1:02:05 since its start; about 01:05 still"
    )
    assert lines[1] == "driver on one, process 7, sign of life 00:02 ago; folder /out/shapes"
    assert lines[2] == "40 of 100 steps; 1.5 of 10 gpu hours; 1 attempt tried again"
    assert lines[3] == (
        "best val/AP of all evaluations so far: 0.25, branch · seed 0 at step 40 (results are in the report)"
    )
    assert lines[5].split("  ")[0] == "branch · seed 0"
    assert "40 of 100" in lines[5] and "one:0, one:1" in lines[5] and "01:30" in lines[5] and "0.250" in lines[5]


def test_reasons_and_an_absent_store_are_lines_below_and_above() -> None:
    failed = row(state="failed", reason="x" * (REASON_LETTERS + 1))
    text = shown(status(failed, store="refused", store_lag_seconds=61.0), terminal=False)
    assert "the tracking store takes nothing, for 01:01: refused" in text
    assert f"branch · seed 0: failed: {'x' * (REASON_LETTERS - 3)}...\n" in text


@pytest.mark.parametrize("width", [200, 80, 40, 24])
def test_no_line_of_a_table_is_wider_than_its_terminal(width: int) -> None:
    """But for lines without a table, which the terminal itself wraps at words."""
    text = shown(status(row(0), row(1, state="waiting")), width, color_system=None)
    assert all(len(line) <= width for line in text.splitlines())
    assert "branch · seed 1" in text and "waiting" in text
    assert ("not shown for want of" in text) == (width < 120)


@pytest.mark.parametrize(("more", "colored"), [({}, True), ({"no_color": True}, False)])
def test_colors_are_for_terminals_that_want_them(more: dict[str, bool], colored: bool) -> None:
    assert ("\x1b[31m" in shown(status(row(state="failed")), **more)) == colored


def test_the_variable_no_color_is_obeyed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[31m" not in shown(status(row(state="failed")))


def test_a_pipe_gets_plain_lines_of_any_length() -> None:
    text = shown(status(row(), row(1, label="an arm with a long name " * 9)), width=40, terminal=False)
    assert "\x1b" not in text and "not shown" not in text
    assert any(len(line) > 200 for line in text.splitlines())


def test_rows_that_do_not_fit_the_height_are_counted_and_what_runs_is_shown() -> None:
    rows = [row(index, state="finished") for index in range(30)] + [row(30), row(31, state="failed")]
    lines = shown(status(*rows), height=16, color_system=None).splitlines()
    assert len(lines) <= 16
    text = "\n".join(lines)
    assert "seed 30" in text and "seed 31" in text and "and 24 more" in text


def test_an_empty_table_has_a_line() -> None:
    assert "nothing yet" in shown(SweepsEvent(output="/out", sweeps=(), notes=()), terminal=False)
    assert "nothing yet" in shown(status(), terminal=True)


@pytest.mark.parametrize("terminal", [True, False])
def test_what_others_wrote_is_no_command_to_a_terminal(terminal: bool) -> None:
    hostile = "\x1b]0;title\x07\x9b31m"
    event = status(row(label=hostile, state="failed", reason=f"{hostile}\nmore"), sweep=sweep(notes=(hostile,)))
    text = shown(event, terminal=terminal, color_system=None)
    assert text.count("?]0;title??31m") == 4 and "\x9b" not in text and "\x1b" not in text


def test_names_with_markup_of_rich_are_shown_as_they_are() -> None:
    assert "[red]arm" in shown(status(row(label="[red]arm")), terminal=True)
    assert "[red]arm" in shown(status(row(label="[red]arm")), terminal=False)
