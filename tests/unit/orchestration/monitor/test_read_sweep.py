"""How far a sweep is, from its folder alone: while it runs, after its end, after its driver died, half-written."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import jsonschema
import pytest

from fcos.installation import ROOT
from fcos.storage.run_folder import FAILURE, POINTS
from orchestration.cli.status_records import SweepStatusEvent
from orchestration.experiment.training_folder import STATUS
from orchestration.monitor.read_sweep import describe, read_folder, settle
from orchestration.monitor.stored_plan import TAIL_BYTES, read_last_loss
from orchestration.trial.failures import Stalled, write_failure
from orchestration.trial.files import write_summary
from tests.helpers.experiments.summaries import summary_of
from tests.helpers.status_folders import make_folder, record, training, write_plan

SCHEMA = json.loads((ROOT / "docs" / "events.schema.json").read_text())
NOW = 1010.0


def status_of(folder: Path, now: float = NOW) -> SweepStatusEvent:
    (event,) = settle([folder], lambda: now)
    jsonschema.Draft202012Validator(SCHEMA).validate(json.loads(event.to_line()))
    return event


def trial_folder(folder: Path, index: int) -> Path:
    made = folder / "trials" / training(index).identity[:16]
    made.mkdir(parents=True, exist_ok=True)
    return made


@pytest.fixture
def ended_pid() -> int:
    """The number of a process that is no more."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


RUNNING = training(
    1, state="running", step=40, loss=0.5, steps_per_second=2.0, seconds_left=30.0, began=950.0, signed=1005.0,
    attempt=2, reason="its process was killed", workers=[{"host": "one", "gpus": "3"}], values={"none": 0.25},
)  # fmt: skip


def test_a_sweep_that_runs_is_shown_by_the_record_of_its_driver(tmp_path: Path) -> None:
    kept = record(training(0, state="kept", step=100), RUNNING, training(2), training(3, state="later"))
    event = status_of(make_folder(tmp_path / "shapes", holder=os.getpid(), kept=kept))
    sweep, row = event.sweep, event.trainings[1]
    assert (sweep.name, sweep.state, sweep.experiment) == ("shapes", "running", "ablation_centerness")
    assert (sweep.done, sweep.running, sweep.failed, sweep.left) == (1, 1, 0, 1)
    assert (sweep.seconds, sweep.seconds_left, sweep.silent_seconds, sweep.pid) == (110.0, 60.0, 10.0, os.getpid())
    assert sweep.started == "1970-01-01T00:15:00+00:00" and sweep.notes == () and sweep.exit_code is None
    assert (row.state, row.step, row.loss, row.steps_per_second) == ("running", 40, 0.5, 2.0)
    assert (row.seconds, row.seconds_left, row.silent_seconds, row.attempt) == (60.0, 30.0, 5.0, 2)
    assert (row.workers[0].host, row.workers[0].gpus, row.reason) == ("one", "3", "its process was killed")


@pytest.mark.ray
def test_a_driver_that_died_is_named_and_what_it_trained_is_interrupted(tmp_path: Path, ended_pid: int) -> None:
    kept = record(training(0, state="running", began=950.0, signed=990.0), RUNNING, training(2), pid=ended_pid)
    folder = make_folder(tmp_path / "shapes", holder=ended_pid, kept=kept)
    # Its result came after the last record.
    write_summary(trial_folder(folder, 0), training(0).identity, summary_of({"none": {"val/AP": 0.5}}))
    event = status_of(folder)
    assert event.sweep.state == "dead"
    assert [each.state for each in event.trainings] == ["finished", "interrupted", "waiting"]
    assert (event.sweep.done, event.sweep.left) == (1, 2)
    assert event.sweep.seconds_left is None and event.trainings[1].seconds_left is None
    (note,) = event.sweep.notes
    assert f"process {ended_pid} on " in note and "is gone; its last sign of life is of " in note
    assert note.endswith("the same command goes on")


@pytest.mark.parametrize(
    ("code", "phase", "states", "state"),
    [
        (0, "ended", ["finished", "later"], "finished"),
        (0, "ended", ["finished", "waiting"], "finished"),
        (1, "ended", ["finished", "failed"], "finished"),
        (1, "ended", ["finished", "waiting"], "stopped"),
        (4, "ended", ["finished", "stopped"], "stopped"),
        (2, "ended", ["waiting"], "stopped"),
        (None, "ended", ["finished", "running"], "stopped"),
        (None, "running", ["finished", "running"], "stopped"),
        (None, "running", ["finished"], "finished"),
    ],
)
def test_a_command_that_ended_is_finished_or_stopped_by_what_is_left(
    tmp_path: Path, code: int | None, phase: str, states: list[str], state: str
) -> None:
    trainings = [training(index, state=each) for index, each in enumerate(states)]
    kept = record(*trainings, phase=phase, exit_code=code)
    sweep = status_of(make_folder(tmp_path / "shapes", kept=kept)).sweep
    assert (sweep.state, sweep.exit_code) == (state, code)
    assert (sweep.pid, sweep.silent_seconds, sweep.seconds) == (None, None, 100.0)


