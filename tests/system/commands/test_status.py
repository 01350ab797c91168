"""status.py beside a real sweep: while its trainings run, after its driver was killed, and after its end."""

import json
import os
import signal
import socket
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from fcos.installation import ROOT
from tests.helpers.experiments.sweeps import SHARED, finished, start, started, sweep, wait_for
from tests.helpers.processes.holding import Hold
from tests.helpers.processes.waiting import PATIENCE, wait_until
from tests.helpers.servers.webhook import serving

STATUS = ROOT / "orchestration" / "status.py"
SCHEMA = json.loads((ROOT / "docs" / "events.schema.json").read_text())
NAME = "ablation_centerness"
SECRET = "s3cret-token"


def status(folder: Path, *arguments: str) -> dict[str, Any]:
    done = sweep(folder, *arguments, "--json", entry=STATUS)
    assert done.returncode == 0, done.stderr
    event = json.loads(done.stdout)
    jsonschema.Draft202012Validator(SCHEMA).validate(event)
    assert isinstance(event, dict)
    return event


def end_sweep(process: "subprocess.Popen[str]") -> None:
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate(timeout=PATIENCE)


@pytest.mark.slow(minutes=1)
def test_a_sweep_that_runs_dies_and_is_finished_by_the_same_command(tmp_path: Path, hold: Hold) -> None:
    hold.at(4)
    process = start(tmp_path, *SHARED, "report=false")
    try:
        wait_for(lambda: started(tmp_path) and hold.held(), process)
        assert process.poll() is None, process.communicate()

        def runs() -> bool:
            event = status(tmp_path, NAME)
            return bool(event["trainings"]) and event["trainings"][0]["step"] == 4

        wait_until(runs)
        event = status(tmp_path, NAME)
        (training,) = event["trainings"]
        assert (event["sweep"]["state"], training["state"], training["total_steps"]) == ("running", "running", 12)
        assert (event["sweep"]["pid"], event["sweep"]["host"]) == (process.pid, socket.gethostname())
        assert training["loss"] is not None and training["attempt"] == 1
        assert {worker["host"] for worker in training["workers"]} == {socket.gethostname()}
        (row,) = status(tmp_path)["sweeps"]
        assert (row["name"], row["running"], row["done"]) == (NAME, 1, 0)
        os.kill(process.pid, signal.SIGKILL)
        process.wait(timeout=PATIENCE)
        dead = status(tmp_path, NAME)
        assert (dead["sweep"]["state"], dead["trainings"][0]["state"]) == ("dead", "interrupted")
        assert f"process {process.pid} on " in dead["sweep"]["notes"][0]
    finally:
        end_sweep(process)
    hold.release()
    finished(tmp_path, *SHARED, "report=false")
    ended = status(tmp_path, NAME)
    assert (ended["sweep"]["state"], ended["sweep"]["exit_code"], ended["sweep"]["left"]) == ("finished", 0, 0)
    assert ended["best"]["metric"] == "val/AP" and ended["steps"] == ended["total_steps"] == 12


@pytest.mark.slow(minutes=1)
def test_the_end_of_a_sweep_is_sent_and_no_file_or_line_has_the_address(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = (*SHARED, "notify.urls_from=FCOS_TEST_URLS", "tracking.system_metrics=false")
    with serving() as hook:
        monkeypatch.setenv("FCOS_TEST_URLS", hook.address(SECRET))
        done = sweep(tmp_path, *words)
        assert done.returncode == 0, done.stdout + done.stderr
        (message,) = hook.received
        assert message["title"] == f"{NAME}: finished"
        assert f"table: {tmp_path / 'outputs' / NAME / 'report' / 'table.csv'}" in message["message"]
        assert "from_regression: " in message["message"]
        # Nothing is left to train; the service refuses, and the sweep ends as it would.
        hook.status = 500
        again = sweep(tmp_path, *words, "--json")
    assert again.returncode == 0
    texts = [event["text"] for event in map(json.loads, again.stdout.splitlines()) if event["type"] == "note"]
    assert any("the message about the end was not sent: a service did not take it" in text for text in texts)
    for text in (done.stdout, done.stderr, again.stdout, again.stderr):
        assert SECRET not in text
    files = [file for file in tmp_path.rglob("*") if file.is_file()]
    assert len(files) > 20
    assert [str(file) for file in files if SECRET.encode() in file.read_bytes()] == []


@pytest.mark.slow
def test_a_variable_that_is_not_set_ends_a_sweep_before_it_begins(tmp_path: Path) -> None:
    done = sweep(tmp_path, *SHARED, "notify.urls_from=FCOS_TEST_ABSENT")
    assert done.returncode == 2 and "notify.urls_from=FCOS_TEST_ABSENT: there is no such environment" in done.stderr
    assert not (tmp_path / "outputs" / NAME).exists()
