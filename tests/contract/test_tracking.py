"""What MLflow holds after a sweep: each point once, legal names, nothing left RUNNING, whatever happened."""

import math
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from mlflow.entities import Run
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from fcos.storage.store_conventions import default_uri, public_uri
from orchestration.tracking import delivery
from orchestration.tracking import tracker as tracker_module
from orchestration.tracking.problems import StoreUnavailable, TrackingError
from orchestration.tracking.store import open_store
from orchestration.tracking.tracker import SWEEP, RunFacts, Tracker
from tests.helpers.processes.waiting import PATIENCE, wait_until

KEY = ("branch", 0)
TWIN = ("none", 0)


@pytest.fixture
def output(tmp_path: Path, empty_store: bytes) -> Path:
    # The store's experiment keeps the artifact folder of where it was made.
    (tmp_path / "mlflow.db").write_bytes(empty_store)
    return tmp_path


Opened = Callable[..., Tracker]


@pytest.fixture
def opened(output: Path) -> Iterator[Opened]:
    """Opens trackers of one sweep, as one command after another would."""
    trackers = []

    def make(sweep_key: str = "sweep-1", experiment: str = "lab") -> Tracker:
        trackers.append(Tracker(None, experiment, output, sweep_key))
        trackers[-1].wait_open()
        return trackers[-1]

    yield make
    for tracker in trackers:
        tracker.close(5)


def facts(arm: str, seed: int = 0, **changes: object) -> RunFacts:
    tags = {"fcos.kind": "trial", "fcos.arm": arm, "fcos.seed": str(seed)}
    return RunFacts(f"{arm} seed {seed}", tags, **changes)  # type: ignore[arg-type]


def start_sweep(tracker: Tracker) -> None:
    tracker.start(SWEEP, RunFacts("sweep", {"fcos.kind": "sweep"}, files={"experiment.json": {"a": 1}}))


def statuses(output: Path) -> dict[str, str]:
    client = MlflowClient(default_uri(output))
    experiment = client.get_experiment_by_name("lab")
    assert experiment is not None
    return {run.info.run_name: run.info.status for run in client.search_runs([experiment.experiment_id])}


def steps(output: Path, tracker: Tracker, name: str) -> list[tuple[int, float]]:
    run_id = tracker.run_id(KEY)
    assert run_id is not None
    points = MlflowClient(default_uri(output)).get_metric_history(run_id, name)
    return sorted((point.step, point.value) for point in points)


def test_a_sweep_and_its_trials_are_stored_completely(opened: Opened, output: Path, tmp_path: Path) -> None:
    picture = tmp_path / "000.png"
    picture.write_bytes(b"png")
    tracker = opened(experiment="fresh")
    start_sweep(tracker)
    params = {"model": {"levels": [3, 4], "head": {"norm": "gn", "scale": True, "none": None}}}
    tracker.start(KEY, facts("branch", params=params, files={"config.json": params}))
    tracker.start(TWIN, facts("none", params=params, trained_by=KEY))
    tracker.add(KEY, {("train/loss", 1): 2.0, ("val/class_AP/café", 1): 0.5})
    tracker.end(KEY, "FINISHED", {"fcos.checkpoint": "x"}, [picture])
    tracker.end(TWIN, "FAILED", {"fcos.failure": "why"})
    tracker.end(SWEEP, "FINISHED", {"fcos.status": "finished"})
    assert tracker.close(PATIENCE)
    client = MlflowClient(default_uri(output))
    parent, run, twin = (client.get_run(tracker.run_id(key) or "") for key in (SWEEP, KEY, TWIN))
    assert run.data.tags["mlflow.parentRunId"] == twin.data.tags["mlflow.parentRunId"] == parent.info.run_id
    assert run.data.params == {
        "model.levels": "[3, 4]",
        "model.head.norm": "gn",
        "model.head.scale": "true",
        "model.head.none": "null",
    }
    assert run.data.tags["fcos.trained_by"] == twin.data.tags["fcos.trained_by"] == run.info.run_id
    assert run.data.tags["fcos.checkpoint"] == "x"
    assert set(run.data.metrics) == {"train/loss", "val/class_AP/café"}
    pictures = client.list_artifacts(run.info.run_id, "detections")
    assert [file.path for file in pictures] == ["detections/000.png"]
    assert {file.path for file in client.list_artifacts(parent.info.run_id)} == {"experiment.json"}
    assert (run.info.status, twin.info.status, parent.info.status) == ("FINISHED", "FAILED", "FINISHED")
    assert (output / "mlartifacts").is_dir()


