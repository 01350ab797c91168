"""Commands for programs: standard output holds events alone, and the last one is the result."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from tests.helpers.experiments.sweeps import ROOT, SHARED, SWEEP, TINY, TRAIN, environment, runs, sweep

SCHEMA = ROOT / "docs" / "events.schema.json"
DOCTOR = ROOT / "orchestration" / "doctor.py"


def events_of(output: str) -> list[dict[str, Any]]:
    """Each line as an event of the published schema."""
    validator = jsonschema.Draft202012Validator(json.loads(SCHEMA.read_text()))
    events = [json.loads(line, parse_constant=pytest.fail) for line in output.splitlines()]
    for event in events:
        validator.validate(event)
    return events


def test_the_published_schema_is_the_one_that_the_command_prints(tmp_path: Path) -> None:
    done = sweep(tmp_path, "--schema=events", "--json")
    assert done.returncode == 0 and done.stdout == SCHEMA.read_text()
    jsonschema.Draft202012Validator.check_schema(json.loads(done.stdout))


def test_an_unknown_schema_is_refused(tmp_path: Path) -> None:
    done = sweep(tmp_path, "--schema=modle")
    assert done.returncode == 2 and "--schema=modle: no such schema; there are experiment, model" in done.stderr


def test_a_dry_run_is_a_plan_and_a_preview(tmp_path: Path) -> None:
    done = sweep(tmp_path, "--json", *SHARED, "experiment.seeds=[0,1]", "dry_run=true", "explain=true")
    plan, preview, result = events_of(done.stdout)
    assert (done.returncode, result["exit_code"]) == (0, 0)
    assert (plan["type"], preview["type"], result["type"]) == ("plan", "preview", "result")
    assert (plan["name"], plan["baseline"], plan["arms"]) == (
        "ablation_centerness",
        "none",
        ["none", "from_regression"],
    )
    assert [(each["seed"], each["steps"], each["state"]) for each in plan["trainings"]] == [
        (0, 12, "new"),
        (1, 12, "new"),
    ]
    assert plan["folder"] == str(tmp_path / "outputs" / "ablation_centerness")
    assert [each["reasons"][0] for each in preview["explanations"]] == ["new", "new"]
    (estimate,) = preview["estimates"]
    assert (estimate["trainings"], estimate["known"], estimate["wall_seconds"]) == (2, 0, None)
    # For people, without bars and colors.
    assert "2 trainings" in done.stderr and "\x1b" not in done.stderr


@pytest.mark.parametrize("entry", [SWEEP, TRAIN, DOCTOR])
def test_a_mistake_is_one_error_with_key_value_rule_and_hint(tmp_path: Path, entry: Path) -> None:
    done = sweep(tmp_path, "schedule.stps=3", "--json", entry=entry)
    error, *rest = events_of(done.stdout)
    assert (done.returncode, error["type"], error["exit_code"]) == (2, "error", 2)
    (problem,) = error["problems"]
    assert (problem["key"], problem["value"]) == ("schedule.stps", "3")
    assert "schedule.steps" in problem["hint"] and problem["text"] in done.stderr
    assert [(event["type"], event["exit_code"]) for event in rest] == ([] if entry == DOCTOR else [("result", 2)])


def test_doctor_is_one_object(tmp_path: Path) -> None:
    done = sweep(tmp_path, *TINY, "--json", entry=DOCTOR)
    (event,) = events_of(done.stdout)
    assert (event["type"], event["exit_code"]) == ("doctor", done.returncode)
    assert {check["state"] for check in event["checks"]} <= {"ok", "warning", "failed"}
    assert "tracking" in {check["name"] for check in event["checks"]}


def test_a_reader_that_is_gone_ends_it_with_141(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, str(SWEEP), *SHARED, "dry_run=true", "--json"],
        cwd=tmp_path,
        env=environment(tmp_path),
        stdout=writer,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    os.close(writer)
    assert done.returncode == 141
    assert done.stderr.splitlines()[-1].startswith("stopped: standard output was closed")


@pytest.mark.slow
def test_a_sweep_is_lines_from_the_plan_to_the_result(tmp_path: Path) -> None:
    done = sweep(tmp_path, *SHARED, "experiment.seeds=[0,1]", "--json")
    assert done.returncode == 0, done.stderr
    events = events_of(done.stdout)
    types = [event["type"] for event in events]
    assert (types[0], types[-2:]) == ("plan", ["report", "result"])
    plan, report = events[0], events[-2]
    for training in plan["trainings"]:
        own = [event for event in events if event.get("identity") == training["identity"]]
        assert own[0]["type"] == "training_started" and own[-1]["type"] == "training_finished"
        assert Path(own[-1]["checkpoint"]).is_dir()
        evaluated = [event["step"] for event in own if event["type"] == "training_progress" and event["metrics"]]
        assert evaluated == [6, 12]
    assert [event["seeds"] for event in events if event["type"] == "look"] == [2]
    content = json.loads(Path(report["files"]["report.json"]).read_text())
    assert report["run_id"] == content["sweep"]["run_id"] == runs(tmp_path)["ablation_centerness"].info.run_id
    assert [(each["arm"], each["outcome"]) for each in report["verdicts"]] == [
        (each["arm"], each["outcome"]) for each in content["verdicts"]
    ]
    assert [(each["arm"], each["mean"]) for each in report["table"]] == [
        (each["arm"], each["mean"]) for each in content["summaries"]
    ]
    # The same command again trains nothing, and the report alone is its event.
    again = events_of(sweep(tmp_path, *SHARED, "experiment.seeds=[0,1]", "--json").stdout)
    assert {each["state"] for each in again[0]["trainings"]} == {"done"}
    assert not [event for event in again if event["type"].startswith("training")]
    command = [sys.executable, str(ROOT / "analysis" / "report.py"), "--json"]
    alone = subprocess.run(command, cwd=tmp_path, env=environment(tmp_path), capture_output=True, text=True, check=True)
    (event,) = events_of(alone.stdout)
    assert {**event, "time": ""} == {**report, "time": ""}


def test_a_report_without_a_store_is_one_error(tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "analysis" / "report.py"), "--json"]
    done = subprocess.run(command, cwd=tmp_path, env=environment(tmp_path), capture_output=True, text=True, check=False)
    (event,) = events_of(done.stdout)
    assert (done.returncode, event["type"], event["error"], event["exit_code"]) == (2, "error", "store", 2)


def test_a_command_without_events_refuses_the_option(tmp_path: Path) -> None:
    done = sweep(tmp_path, "--json", entry=ROOT / "orchestration" / "lr_range.py")
    assert done.returncode == 2 and "--json: no such option" in done.stderr
