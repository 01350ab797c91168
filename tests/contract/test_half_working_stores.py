"""Stores that are read-only, accept no artifacts, were moved, or were made by another MLflow version."""

import json
import logging
import shutil
import sqlite3
import subprocess
import sys
import threading
import warnings
from collections import OrderedDict
from contextlib import closing
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from fcos.storage.store_conventions import Tag, default_uri
from orchestration.config.compose import compose
from orchestration.config.overrides import check_overrides
from orchestration.doctor import _check_store
from orchestration.tracking import delivery
from orchestration.tracking.history import open_history
from orchestration.tracking.problems import StoreUnavailable, TrackingError
from orchestration.tracking.sqlite_store import check_sqlite
from orchestration.tracking.store import connect, open_store
from orchestration.tracking.tracker import SWEEP, RunFacts, Tracker, require_store

KEY = ("branch", 0)
READ_ONLY = "the SQLite file cannot be written: attempt to write a readonly database"


@pytest.fixture
def output(tmp_path: Path, empty_store: bytes) -> Path:
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "mlflow.db").write_bytes(empty_store)
    return folder


KILLED_WRITER = """
import os, signal, sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
# So small a cache spills into the file, for which the journal has to be whole.
connection.execute("PRAGMA cache_size=2")
connection.execute("BEGIN")
for number in range(2000):
    connection.execute("INSERT INTO tags VALUES (?, ?, ?)", (f"key {number}", "x" * 500, "none"))
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_store_whose_writer_was_killed_is_read_as_it_was_before(output: Path) -> None:
    file = output / "mlflow.db"
    with closing(sqlite3.connect(file)) as connection:
        columns = [name for _, name, *_ in connection.execute("PRAGMA table_info(tags)")]
    writer = KILLED_WRITER.replace("tags VALUES", f"tags ({', '.join(columns)}) VALUES")
    subprocess.run([sys.executable, "-c", writer, str(file)], check=False)
    assert file.with_name("mlflow.db-journal").exists(), "the writer was killed in the middle of a transaction"
    check_sqlite(file)
    assert not file.with_name("mlflow.db-journal").exists()
    with closing(sqlite3.connect(file)) as connection:
        assert connection.execute("SELECT count(*) FROM tags").fetchone() == (0,)


def train(tracker: Tracker) -> None:
    """Write what a sweep of one training writes."""
    tracker.start(SWEEP, RunFacts("sweep", {"fcos.kind": "sweep"}, files={"experiment.json": {"a": 1}}))
    files = {"config.json": {"a": 1}, "versions.json": {"torch": "2"}}
    tracker.start(KEY, RunFacts("branch seed 0", {"fcos.arm": "branch", "fcos.seed": "0"}, {"a": 1}, files))
    tracker.add(KEY, {("train/loss", 1): 2.0})
    tracker.end(KEY, "FINISHED", {"fcos.checkpoint": "x"})
    tracker.end(SWEEP, "FINISHED", {})


def clear_artifact_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clear MLflow's cache of artifact repositories, as in a new process."""
    monkeypatch.setattr("mlflow.tracking._tracking_service.utils._artifact_repos_cache", OrderedDict())


def make_read_only(file: Path) -> None:
    """A write version above SQLite's own: it may be read and not written, by root neither."""
    with file.open("r+b") as handle:
        handle.seek(18)
        handle.write(b"\3")


def set_schema(file: Path, version: str) -> None:
    with closing(sqlite3.connect(file)) as database:
        database.execute("UPDATE alembic_version SET version_num = ?", (version,))
        database.commit()


