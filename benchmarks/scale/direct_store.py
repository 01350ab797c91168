"""A store that writes the rows of MLflow's own client without it, ten times as fast.

It gives a tracking store the runs of a simulated sweep of 10,000 trainings, so that what reads such a store can be
measured within minutes; what writing costs is measured with MLflow's client on fewer. Artifacts are linked, not copied.
"""

import json
import os
import sqlite3
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from fcos.config.parse import flatten
from fcos.storage.store_conventions import MAX_TAG_CHARS, param_text
from orchestration.tracking.addresses import sqlite_file
from orchestration.tracking.artifacts import local_folder
from orchestration.tracking.datasets import RunDataset, log_datasets
from orchestration.tracking.store import Store, TimedPoints

RUN = (
    "INSERT INTO runs (run_uuid, name, source_type, source_name, entry_point_name, user_id, status, start_time, "
    "source_version, lifecycle_stage, artifact_uri, experiment_id) "
    "VALUES (?, ?, 'UNKNOWN', '', '', 'unknown', 'RUNNING', ?, '', 'active', ?, ?)"
)
TAG = "INSERT OR REPLACE INTO tags (key, value, run_uuid) VALUES (?, ?, ?)"
PARAM = "INSERT OR IGNORE INTO params (key, value, run_uuid) VALUES (?, ?, ?)"
METRIC = "INSERT OR IGNORE INTO metrics (key, value, timestamp, step, is_nan, run_uuid) VALUES (?, ?, ?, ?, 0, ?)"
LATEST = (
    "INSERT INTO latest_metrics (key, value, timestamp, step, is_nan, run_uuid) VALUES (?, ?, ?, ?, 0, ?) "
    "ON CONFLICT (key, run_uuid) DO UPDATE SET value = excluded.value, timestamp = excluded.timestamp, "
    "step = excluded.step WHERE (excluded.step, excluded.timestamp, excluded.value) > (step, timestamp, value)"
)
INPUTS = "SELECT input_uuid, source_id FROM inputs WHERE destination_id = ?"
INPUT = (
    "INSERT INTO inputs (input_uuid, source_type, source_id, destination_type, destination_id) "
    "VALUES (?, 'DATASET', ?, 'RUN', ?)"
)
INPUT_TAG = (
    "INSERT INTO input_tags (input_uuid, name, value) SELECT ?, name, value FROM input_tags WHERE input_uuid = ?"
)


@dataclass(frozen=True)
class DirectStore(Store):
    """A store in an SQLite file; used by one thread, that which opened it."""

    connection: sqlite3.Connection = field(kw_only=True)
    # Data sets of a run -> the run whose inputs MLflow has written.
    with_datasets: dict[str, str] = field(default_factory=dict, kw_only=True)

    @classmethod
    def of(cls, store: Store) -> Self:
        """Return a bulk store over the file of an open one."""
        file = sqlite_file(store.uri)
        assert file is not None, "of SQLite alone"
        connection = sqlite3.connect(file, timeout=60.0, isolation_level=None)
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute("PRAGMA foreign_keys = ON")
        return cls(store.client, store.experiment_id, store.uri, store.artifacts, connection=connection)

    def _write(self, statement: str, rows: Sequence[tuple[Any, ...]]) -> None:
        """Write rows in one transaction."""
        with self.connection:
            self.connection.execute("BEGIN IMMEDIATE")
            self.connection.executemany(statement, rows)

    def create(self, name: str, tags: Mapping[str, str]) -> str:
        """Create a run with status RUNNING; return its id."""
        run_id = uuid.uuid4().hex
        folder = f"{self.artifacts.rstrip('/')}/{run_id}/artifacts"
        self._write(RUN, [(run_id, name, int(time.time() * 1000), folder, int(self.experiment_id))])
        self.set_tags(run_id, {**tags, "mlflow.runName": name})
        return run_id

    def close(self, run_id: str, status: str) -> None:
        """End a run as FINISHED, FAILED or KILLED."""
        now = int(time.time() * 1000)
        self._write("UPDATE runs SET status = ?, end_time = ? WHERE run_uuid = ?", [(status, now, run_id)])

    def set_tags(self, run_id: str, tags: Mapping[str, str]) -> None:
        """Set or replace tags."""
        self._write(TAG, [(name, str(value)[:MAX_TAG_CHARS], run_id) for name, value in tags.items()])

    def log_params(self, run_id: str, params: Mapping[str, Any]) -> None:
        """Store nested values as dotted params."""
        self._write(PARAM, [(key, param_text(value), run_id) for key, value in flatten(params).items()])

    def log_points(self, run_id: str, points: TimedPoints) -> None:
        """Store metric points, which are all finite."""
        rows = [(name, value, moment, step, run_id) for (name, step), (value, moment) in points.items()]
        self._write(METRIC, rows)
        self._write(LATEST, rows)

    def log_json(self, run_id: str, values: Mapping[str, Any]) -> None:
        """Store plain values as JSON artifacts."""
        folder = self._artifact_folder(run_id)
        for name, value in values.items():
            (folder / name).write_text(json.dumps(value, indent=2))

    def log_files(self, run_id: str, files: Sequence[Path], folder: str) -> None:
        """Store files as artifacts below a folder, "" for none."""
        own = self._artifact_folder(run_id) / folder
        own.mkdir(parents=True, exist_ok=True)
        for file in files:
            (own / file.name).unlink(missing_ok=True)
            os.link(file, own / file.name)

    def _artifact_folder(self, run_id: str) -> Path:
        root = local_folder(self.artifacts)
        assert root is not None, "a folder beside the SQLite file"
        folder = root / run_id / "artifacts"
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def log_inputs(self, run_id: str, datasets: Sequence[RunDataset]) -> None:
        """Add data sets as inputs of a run: the first time by MLflow, then as that run has them."""
        if self.connection.execute(INPUTS, (run_id,)).fetchone() is not None:
            # It was begun by an earlier command.
            return
        key = repr(datasets)
        origin = self.with_datasets.get(key)
        if origin is None:
            log_datasets(self.client, self.uri, run_id, datasets)
            self.with_datasets[key] = run_id
            return
        for known, source in self.connection.execute(INPUTS, (origin,)).fetchall():
            own = uuid.uuid4().hex
            self._write(INPUT, [(own, source, run_id)])
            self._write(INPUT_TAG, [(own, known)])