def test_a_command_that_plans_has_no_record_of_its_own_yet(tmp_path: Path) -> None:
    before = record(training(0, state="failed", reason="why"), pid=1, phase="ended", exit_code=1)
    sweep = status_of(make_folder(tmp_path / "shapes", holder=os.getpid(), kept=before)).sweep
    assert (sweep.state, sweep.seconds, sweep.seconds_left, sweep.exit_code) == ("planning", None, None, None)
    begun = record(training(0), phase="starting")
    assert status_of(make_folder(tmp_path / "begun", holder=os.getpid(), kept=begun)).sweep.state == "planning"
    ended = record(training(0, state="finished"), phase="ended", exit_code=0)
    assert status_of(make_folder(tmp_path / "ended", holder=os.getpid(), kept=ended)).sweep.state == "finished"
    empty = status_of(make_folder(tmp_path / "empty", holder=os.getpid()))
    assert (empty.sweep.state, empty.sweep.done, empty.trainings) == ("planning", None, ())


def test_a_sweep_of_an_older_version_is_shown_by_its_plan_and_folders(tmp_path: Path) -> None:
    folder = tmp_path / "old"
    write_plan(folder, 0, 1, 2)
    write_summary(trial_folder(folder, 0), training(0).identity, summary_of({"none": {"val/AP": 0.5}}))
    (trial_folder(folder, 1) / POINTS).write_text('[null, "train/loss", 8, 1.5]\n[null, "val/AP", 9, 0.5]\n[null, "tra')
    write_failure(trial_folder(folder, 1), Stalled("no progress\nin 60 s"), retryable=False)
    event = status_of(folder)
    assert (event.sweep.state, event.sweep.done, event.sweep.left) == ("stopped", 1, 2)
    rows = [(each.label, each.state, each.step, each.total_steps, each.loss, each.reason) for each in event.trainings]
    assert rows == [
        ("none · seed 0", "finished", 100, 100, None, None),
        ("none · seed 1", "waiting", 8, 100, 1.5, "no progress"),
        ("none · seed 2", "waiting", 0, 100, None, None),
    ]


@pytest.mark.parametrize("text", ["", "{", "[]", '{"version": 2}', '{"name": 3}', "\x00\xff"])
def test_a_record_that_is_none_is_a_note_and_the_plan_is_shown(tmp_path: Path, text: str) -> None:
    folder = make_folder(tmp_path / "shapes", holder=os.getpid())
    write_plan(folder, 0)
    (folder / STATUS).write_text(text)
    event = status_of(folder)
    assert event.sweep.notes == ("status.json is not readable as a record of this version; shown is what the other "
                                 "files hold",)  # fmt: skip
    assert [each.label for each in event.trainings] == ["none · seed 0"]


@pytest.mark.parametrize("damage", [lambda path: path.write_text("{"), lambda path: (path.unlink(), path.mkdir())])
def test_a_plan_that_is_none_is_a_note(tmp_path: Path, damage: Callable[[Path], object]) -> None:
    folder = tmp_path / "shapes"
    write_plan(folder, 0)
    damage(folder / "plan.json")
    event = status_of(folder)
    (note,) = event.sweep.notes
    assert note.startswith("plan.json ") and note.endswith("; its trainings are not known")
    assert (event.sweep.done, event.trainings) == (None, ())


def test_files_of_a_training_that_are_damaged_are_passed_over(tmp_path: Path) -> None:
    kept = record(training(0, state="failed"), phase="ended", exit_code=1)
    folder = make_folder(tmp_path / "shapes", kept=kept)
    (trial_folder(folder, 0) / FAILURE).write_text("{")
    assert status_of(folder).trainings[0].reason is None


def test_the_last_loss_is_read_from_the_end_of_a_long_file(tmp_path: Path) -> None:
    line = json.dumps([None, "train/loss", 1, 2.5]) + "\n"
    (tmp_path / POINTS).write_text(line * (2 * TAIL_BYTES // len(line)) + json.dumps([None, "train/loss", 7, 0.5]))
    assert read_last_loss(tmp_path) == (7, 0.5)
    assert read_last_loss(tmp_path / "absent") == (0, None)
    (tmp_path / POINTS).write_bytes(b"\xff\x00\n")
    assert read_last_loss(tmp_path) == (0, None)


def test_a_clock_that_differs_is_a_note(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "shapes", holder=os.getpid(), kept=record(RUNNING))
    assert status_of(folder, now=1001.0).sweep.notes == ()
    (note,) = status_of(folder, now=400.0).sweep.notes
    assert note.startswith("the record is -600 s old by this machine's clock, and its driver is alive")
    reading = read_folder(folder, 400.0)
    assert describe(reading, 400.0).sweep.silent_seconds == 0.0