def test_artifacts_that_cannot_be_written_cost_artifacts_alone(output: Path, caplog: pytest.LogCaptureFixture) -> None:
    (output / "mlartifacts").write_text("no folder")
    tracker = Tracker(None, "lab", output, "sweep-1")
    tracker.wait_open()
    train(tracker)
    assert tracker.flush(20)
    assert tracker.close(20)
    run = MlflowClient(default_uri(output)).get_run(tracker.run_id(KEY) or "")
    assert run.info.status == "FINISHED"
    assert (run.data.params, run.data.metrics) == ({"a": "1"}, {"train/loss": 2.0})
    assert (run.data.tags["fcos.checkpoint"], run.data.tags[Tag.ARTIFACTS_MISSING]) == ("x", "2")
    assert caplog.text.count("artifacts cannot be stored") == 1
    problem = tracker.artifact_problem
    assert problem == (3, 2, f"{output / 'mlartifacts'} cannot be written (Not a directory)")


def test_artifacts_that_are_missing_are_found_and_given_to_the_closed_run(output: Path) -> None:
    (output / "mlartifacts").write_text("no folder")
    first = Tracker(None, "lab", output, "sweep-1")
    train(first)
    assert first.close(20)
    ended = MlflowClient(default_uri(output)).get_run(first.run_id(KEY) or "").info.end_time
    (output / "mlartifacts").unlink()
    second = Tracker(None, "lab", output, "sweep-1")
    second.wait_open()
    assert second.is_incomplete(KEY)
    second.add_json(KEY, {"config.json": {"a": 1}})
    second.complete(KEY)
    assert second.close(20)
    client = MlflowClient(default_uri(output))
    run = client.get_run(first.run_id(KEY) or "")
    assert [file.path for file in client.list_artifacts(run.info.run_id)] == ["config.json"]
    assert Tag.ARTIFACTS_MISSING not in run.data.tags
    assert (run.info.status, run.info.end_time) == ("FINISHED", ended)
    third = Tracker(None, "lab", output, "sweep-1")
    third.wait_open()
    assert not third.is_incomplete(KEY)
    assert third.close(20)