def test_a_point_is_stored_once_within_a_command_and_over_commands(opened: Opened, output: Path) -> None:
    for attempt in range(2):
        tracker = opened()
        start_sweep(tracker)
        tracker.start(KEY, facts("branch"))
        for _ in range(2):
            tracker.add(KEY, {("train/loss", step): float(step) for step in range(3 + attempt)})
            assert tracker.flush(PATIENCE)
        assert tracker.close(PATIENCE)
    assert steps(output, tracker, "train/loss") == [(step, float(step)) for step in range(4)]
    assert len(statuses(output)) == 2


def test_runs_of_another_sweep_are_left_alone(opened: Opened, output: Path) -> None:
    for sweep_key in ("sweep-1", "sweep-2"):
        tracker = opened(sweep_key)
        tracker.start(KEY, facts("branch"))
        tracker.end(KEY, "FINISHED", {})
        assert tracker.close(PATIENCE)
    client = MlflowClient(default_uri(output))
    experiment = client.get_experiment_by_name("lab")
    assert experiment is not None
    assert len(client.search_runs([experiment.experiment_id])) == 2


def test_a_sweep_that_stops_in_the_middle_leaves_nothing_running(opened: Opened, output: Path) -> None:
    tracker = opened()
    start_sweep(tracker)
    tracker.start(KEY, facts("branch"))
    tracker.start(TWIN, facts("none"))
    tracker.add(KEY, {("train/loss", 1): 1.0})
    tracker.end(TWIN, "FINISHED", {})
    assert tracker.close(PATIENCE)
    assert statuses(output) == {"sweep": "KILLED", "branch seed 0": "KILLED", "none seed 0": "FINISHED"}
    assert steps(output, tracker, "train/loss") == [(1, 1.0)]


def test_a_rerun_takes_up_the_runs_it_finds(opened: Opened, output: Path) -> None:
    first = opened()
    start_sweep(first)
    first.start(KEY, facts("branch", params={"a": 1}))
    first.end(KEY, "FAILED", {"fcos.failure": "why"})
    assert first.close(PATIENCE)
    second = opened()
    assert not second.is_finished(KEY, {})
    start_sweep(second)
    second.start(KEY, facts("branch", params={"a": 1}))
    second.end(KEY, "FINISHED", {})
    assert second.close(PATIENCE)
    assert opened().is_finished(KEY, {})
    assert second.run_id(KEY) == first.run_id(KEY)
    run = MlflowClient(default_uri(output)).get_run(second.run_id(KEY) or "")
    assert "fcos.failure" not in run.data.tags


def test_a_store_that_fails_in_the_middle_loses_and_doubles_nothing(
    opened: Opened, output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery, "RETRY_SECONDS", 0.05)
    tracker = opened()
    start_sweep(tracker)
    tracker.start(KEY, facts("branch"))
    assert tracker.flush(PATIENCE)
    client, down = tracker._store.client, threading.Event()
    down.set()
    log_batch, get_run = client.log_batch, client.get_run

    def lose_the_answer(run_id: str, **values: object) -> None:
        # Stored, but the store goes down before it can say so.
        log_batch(run_id, **values)  # type: ignore[arg-type]
        if down.is_set():
            raise ConnectionError("no route to host")

    def refuse(run_id: str) -> object:
        if down.is_set():
            raise ConnectionError("no route to host")
        return get_run(run_id)

    monkeypatch.setattr(client, "log_batch", lose_the_answer)
    monkeypatch.setattr(client, "get_run", refuse)
    for step in range(5):
        tracker.add(KEY, {("train/loss", step): float(step)})
    # What is added waits for no answer.
    assert not tracker.flush(0.5)
    down.clear()
    assert tracker.flush(PATIENCE)
    assert steps(output, tracker, "train/loss") == [(step, float(step)) for step in range(5)]


