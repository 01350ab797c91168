"""Inputs of runs in MLflow: the data sets of a training, once, whatever happens between store and command."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import mlflow.data
import pytest
from mlflow.entities import DatasetInput
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import BAD_REQUEST, ENDPOINT_NOT_FOUND
from mlflow.tracking import MlflowClient

from fcos.storage.store_conventions import default_uri
from orchestration.tracking import delivery
from orchestration.tracking.datasets import DatasetProfile, RunDataset
from orchestration.tracking.tracker import RunFacts, Tracker
from tests.helpers.processes.waiting import PATIENCE

KEY, TWIN = ("branch", 0), ("none", 0)
PROFILE = DatasetProfile(24, 70, 2, ("disc", "Größe"))
DATASETS = (
    RunDataset("photos train", "ab" * 32, "training", "local", {"uri": "/data/photos/train.json"}, PROFILE),
    RunDataset("photos val", "ab" * 32, "validation", "code", {"tags": {"split": "val"}}, PROFILE),
)


@pytest.fixture
def output(tmp_path: Path, empty_store: bytes) -> Path:
    (tmp_path / "mlflow.db").write_bytes(empty_store)
    return tmp_path


@pytest.fixture
def opened(output: Path) -> Iterator[Callable[[], Tracker]]:
    trackers: list[Tracker] = []

    def make() -> Tracker:
        trackers.append(Tracker(None, "lab", output, "sweep-1"))
        trackers[-1].wait_open()
        return trackers[-1]

    yield make
    for tracker in trackers:
        tracker.close(5)


def start(tracker: Tracker, *keys: tuple[str, int]) -> None:
    for arm, seed in keys:
        tags = {"fcos.kind": "trial", "fcos.arm": arm, "fcos.seed": str(seed)}
        tracker.start((arm, seed), RunFacts(f"{arm} seed {seed}", tags, datasets=DATASETS))


def inputs_of(output: Path, tracker: Tracker, key: tuple[str, int]) -> list[DatasetInput]:
    run = MlflowClient(default_uri(output)).get_run(tracker.run_id(key) or "")
    assert run.inputs is not None
    return sorted(run.inputs.dataset_inputs, key=lambda each: str(each.dataset.name))


def test_a_run_has_its_splits_as_mlflow_reads_them(opened: Callable[[], Tracker], output: Path) -> None:
    tracker = opened()
    start(tracker, KEY, TWIN)
    assert tracker.flush(PATIENCE)
    train, val = inputs_of(output, tracker, KEY)
    assert (train.dataset.name, train.dataset.digest) == ("photos train", ("ab" * 32)[:36])
    assert [(tag.key, tag.value) for tag in train.tags] == [("mlflow.data.context", "training")]
    assert [(tag.key, tag.value) for tag in val.tags] == [("mlflow.data.context", "validation")]
    assert mlflow.data.get_source(train).to_dict() == {"uri": "/data/photos/train.json"}
    assert mlflow.data.get_source(val).to_dict() == {"tags": {"split": "val"}}
    assert json.loads(train.dataset.profile or "") == {
        "num_images": 24,
        "num_boxes": 70,
        "num_crowd_boxes": 2,
        "classes": ["disc", "Größe"],
        "num_classes": 2,
    }
    assert set(json.loads(train.dataset.schema or "")) == {"mlflow_tensorspec"}
    assert len(inputs_of(output, tracker, TWIN)) == 2


def test_a_run_that_is_taken_up_again_has_each_input_once(opened: Callable[[], Tracker], output: Path) -> None:
    for _ in range(3):
        tracker = opened()
        start(tracker, KEY)
        tracker.end(KEY, "KILLED", {})
        assert tracker.close(PATIENCE)
    assert len(inputs_of(output, tracker, KEY)) == 2


def test_an_answer_that_is_lost_doubles_nothing(
    opened: Callable[[], Tracker], output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery, "RETRY_SECONDS", 0.05)
    tracker = opened()
    client = tracker._store.client
    log_inputs = client.log_inputs
    calls: list[str] = []

    def lose_the_answer(run_id: str, **values: object) -> None:
        log_inputs(run_id, **values)  # type: ignore[arg-type]
        calls.append(run_id)
        if len(calls) == 1:
            raise ConnectionError("no route to host")

    monkeypatch.setattr(client, "log_inputs", lose_the_answer)
    start(tracker, KEY)
    assert tracker.flush(PATIENCE)
    assert len(inputs_of(output, tracker, KEY)) == 2


def test_a_data_set_that_another_command_adds_at_once_is_added_all_the_same(
    opened: Callable[[], Tracker], output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tracker = opened()
    client = tracker._store.client
    log_inputs = client.log_inputs
    refused: list[str] = []

    def collide(run_id: str, **values: object) -> None:
        if not refused:
            refused.append(run_id)
            raise MlflowException("UNIQUE constraint failed: datasets.name", error_code=BAD_REQUEST)
        log_inputs(run_id, **values)  # type: ignore[arg-type]

    monkeypatch.setattr(client, "log_inputs", collide)
    start(tracker, KEY)
    assert tracker.flush(PATIENCE)
    assert refused and len(inputs_of(output, tracker, KEY)) == 2


def test_a_server_without_inputs_costs_inputs_alone(
    opened: Callable[[], Tracker], output: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    tracker = opened()

    def refuse(run_id: str, **values: object) -> None:
        raise MlflowException("API request failed with error code 404", error_code=ENDPOINT_NOT_FOUND)

    monkeypatch.setattr(tracker._store.client, "log_inputs", refuse)
    start(tracker, KEY, TWIN)
    tracker.add(KEY, {("train/loss", 1): 2.0})
    tracker.end(KEY, "FINISHED", {})
    assert tracker.close(PATIENCE)
    run = MlflowClient(default_uri(output)).get_run(tracker.run_id(KEY) or "")
    assert (run.info.status, run.data.metrics) == ("FINISHED", {"train/loss": 2.0})
    assert inputs_of(output, tracker, KEY) == []
    assert caplog.text.count("the server knows no inputs of runs (ENDPOINT_NOT_FOUND)") == 1