def test_artifacts_of_a_disk_that_has_space_again_are_stored_by_the_same_command(
    output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tracker = Tracker(None, "lab", output, "sweep-1")
    tracker.wait_open()
    log_dict = tracker._store.client.log_dict

    def refuse(*args: object, **values: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tracker._store.client, "log_dict", refuse)
    train(tracker)
    assert tracker.flush(20)
    assert tracker.artifact_problem == (3, 2, "[Errno 28] No space left on device")
    monkeypatch.setattr(tracker._store.client, "log_dict", log_dict)
    assert tracker.flush(20)
    assert tracker.artifact_problem is None
    assert tracker.close(20)
    client = MlflowClient(default_uri(output))
    assert len(client.list_artifacts(tracker.run_id(KEY) or "")) == 2
    assert Tag.ARTIFACTS_MISSING not in client.get_run(tracker.run_id(KEY) or "").data.tags


def test_a_required_store_takes_artifacts(output: Path) -> None:
    (output / "mlartifacts").write_text("no folder")
    tracker = Tracker(None, "lab", output, "sweep-1", required=True)
    with pytest.raises(TrackingError, match="mlartifacts cannot be written"):
        tracker.wait_open()
    with pytest.raises(TrackingError, match=r"tracking.required=true: artifacts of sqlite:.*cannot be stored"):
        require_store(None, "lab", output)


def test_what_one_run_cannot_store_is_given_up_while_the_store_takes_everything_else(
    output: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(delivery, "RETRY_SECONDS", 0.02)
    monkeypatch.setattr(delivery, "STUCK_SECONDS", 0.1)
    tracker = Tracker(None, "lab", output, "sweep-1")
    tracker.wait_open()
    create_run = tracker._store.client.create_run

    def refuse_one(*args: object, **values: object) -> object:
        if values["run_name"] == "branch seed 0":
            raise MlflowException("too many 500 error responses")
        return create_run(*args, **values)  # type: ignore[arg-type]

    monkeypatch.setattr(tracker._store.client, "create_run", refuse_one)
    train(tracker)
    assert tracker.flush(20)
    assert tracker.close(20)
    assert "refused: too many 500 error responses" in caplog.text
    assert "KeyError" not in caplog.text and "('branch', 0)" not in caplog.text
    assert MlflowClient(default_uri(output)).get_run(tracker.run_id(SWEEP) or "").info.status == "FINISHED"


def test_a_store_that_cannot_be_written_is_reported_at_the_start(
    output: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(delivery, "RETRY_SECONDS", 0.02)
    make_read_only(output / "mlflow.db")
    before = (output / "mlflow.db").read_bytes()
    tracker = Tracker(None, "lab", output, "sweep-1")
    tracker.wait_open()
    train(tracker)
    assert not tracker.close(0.2)
    assert caplog.text.count(READ_ONLY) == 1
    assert tracker.outage is not None
    assert tracker.outage.advice == "make its file and folder writable"
    with pytest.raises(StoreUnavailable, match=READ_ONLY):
        require_store(None, "lab", output)
    assert open_history(None, output) is not None
    assert [file.name for file in output.iterdir()] == ["mlflow.db"]
    assert (output / "mlflow.db").read_bytes() == before


class ReadOnlyServer(BaseHTTPRequestHandler):
    """A server that answers reads, and rejects writes as MLflow's server does."""

    def do_GET(self) -> None:
        known = {"experiment_id": "1", "name": "lab", "artifact_location": "mlflow-artifacts:/1"}
        self._answer(200, {"experiment": {**known, "lifecycle_stage": "active"}})

    def do_POST(self) -> None:
        why = "(sqlite3.OperationalError) attempt to write a readonly database"
        self._answer(503, {"error_code": "TEMPORARILY_UNAVAILABLE", "message": f"(raised as a result of ...)\n{why}"})

    def log_message(self, *args: object) -> None:
        """Nothing."""

    def _answer(self, code: int, values: object) -> None:
        body = json.dumps(values).encode()
        self.send_response(code)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def test_a_server_whose_database_cannot_be_written_is_named_with_the_reason() -> None:
    with HTTPServer(("127.0.0.1", 0), ReadOnlyServer) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        uri = f"http://bob:hunter2@127.0.0.1:{server.server_port}"
        with pytest.raises(StoreUnavailable) as caught:
            open_store(uri, "lab", None)
        server.shutdown()
        thread.join()
    message = "the store refuses: attempt to write a readonly database"
    assert str(caught.value) == f"tracking.uri=http://127.0.0.1:{server.server_port}: {message}"


def test_a_folder_that_takes_no_journal_beside_the_database_is_found_out(output: Path) -> None:
    (output / "mlflow.db-journal").mkdir()
    with pytest.raises(TrackingError, match="the SQLite file cannot be"):
        require_store(None, "lab", output)


@pytest.mark.parametrize("damage", ["read-only", "artifacts"])
def test_the_doctor_reports_what_a_store_does_not_take(output: Path, damage: str) -> None:
    lab = compose(check_overrides([f"output={output}", "tracking.experiment=lab"]))
    open_store(default_uri(output), "lab", output / "mlartifacts")
    assert {check.name: check.state for check in _check_store(lab, 1)} == {"tracking": "ok", "artifacts": "ok"}
    if damage == "read-only":
        make_read_only(output / "mlflow.db")
        (check,) = _check_store(lab, 1)
        assert check.state == "failed" and READ_ONLY in check.finding
    else:
        (output / "mlartifacts").write_text("no folder")
        _, check = _check_store(lab, 1)
        assert check.state == "warning" and "cannot be written (Not a directory)" in check.finding


def test_a_store_that_was_moved_keeps_its_files_and_writes_no_more_to_the_old_folder(
    output: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    first = Tracker(None, "lab", output, "sweep-1")
    train(first)
    assert first.close(20)
    clear_artifact_cache(monkeypatch)
    moved = output.with_name("out % 2")
    output.rename(moved)
    second = Tracker(None, "lab", moved, "sweep-1")
    second.wait_open()
    second.add_json(KEY, {"more.json": {}})
    assert second.close(20)
    client = MlflowClient(default_uri(moved))
    names = {file.path for file in client.list_artifacts(first.run_id(KEY) or "")}
    assert names == {"config.json", "versions.json", "more.json"}
    assert not output.exists()
    assert f"read and written in {moved / 'mlartifacts'}, not in {output / 'mlartifacts'}" in caplog.text


def test_a_copied_store_leaves_the_original_alone(output: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = Tracker(None, "lab", output, "sweep-1")
    train(first)
    assert first.close(20)
    clear_artifact_cache(monkeypatch)
    before = {path: path.stat().st_mtime_ns for path in output.rglob("*")}
    copied = output.with_name("copy")
    shutil.copytree(output, copied)
    second = Tracker(None, "lab", copied, "sweep-1")
    train(second)
    assert second.close(20)
    assert {path: path.stat().st_mtime_ns for path in output.rglob("*")} == before
    written = {path.name for path in (copied / "mlartifacts").rglob("*.json")}
    assert written == {"config.json", "versions.json", "experiment.json"}


def test_a_database_without_its_files_is_refused_with_the_way_out(output: Path) -> None:
    first = Tracker(None, "lab", output, "sweep-1")
    train(first)
    assert first.close(20)
    alone = output.with_name("alone")
    alone.mkdir()
    shutil.copy(output / "mlflow.db", alone)
    with pytest.raises(TrackingError, match=rf"copy that folder to {alone / 'mlartifacts'}, or give tracking.uri="):
        open_store(default_uri(alone), "lab", alone / "mlartifacts")


def test_a_store_of_another_mlflow_is_waited_for_with_the_command_that_helps(
    output: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(delivery, "RETRY_SECONDS", 0.05)
    with closing(sqlite3.connect(output / "mlflow.db")) as database:
        (version,) = database.execute("SELECT version_num FROM alembic_version").fetchone()
    set_schema(output / "mlflow.db", "867495a8f9d4")
    tracker = Tracker(None, "lab", output, "sweep-1")
    tracker.wait_open()
    assert "made by another MLflow version (schema 867495a8f9d4" in caplog.text
    assert f"`mlflow db upgrade sqlite:///{output / 'mlflow.db'}`" in caplog.text
    train(tracker)
    set_schema(output / "mlflow.db", version)
    assert tracker.flush(20)
    assert tracker.close(20)


@pytest.mark.parametrize("name", ["100% done", "a?b#c"])
def test_a_store_in_a_folder_of_any_name_leaves_nothing_beside_it(name: str, tmp_path: Path) -> None:
    output = tmp_path / name / "out"
    store = open_store(default_uri(output), "lab", output / "mlartifacts")
    store.log_json(store.create("run", {}), {"a.json": {"a": 1}})
    assert [folder.name for folder in tmp_path.iterdir()] == [name]
    assert sorted(file.name for file in output.iterdir()) == ["mlartifacts", "mlflow.db"]
    assert [file.name for file in output.rglob("*.json")] == ["a.json"]


def test_a_store_that_cannot_be_made_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for folder in (tmp_path / "file", Path("/proc/nope")):
        with pytest.raises(TrackingError, match="the SQLite file cannot be made: "):
            open_store(default_uri(folder), "lab", None)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_no_library_reaches_the_console(output: Path, capfd: pytest.CaptureFixture[str]) -> None:
    connect(default_uri(output))
    for name in (
        "mlflow.store.db.utils",
        "alembic.runtime",
        "sqlalchemy.engine",
        "sqlalchemy.pool",
        "urllib3.connectionpool",
    ):
        try:
            raise sqlite3.OperationalError("database is locked")
        except sqlite3.OperationalError:
            logging.getLogger(name).exception("SQLAlchemy database error")
    from mlflow.utils.logging_utils import eprint

    eprint("View run at")
    with warnings.catch_warnings(record=True) as shown:
        warnings.warn_explicit("use something else", FutureWarning, "x.py", 1, module="mlflow.store.tracking")
    assert not [each for each in shown if "use something else" in str(each.message)]
    assert capfd.readouterr() == ("", "")
