"""Runs that are read from the tables of an SQLite store are those of MLflow's client."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.entities import Metric, Param, Run, RunTag

from analysis.reader.client import search_runs
from fcos.storage.sqlite_store import stored_runs
from fcos.storage.store_conventions import Artifact, RunStatus, Tag
from orchestration.tracking import history as history_module
from orchestration.tracking.history import History, PastRun, TaggedRun
from orchestration.tracking.store import Store, open_store
from tests.helpers.counted_calls import count_calls

IDENTITIES = tuple(letter * 64 for letter in "abcd")


@dataclass(frozen=True)
class Written:
    """A store with runs in several states, experiments and with values of all kinds."""

    client: MlflowClient
    file: Path
    experiments: tuple[str, ...]

    @property
    def history(self) -> History:
        return History(self.file, f"sqlite:///{self.file}")

    @property
    def requested(self) -> History:
        """The same runs as MLflow's client returns them."""
        return History(self.client, "http://127.0.0.1:1")


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Written:
    file = tmp_path_factory.mktemp("runs") / "mlflow.db"
    client = MlflowClient(f"sqlite:///{file}")
    experiments = tuple(client.create_experiment(name) for name in ("first", "second", "deleted"))
    for number in range(24):
        run = client.create_run(experiments[number % 3], start_time=1000 + number // 2, run_name=f"run {number}")
        run_id = run.info.run_id
        tags = {
            Tag.TRAIN_IDENTITY: IDENTITIES[number % 4],
            Tag.TRUNK: IDENTITIES[number % 2],
            Tag.SWEEP_KEY: "k",
            Tag.ARM: f"a{number}",
            Tag.SEED: "many" if number == 5 else "0",
            **({Tag.SUPERSEDED: "x"} if number == 6 else {}),
            **({Tag.ARCHIVE: "x"} if number == 7 else {}),
            **({Tag.REUSED_FROM: "x"} if number == 8 else {}),
            **({Tag.LOOKS: "[2, 3]"} if number in (9, 10) else {}),
        }
        values = [1.5, math.nan, math.inf, -math.inf][number % 4]
        client.log_batch(
            run_id,
            metrics=[Metric("m", 0.5, 1, 0), Metric("m", values, 2, 1), Metric("n", 1.0, 1, 0)],
            params=[Param("p", "text with 'quotes' and ü"), Param("number", str(number))],
            tags=[RunTag(key, value) for key, value in tags.items()],
        )
        if number % 5:
            client.set_terminated(run_id, RunStatus.FINISHED, end_time=2000)
        if number == 9:
            client.delete_run(run_id)
    client.delete_experiment(experiments[2])
    return Written(client, file, experiments)


def described(run: Run) -> list[object]:
    info, data = run.info, run.data
    metrics = {key: repr(value) for key, value in data.metrics.items()}
    where = (info.run_id, info.experiment_id, info.run_name, info.artifact_uri)
    return [*where, info.status, info.start_time, info.end_time, data.tags, data.params, metrics]


@pytest.mark.parametrize(
    "tags", [{Tag.SWEEP_KEY: "k"}, {Tag.SWEEP_KEY: "k", Tag.TRUNK: IDENTITIES[0]}, {Tag.SWEEP_KEY: "other"}]
)
def test_runs_are_those_of_a_search(written: Written, tags: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    # More runs than a statement names.
    monkeypatch.setattr(stored_runs, "CHUNK", 5)
    condition = " and ".join(f"tags.`{key}` = '{value}'" for key, value in tags.items())
    ids = list(written.experiments[:2])
    expected = [described(run) for run in written.client.search_runs(ids, condition)]
    assert [described(run) for run in search_runs(written.client, ids, tags)] == expected
    assert search_runs(written.client, ids[:0], tags) == []


def test_finished_runs_of_many_trainings_are_those_of_each(written: Written) -> None:
    history, unknown = written.history, "e" * 64
    found = history.of_trainings([*IDENTITIES, unknown])
    for identity in (*IDENTITIES, unknown):
        assert plain(found[identity]) == plain(history.of_training(identity))
    assert any(found.values()) and found[unknown] == []
    found = history.of_trunks([*IDENTITIES, unknown])
    assert {key: plain(runs) for key, runs in found.items()} == {key: plain(history.of_trunk(key)) for key in found}


def test_the_newest_runs_are_those_of_a_server(written: Written, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history_module, "MAX_RUNS", 3)
    read = [written.history.of_training(IDENTITIES[0]), written.history.begun(IDENTITIES[1])]
    requested = [written.requested.of_training(IDENTITIES[0]), written.requested.begun(IDENTITIES[1])]
    assert [list(map(plain_run, runs)) for runs in read] == [list(map(plain_run, runs)) for runs in requested]


def test_looks_are_those_that_mlflow_has_of_a_run(written: Written) -> None:
    ids = list(stored_runs.read_artifact_uris(written.file))
    looks = {run_id: written.history.looks_of(run_id) for run_id in (*ids, "none")}
    assert looks == {run_id: written.requested.looks_of(run_id) for run_id in (*ids, "none")}
    assert sorted(filter(None, looks.values())) == [(2, 3), (2, 3)], "also those of the deleted run"


def plain_run(run: PastRun) -> tuple[object, ...]:
    # What is no number equals nothing.
    return run.run_id, run.tags, run.params, {key: repr(value) for key, value in run.metrics.items()}


def plain(runs: Sequence[object]) -> list[object]:
    return [(run.run_id, run.tags) for run in runs if isinstance(run, TaggedRun)]


def test_each_training_is_looked_up_once(written: Written, monkeypatch: pytest.MonkeyPatch) -> None:
    history = written.history
    calls = count_calls(monkeypatch, history_module, "read_tags")
    first = history.of_trainings(IDENTITIES[:2])
    assert history.of_trainings(IDENTITIES) == {**first, **history.of_trainings(IDENTITIES[2:])}
    assert [identity for _, _, values in calls for identity in values] == list(IDENTITIES)


def test_the_runs_of_a_sweep_are_those_of_its_experiment(written: Written, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(written.client, written.experiments[0], f"sqlite:///{written.file}", "")
    found = store.find_runs("k")
    monkeypatch.setattr("orchestration.tracking.store.sqlite_file", lambda uri: None)
    assert found == store.find_runs("k") and len(found) == 6


def test_artifacts_of_all_runs_are_where_mlflow_has_them(written: Written) -> None:
    uris = stored_runs.read_artifact_uris(written.file)
    runs = written.client.search_runs(list(written.experiments[:2]))
    assert {run.info.run_id: run.info.artifact_uri for run in runs}.items() <= uris.items()


def test_evaluations_and_pictures_are_linked_into_the_folder_that_mlflow_lists(tmp_path: Path) -> None:
    store = open_store(f"sqlite:///{tmp_path / 'mlflow.db'}", "lab", tmp_path / "mlartifacts")
    files = [tmp_path / "index.json", tmp_path / "picture.png"]
    for file in files:
        file.write_text(file.name)
    run_id = store.create("branch seed 0", {})
    store.log_files(run_id, files[:1], Artifact.EVALUATION)
    store.log_files(run_id, files[1:], Artifact.DETECTIONS)
    listed = {
        entry.path
        for folder in (Artifact.EVALUATION, Artifact.DETECTIONS)
        for entry in store.client.list_artifacts(run_id, folder)
    }
    assert listed == {f"{Artifact.EVALUATION}/index.json", f"{Artifact.DETECTIONS}/picture.png"}
    stored = [Path(store.client.download_artifacts(run_id, path)) for path in sorted(listed)]
    assert [path.read_text() for path in stored] == ["picture.png", "index.json"]
    own = tmp_path / "mlartifacts" / run_id / "artifacts"
    links = [(own / path).stat().st_nlink for path in sorted(listed)]
    assert links == [2, 2], "both are only ever replaced whole"