def test_a_store_that_stays_unavailable_is_given_up_in_time(
    opened: Opened, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(delivery, "RETRY_SECONDS", 0.05)
    tracker = opened()

    calls: list[None] = []

    def refuse(*args: object, **values: object) -> None:
        calls.append(None)
        raise ConnectionError("no route to host")

    monkeypatch.setattr(tracker._store.client, "create_run", refuse)
    tracker.start(KEY, facts("branch"))
    wait_until(lambda: len(calls) > 2)
    assert not tracker.close(0.2)
    assert caplog.text.count("training goes on") == 1


def test_what_the_store_refuses_for_good_holds_up_nothing_else(
    opened: Opened, output: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tracker = opened()
    start_sweep(tracker)
    tracker.start(KEY, facts("branch", params={"not a legal key?": 1}))
    tracker.add(KEY, {("train/loss", 1): 1.0})
    tracker.end(KEY, "FINISHED", {})
    assert tracker.close(PATIENCE)
    assert "refused" in caplog.text
    assert statuses(output) == {"sweep": "KILLED", "branch seed 0": "FINISHED"}
    assert steps(output, tracker, "train/loss") == [(1, 1.0)]


def of_training(identity: str = "i", training: str = "t", arm: str = "branch") -> RunFacts:
    """Facts of a run that belongs to a training."""
    plain = facts(arm, params={"identity": identity})
    tags = {"fcos.train_identity": identity, "fcos.identity": f"{identity}/{arm}", "fcos.training_id": training}
    return replace(plain, tags={**plain.tags, **tags})


def all_runs(output: Path) -> dict[str, Run]:
    client = MlflowClient(default_uri(output))
    experiment = client.get_experiment_by_name("lab")
    assert experiment is not None
    return {run.info.run_id: run for run in client.search_runs([experiment.experiment_id])}


@pytest.mark.parametrize("changed", [of_training(identity="other"), of_training(training="anew")])
@pytest.mark.parametrize("status", ["FINISHED", "RUNNING"])
def test_a_run_of_another_training_is_superseded_and_lends_it_nothing(
    opened: Opened, output: Path, changed: RunFacts, status: str
) -> None:
    first = opened()
    start_sweep(first)
    first.start(KEY, of_training())
    first.add(KEY, {("val/AP", 6): 0.5, ("val/AP", 3): 0.25})
    assert first.flush(PATIENCE)
    before = first.run_id(KEY)
    assert before is not None
    if status == "FINISHED":
        first.end(KEY, "FINISHED", {"fcos.checkpoint": "old"})
        assert first.flush(PATIENCE)
    second = opened()
    start_sweep(second)
    assert not second.is_finished(KEY, changed.tags)
    second.start(KEY, changed)
    second.add(KEY, {("val/AP", 6): 0.125})
    second.end(KEY, "FINISHED", {})
    assert second.flush(PATIENCE)
    after = second.run_id(KEY)
    runs = all_runs(output)
    old, new = runs[before], runs[after or ""]
    assert after != before and old.data.tags["fcos.superseded_by"] == after
    assert old.info.status == ("FINISHED" if status == "FINISHED" else "KILLED")
    assert new.data.params == {"identity": changed.tags["fcos.train_identity"]}
    assert "fcos.checkpoint" not in new.data.tags and "fcos.superseded_by" not in new.data.tags
    assert steps(output, second, "val/AP") == [(6, 0.125)]
    third = opened()
    assert third.is_finished(KEY, changed.tags) and not third.is_finished(KEY, of_training().tags)
    assert third.run_id(KEY) == after


def test_a_run_of_the_same_training_is_taken_up(opened: Opened, output: Path) -> None:
    ids = set()
    for _ in range(2):
        tracker = opened()
        start_sweep(tracker)
        tracker.start(KEY, of_training())
        tracker.end(KEY, "KILLED", {})
        assert tracker.flush(PATIENCE)
        ids.add(tracker.run_id(KEY))
    assert len(ids) == 1 and len(all_runs(output)) == 2


def test_of_a_step_that_came_out_otherwise_again_the_last_value_counts(opened: Opened, output: Path) -> None:
    values = [{("val/AP", 6): 0.5, ("nan", 6): math.nan, ("inf", 6): math.inf}, {("val/AP", 6): 0.25}]
    for later in (values, [{**values[0], **values[1]}]):
        tracker = opened()
        tracker.start(KEY, of_training())
        for points in later:
            tracker.add(KEY, points)
            assert tracker.flush(PATIENCE)
    assert steps(output, tracker, "val/AP") == [(6, 0.25), (6, 0.5)]
    assert len(steps(output, tracker, "nan")) == len(steps(output, tracker, "inf")) == 1
    (run,) = all_runs(output).values()
    assert run.data.metrics["val/AP"] == 0.25


def test_children_of_a_deleted_sweep_get_the_new_one_for_a_parent(opened: Opened, output: Path) -> None:
    first = opened()
    start_sweep(first)
    for key, arm in ((KEY, "branch"), (TWIN, "none")):
        first.start(key, of_training(arm=arm))
        first.end(key, "FINISHED", {})
    assert first.flush(PATIENCE)
    client = MlflowClient(default_uri(output))
    client.delete_run(first.run_id(SWEEP) or "")
    client.delete_tag(first.run_id(TWIN) or "", "fcos.kind")
    second = opened()
    start_sweep(second)
    assert second.flush(PATIENCE) and second.run_id(SWEEP) != first.run_id(SWEEP)
    for key in (KEY, TWIN):
        run = client.get_run(first.run_id(key) or "")
        assert run.data.tags["mlflow.parentRunId"] == second.run_id(SWEEP)
        assert (run.info.status, run.data.tags["fcos.kind"]) == ("FINISHED", "trial")


def test_a_param_that_a_rerun_may_change_stays_as_it_was(opened: Opened, output: Path) -> None:
    for workers in (0, 2):
        tracker = opened()
        tracker.start(KEY, facts("branch", params={"data": {"num_workers": workers}}))
        tracker.end(KEY, "FINISHED", {})
        assert tracker.close(PATIENCE)
    run = MlflowClient(default_uri(output)).get_run(tracker.run_id(KEY) or "")
    assert run.data.params == {"data.num_workers": "0"}
    assert run.info.status == "FINISHED"


def test_a_run_made_by_a_call_whose_answer_was_lost_is_found_again(
    opened: Opened, output: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(delivery, "RETRY_SECONDS", 0.05)
    tracker = opened()
    create_run = tracker._store.client.create_run
    lost: list[object] = []

    def lose_the_answer(*args: object, **values: object) -> object:
        run = create_run(*args, **values)  # type: ignore[arg-type]
        if not lost:
            lost.append(run)
            raise ConnectionError("no route to host")
        return run

    monkeypatch.setattr(tracker._store.client, "create_run", lose_the_answer)
    tracker.start(KEY, facts("branch"))
    tracker.end(KEY, "FINISHED", {})
    assert tracker.close(PATIENCE)
    assert statuses(output) == {"branch seed 0": "FINISHED"}
    client = MlflowClient(default_uri(output))
    assert len(client.search_runs([tracker._store.experiment_id])) == 1
    # One connection that broke is no outage.
    assert "cannot be reached" not in caplog.text


def test_a_run_that_a_server_makes_after_the_next_call_has_looked_for_it_is_superseded(
    opened: Opened, output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tracker = opened()
    create_run = tracker._store.client.create_run
    late: list[str] = []

    def come_late(*args: object, **values: object) -> object:
        if not late:
            late.append("")
            raise MlflowException("API request failed with timeout exception")
        run = create_run(*args, **values)  # type: ignore[arg-type]
        if late == [""]:
            late[0] = create_run(*args, **values).info.run_id  # type: ignore[arg-type]
        return run

    monkeypatch.setattr(tracker._store.client, "create_run", come_late)
    tracker.start(KEY, facts("branch"))
    assert tracker.flush(PATIENCE)
    runs = all_runs(output)
    assert len(runs) == 2
    assert runs[late[0]].data.tags["fcos.superseded_by"] == tracker.run_id(KEY)
    assert runs[late[0]].info.status == "KILLED"
    assert "fcos.superseded_by" not in runs[tracker.run_id(KEY) or ""].data.tags


def test_a_run_whose_seed_was_edited_counts_for_nothing_and_is_named(
    opened: Opened, output: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = opened()
    start_sweep(first)
    first.start(KEY, of_training())
    first.end(KEY, "FINISHED", {})
    assert first.flush(PATIENCE)
    edited = first.run_id(KEY)
    assert edited is not None
    MlflowClient(default_uri(output)).set_tag(edited, "fcos.seed", "three")
    second = opened()
    assert not second.is_finished(KEY, of_training().tags)
    assert f"run {edited}: its tag fcos.seed=three is no whole number" in caplog.text
    second.start(KEY, of_training())
    second.end(KEY, "FINISHED", {})
    assert second.flush(PATIENCE)
    assert second.run_id(KEY) != edited
    assert opened().is_finished(KEY, of_training().tags)


def test_a_server_that_is_not_there_is_named(tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        uri = f"http://127.0.0.1:{probe.getsockname()[1]}"
    tracker = Tracker(uri, "lab", tmp_path, "sweep-1", required=True)
    with pytest.raises(TrackingError, match=f"tracking.uri={uri}: the store cannot be reached: .*refused$"):
        tracker.wait_open()


def test_a_store_that_comes_later_misses_nothing(
    output: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(delivery, "RETRY_SECONDS", 0.05)
    there = threading.Event()
    monkeypatch.setattr(tracker_module, "open_store", lambda *arguments: _open_when(there, *arguments))
    tracker = Tracker(None, "lab", output, "sweep-1")
    tracker.wait_open()
    tracker.start(KEY, facts("branch"))
    tracker.add(KEY, {("train/loss", 1): 1.0})
    assert not tracker.flush(0.3)
    there.set()
    tracker.end(KEY, "FINISHED", {})
    assert tracker.close(PATIENCE)
    assert caplog.text.count("training goes on") == 1
    assert statuses(output) == {"branch seed 0": "FINISHED"}
    assert steps(output, tracker, "train/loss") == [(1, 1.0)]


def _open_when(there: threading.Event, uri: str, experiment: str, artifacts: Path | None) -> object:
    if not there.is_set():
        raise StoreUnavailable("no route to host")
    return open_store(uri, experiment, artifacts)


def test_a_file_that_is_no_store_is_named(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").write_text("this is no database, whatever its name says" * 40)
    tracker = Tracker(None, "lab", tmp_path, "sweep-1")
    with pytest.raises(TrackingError, match="the SQLite file cannot be used"):
        tracker.wait_open()


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("http://user:secret@host:5000/path", "http://host:5000/path"),
        ("postgresql://user:se@cret@host/db", "postgresql://host/db"),
        ("http://user:se/cret@host/path", "http://host/path"),
        ("postgresql://host/db?password=secret", "postgresql://host/db"),
        ("http://host:5000", "http://host:5000"),
        ("sqlite:////folder/a@b/mlflow.db", "sqlite:////folder/a@b/mlflow.db"),
    ],
)
def test_an_address_is_shown_without_its_password_by_who_writes_and_who_reads(uri: str, shown: str) -> None:
    assert public_uri(uri) == shown


OPENING = """
import sys
from orchestration.tracking.store import open_store
print("ready", flush=True)
sys.stdin.readline()
print(open_store(sys.argv[1], sys.argv[2], None).experiment_id)
"""


def test_a_fresh_file_is_filled_once_where_several_begin_together(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db.new").write_bytes(b"what one that was killed left")
    command = [sys.executable, "-c", OPENING, default_uri(tmp_path)]
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    started = [subprocess.Popen([*command, name], text=True, **pipes) for name in ("one", "two", "two")]
    for process in started:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    ended = [process.communicate("\n", timeout=PATIENCE) for process in started]
    assert [process.returncode for process in started] == [0, 0, 0], ended
    names = {experiment.name for experiment in MlflowClient(default_uri(tmp_path)).search_experiments()}
    assert names == {"Default", "one", "two"}
    assert not (tmp_path / "mlflow.db.new").exists()
