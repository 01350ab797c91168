"""A tracking store that is absent, locked or killed: training goes on, no point is missing and none is there twice."""

import os
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import pytest
from mlflow.tracking import MlflowClient

from tests.helpers.experiments.sweeps import (
    SHARED,
    finished,
    loss_steps,
    points,
    runs,
    start,
    statuses,
    sweep,
    trials_of,
    wait_for,
)
from tests.helpers.processes.holding import Hold
from tests.helpers.processes.ports import free_port
from tests.helpers.processes.waiting import PATIENCE

NAMES = ("ablation_centerness", "none seed 0", "from_regression seed 0")
STEPS = 100
LONGER = (f"schedule.steps={STEPS}", f"schedule.eval_every={STEPS}", "schedule.checkpoint_every=50")
# Steps at which the store goes away, and to which the training gets without it.
FIRST, WITHOUT = 20, 70


def serve(folder: Path, port: int, *artifacts: str) -> "subprocess.Popen[bytes]":
    """A tracking server on loopback that answers; `artifacts`: where they go, if not through the server."""
    server = subprocess.Popen(
        [
            *(sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"),
            *("--backend-store-uri", f"sqlite:///{folder / 'server.db'}"),
            *(artifacts or ("--artifacts-destination", str(folder / "artifacts"))),
        ],
        env={**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    until = time.monotonic() + PATIENCE
    while True:
        try:
            urlopen(f"http://127.0.0.1:{port}/health", timeout=1).close()
            return server
        except (URLError, OSError):
            assert time.monotonic() < until and server.poll() is None, "the server does not come up"
            time.sleep(0.2)


def kill(server: "subprocess.Popen[bytes]") -> None:
    os.killpg(server.pid, signal.SIGKILL)
    server.wait()


def check_goes_on(folder: Path, hold: Hold, process: "subprocess.Popen[str]") -> None:
    """A training that is held at FIRST gets on while the store is away."""
    (trial,) = trials_of(folder)
    hold.at(WITHOUT)
    wait_for(lambda: loss_steps(trial)[-1] == WITHOUT, process)
    assert process.poll() is None, process.communicate()


def check_whole(folder: Path, store: MlflowClient | None = None, steps: int = 12) -> None:
    found = runs(folder, store=store)
    assert {name: run.info.status for name, run in found.items()} == dict.fromkeys(NAMES, "FINISHED")
    client = store or MlflowClient(f"sqlite:///{folder / 'outputs' / 'mlflow.db'}")
    for name in NAMES[1:]:
        reported = [(key, step) for key, step, _ in points(found[name], client)]
        assert len(reported) == len(set(reported))
        assert [step for key, step in reported if key == "train/loss"] == list(range(2, steps + 1, 2))
        assert ("val/AP", steps) in reported


def test_a_required_store_that_is_not_there_is_refused_before_anything_starts(tmp_path: Path) -> None:
    uri = f"http://127.0.0.1:{free_port()}"
    done = sweep(tmp_path, *SHARED, f"tracking.uri={uri}", "tracking.required=true")
    assert done.returncode == 2
    (message,) = done.stderr.strip().splitlines()
    assert message.startswith(f"error: tracking.uri={uri}: the store cannot be reached: ")
    assert not (tmp_path / "outputs").exists()


@pytest.mark.slow
def test_a_store_that_is_absent_from_start_to_end_gets_all_later(tmp_path: Path) -> None:
    port = free_port()
    words = (*SHARED, f"tracking.uri=http://127.0.0.1:{port}")
    done = sweep(tmp_path, *words)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "nothing is reused from other sweeps" in done.stdout
    assert "not everything is stored" in done.stdout and "then the same command delivers the rest" in done.stdout
    server = serve(tmp_path, port)
    try:
        assert "starts" not in finished(tmp_path, *words, "report=false")
        check_whole(tmp_path, MlflowClient(f"http://127.0.0.1:{port}"))
    finally:
        kill(server)


@pytest.mark.slow
def test_a_server_killed_in_the_middle_and_back_misses_nothing(tmp_path: Path, hold: Hold) -> None:
    port = free_port()
    server = serve(tmp_path, port)
    try:
        hold.at(FIRST)
        process = start(tmp_path, *SHARED, *LONGER, "report=false", f"tracking.uri=http://127.0.0.1:{port}")
        wait_for(hold.held, process)
        kill(server)
        check_goes_on(tmp_path, hold, process)
        server = serve(tmp_path, port)
        hold.release()
        output, errors = process.communicate(timeout=PATIENCE)
        assert process.returncode == 0, output + errors
        check_whole(tmp_path, MlflowClient(f"http://127.0.0.1:{port}"), steps=STEPS)
    finally:
        kill(server)


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["before the start", "in the middle"])
def test_a_store_locked_for_half_a_minute_misses_nothing(tmp_path: Path, hold: Hold, moment: str) -> None:
    finished(tmp_path, *SHARED, "name=first", "experiment.seeds=[1]", "report=false")
    with closing(sqlite3.connect(tmp_path / "outputs" / "mlflow.db", isolation_level=None)) as other:
        if moment == "before the start":
            other.execute("BEGIN EXCLUSIVE")
        hold.at(FIRST)
        process = start(tmp_path, *SHARED, *LONGER, "report=false")
        wait_for(hold.held, process)
        if moment == "in the middle":
            other.execute("BEGIN EXCLUSIVE")
        began = time.monotonic()
        check_goes_on(tmp_path, hold, process)
        time.sleep(max(0.0, 30 - (time.monotonic() - began)))
        other.execute("ROLLBACK")
    hold.release()
    output, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, output + errors
    assert errors == ""
    check_whole(tmp_path, steps=STEPS)
    assert set(statuses(tmp_path, "first").values()) == {"FINISHED"}


@pytest.mark.slow
def test_artifacts_that_cannot_be_written_cost_nothing_else_and_come_later(tmp_path: Path) -> None:
    port, folder = free_port(), tmp_path / "artifacts"
    folder.write_text("no folder")
    server = serve(tmp_path, port, "--no-serve-artifacts", "--default-artifact-root", folder.as_uri())
    words = (*SHARED, f"tracking.uri=http://127.0.0.1:{port}")
    store = MlflowClient(f"http://127.0.0.1:{port}")
    try:
        done = sweep(tmp_path, *words)
        assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
        assert done.stdout.count("WARNING") == done.stdout.count("could not be stored: ") == 1
        assert "none (baseline)" in done.stdout and "too few seeds to tell: " in done.stdout
        check_whole(tmp_path, store)
        refused = sweep(tmp_path, *words, "name=other", "tracking.required=true")
        assert refused.returncode == 2 and "cannot be stored" in refused.stderr
        assert set(runs(tmp_path, store=store)) == set(NAMES)
        folder.unlink()
        assert "could not be stored" not in finished(tmp_path, *words)
        check_whole(tmp_path, store)
        for name, run in runs(tmp_path, store=store).items():
            files = {file.path for file in store.list_artifacts(run.info.run_id)}
            assert files >= (
                {"experiment.json", "report"} if name == NAMES[0] else {"config.json", "detections", "evaluation"}
            )
            assert "fcos.artifacts_missing" not in run.data.tags
    finally:
        kill(server)
