"""Runs of an SQLite store by a tag, read from its file: of thousands at once, and nothing of them but their tags.

MLflow's client makes an object of each param, metric and tag of a run, which takes a hundred times as long.
"""

import sqlite3
from collections.abc import Collection, Iterator
from contextlib import closing
from itertools import islice
from pathlib import Path

from fcos.storage.store_conventions import RunStatus

LOCKED_SECONDS = 5.0
# Variables of a statement; some versions of SQLite take 999.
CHUNK = 500
# Newest first, as MLflow orders runs.
HAVING_TAG = """
    SELECT runs.run_uuid, tags.value, runs.status
    FROM tags JOIN runs USING (run_uuid) JOIN experiments USING (experiment_id)
    WHERE tags.key = ? AND runs.lifecycle_stage = 'active' AND experiments.lifecycle_stage = 'active'
    ORDER BY runs.start_time DESC, runs.run_uuid
"""


def read_tags(file: Path, tag: str, values: Collection[str], *, finished: bool) -> dict[str, dict[str, str]]:
    """Return the tags of the runs that have one of the values in a tag, by run id, newest first.

    Runs and experiments that were deleted are left out. Raises sqlite3.Error where the file cannot be read.
    """
    wanted = frozenset(values)
    address = f"{file.as_uri()}?mode=ro"
    with closing(sqlite3.connect(address, uri=True, timeout=LOCKED_SECONDS, isolation_level=None)) as connection:
        # Both queries see the same runs.
        connection.execute("BEGIN")
        tags: dict[str, dict[str, str]] = {
            run_id: {}
            for run_id, value, status in connection.execute(HAVING_TAG, (tag,))
            if value in wanted and (status == RunStatus.FINISHED or not finished)
        }
        for chunk in _chunks(tags):
            marks = ",".join("?" * len(chunk))
            query = f"SELECT run_uuid, key, value FROM tags WHERE run_uuid IN ({marks})"
            for run_id, key, value in connection.execute(query, chunk):
                tags[run_id][key] = value
    return tags


def _chunks(names: Collection[str]) -> Iterator[list[str]]:
    left = iter(names)
    while chunk := list(islice(left, CHUNK)):
        yield chunk
