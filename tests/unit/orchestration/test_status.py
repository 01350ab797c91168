"""The command status.py: what it prints for people and programs, its refusals, and --follow."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from fcos.installation import ROOT
from orchestration import status
from orchestration.cli.event_stream import EventStream
from orchestration.cli.lock import LOCK
from orchestration.monitor.record import write_status
from tests.helpers.status_folders import make_folder, record, training

SCHEMA = json.loads((ROOT / "docs" / "events.schema.json").read_text())


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Callable[..., Any]:
    """Runs the command in a folder; returns its exit code, standard output and standard error."""

    def call(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr("sys.argv", ["status.py", *arguments])
        code = status.cli()
        out, err = capfd.readouterr()
        return code, out, err

    return call


@pytest.fixture
def running(tmp_path: Path) -> Path:
    """The folder of a sweep that runs in this process."""
    kept = record(training(0, state="running", step=40))
    return make_folder(tmp_path / "outputs" / "shapes", holder=os.getpid(), kept=kept)


def test_people_read_a_table(run: Callable[..., Any], running: Path) -> None:
    make_folder(running.parent / "earlier", kept=record(training(0, state="finished"), phase="ended", exit_code=0))
    code, out, _ = run()
    lines = out.splitlines()
    assert code == 0 and lines[0] == f"2 sweeps in {running.parent}"
    # What runs comes first.
    assert [line.split()[0] for line in lines[2:4]] == ["shapes", "earlier"]
    code, out, _ = run("shapes")
    assert code == 0 and "none · seed 0" in out and "40 of 100" in out


def test_programs_read_one_object(run: Callable[..., Any], running: Path) -> None:
    for arguments, kind in (((), "sweeps"), (("shapes",), "sweep_status")):
        code, out, _ = run(*arguments, "--json")
        (event,) = (json.loads(line, parse_constant=pytest.fail) for line in out.splitlines())
        jsonschema.Draft202012Validator(SCHEMA).validate(event)
        assert (code, event["type"]) == (0, kind)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["shape"], "NAME=shape: there is no such sweep; did you mean shapes?"),
        (["--output=absent"], "absent: there is no such folder"),
        (["--fellow"], "unrecognized arguments: --fellow; see --help"),
        (["--follow", "--seconds=0"], "must be a number of seconds from 0.1 to 86400; see --help"),
        (["--follow", "--seconds=x"], "must be a number of seconds from 0.1 to 86400; see --help"),
    ],
)
def test_a_mistake_is_one_error_also_for_programs(
    run: Callable[..., Any], running: Path, arguments: list[str], text: str
) -> None:
    code, out, err = run(*arguments)
    assert (code, out) == (2, "") and err.startswith("error: ") and text in err and "Traceback" not in err
    code, out, _ = run(*arguments, "--json")
    event = json.loads(out)
    jsonschema.Draft202012Validator(SCHEMA).validate(event)
    assert (code, event["type"], event["exit_code"]) == (2, "error", 2)


def test_follow_ends_with_the_sweep(run: Callable[..., Any], running: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    readings = []

    def finish_at_the_second(seconds: float) -> None:
        readings.append(seconds)
        if len(readings) == 2:
            write_status(running, record(training(0, state="finished"), phase="ended", exit_code=0))
            (running / LOCK).write_text("")

    monkeypatch.setattr("time.sleep", finish_at_the_second)
    code, out, _ = run("shapes", "--follow", "--seconds=7", "--json")
    events = [json.loads(line) for line in out.splitlines()]
    assert [event["sweep"]["state"] for event in events] == ["running", "running", "finished"]
    assert (code, readings) == (0, [7.0, 7.0])


def test_ctrl_c_ends_follow_in_order(run: Callable[..., Any], running: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(seconds: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("time.sleep", interrupt)
    code, out, err = run("--follow")
    assert code == 0 and "1 sweep in" in out and err == ""


def test_a_sweep_that_is_removed_meanwhile_is_shown_as_stopped(running: Path) -> None:
    event = status.read_one(running.parent / "removed")
    assert (event.sweep.state, event.trainings) == ("stopped", ())


def test_no_file_of_the_output_folder_is_changed(run: Callable[..., Any], running: Path) -> None:
    def look() -> dict[str, tuple[int, int]]:
        files = [running.parent, *running.parent.rglob("*")]
        return {str(file): (file.stat().st_mtime_ns, file.stat().st_size) for file in files}

    before = look()
    run()
    run("shapes")
    assert look() == before


def test_without_json_a_table_is_printed_and_no_event(running: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert status.main(["shapes", f"--output={running.parent}"], EventStream(None)) == 0
    assert "none · seed 0" in capsys.readouterr().out
