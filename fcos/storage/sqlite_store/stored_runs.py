"""Runs of a tracking store in an SQLite file, read from MLflow's own tables.

MLflow's client makes objects of each param, metric and tag of a run one by one: of thousands of runs this takes a tenth
of the time, and of their tags alone a hundredth. Runs and experiments that were deleted are left out of every search,
and runs come newest first, as MLflow orders them. All functions raise sqlite3.Error where the file cannot be read.
"""

import math
import sqlite3
from collections.abc import Collection, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

LOCKED_SECONDS = 5.0
# Variables of a statement; some versions of SQLite take 999.
CHUNK = 500
ACTIVE = "runs.lifecycle_stage = 'active' AND experiments.lifecycle_stage = 'active'"
NEWEST_FIRST = "ORDER BY runs.start_time DESC, runs.run_uuid"
HAVING_TAG = (
    "SELECT runs.run_uuid, tags.value, runs.status, runs.experiment_id "
    "FROM tags JOIN runs USING (run_uuid) JOIN experiments USING (experiment_id) "
    f"WHERE tags.key = ? AND {ACTIVE} {NEWEST_FIRST}"
)
INFO = (
    "SELECT runs.run_uuid, runs.name, runs.experiment_id, runs.status, runs.start_time, runs.end_time, "
    "runs.artifact_uri FROM runs JOIN experiments USING (experiment_id) "
)


@dataclass(frozen=True)
class StoredRun:
    """A run with its tags, params, and the last value of each metric; start and end in milliseconds since 1970."""

    run_id: str
    name: str
    experiment_id: str
    status: str
    start: int | None
    end: int | None
    artifact_uri: str
    tags: dict[str, str] = field(default_factory=dict)
    params: dict[str, str] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class RunTags:
    """What is read of a run where its tags alone are needed."""

    status: str
    experiment_id: str
    tags: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class StoredPoint:
    """One logged value of a metric; milliseconds since 1970."""

    run_id: str
    step: int
    milliseconds: int
    value: float


def read_tags(file: Path, tag: str, values: Collection[str]) -> dict[str, RunTags]:
    """Return the runs that have one of the values in a tag with all of their tags, by run id."""
    wanted = frozenset(values)
    with _reading(file) as connection:
        runs = {
            run_id: RunTags(status, str(experiment_id))
            for run_id, value, status, experiment_id in connection.execute(HAVING_TAG, (tag,))
            if value in wanted
        }
        for run_id, key, value in _rows_of(connection, "SELECT run_uuid, key, value FROM tags", runs):
            runs[run_id].tags[key] = value
    return runs


def read_tags_of(file: Path, run_id: str) -> dict[str, str]:
    """Return the tags of a run, of a deleted one too; empty where there is none."""
    with _reading(file) as connection:
        return dict(connection.execute("SELECT key, value FROM tags WHERE run_uuid = ?", (run_id,)).fetchall())


def read_runs(
    file: Path,
    tags: Mapping[str, str],
    experiment_ids: Collection[str] | None = None,
    status: str | None = None,
    limit: int | None = None,
) -> list[StoredRun]:
    """Return the newest runs that have the given values in all of some tags, of some experiments and in a state."""
    having = "".join(
        " AND EXISTS (SELECT 1 FROM tags WHERE tags.run_uuid = runs.run_uuid AND tags.key = ? AND tags.value = ?)"
        for _ in tags
    )
    values: list[Any] = [text for pair in tags.items() for text in pair]
    if status is not None:
        having, values = f"{having} AND runs.status = ?", [*values, status]
    if experiment_ids is not None:
        having = f"{having} AND runs.experiment_id IN ({','.join('?' * len(experiment_ids))})"
        values += map(int, experiment_ids)
    # -1 is no limit.
    query, values = f"{INFO} WHERE {ACTIVE}{having} {NEWEST_FIRST} LIMIT ?", [*values, -1 if limit is None else limit]
    with _reading(file) as connection:
        rows = connection.execute(query, values)
        found = [
            StoredRun(run_id, name or "", str(experiment_id), status, start, end, artifact_uri or "")
            for run_id, name, experiment_id, status, start, end, artifact_uri in rows
        ]
        runs = {run.run_id: run for run in found}
        # Most values are those of other runs too: one object stands for all of them.
        known: dict[str, str] = {}
        for table, values_of in (("tags", _tags_of), ("params", _params_of)):
            for run_id, key, value in _rows_of(connection, f"SELECT run_uuid, key, value FROM {table}", runs):
                values_of(runs[run_id])[known.setdefault(key, key)] = known.setdefault(value, value)
        for run_id, key, value, is_nan in _rows_of(
            connection, "SELECT run_uuid, key, value, is_nan FROM latest_metrics", runs
        ):
            runs[run_id].metrics[known.setdefault(key, key)] = math.nan if is_nan else float(value)
    return list(runs.values())


def read_points(file: Path, run_ids: Collection[str], metric: str) -> list[StoredPoint]:
    """Return all points of a metric in some runs."""
    query = "SELECT run_uuid, step, timestamp, value, is_nan FROM metrics"
    with _reading(file) as connection:
        return [
            StoredPoint(run_id, int(step), int(moment), math.nan if is_nan else float(value))
            for run_id, step, moment, value, is_nan in _rows_of(connection, query, run_ids, " AND key = ?", metric)
        ]


def read_artifact_uris(file: Path) -> dict[str, str]:
    """Return where the artifacts of all runs are, by run id."""
    with _reading(file) as connection:
        return {run_id: uri or "" for run_id, uri in connection.execute("SELECT run_uuid, artifact_uri FROM runs")}


def _tags_of(run: StoredRun) -> dict[str, str]:
    return run.tags


def _params_of(run: StoredRun) -> dict[str, str]:
    return run.params


@contextmanager
def _reading(file: Path) -> Iterator[sqlite3.Connection]:
    """Give a connection whose queries all see the same runs."""
    address = f"{file.as_uri()}?mode=ro"
    with closing(sqlite3.connect(address, uri=True, timeout=LOCKED_SECONDS, isolation_level=None)) as connection:
        connection.execute("BEGIN")
        yield connection


def _rows_of(
    connection: sqlite3.Connection, query: str, run_ids: Collection[str], condition: str = "", *values: str
) -> Iterator[tuple[Any, ...]]:
    """Iterate over the rows of some runs that meet a condition on some values."""
    left = iter(run_ids)
    while chunk := list(islice(left, CHUNK)):
        marks = ",".join("?" * len(chunk))
        yield from connection.execute(f"{query} WHERE run_uuid IN ({marks}){condition}", [*chunk, *values])
