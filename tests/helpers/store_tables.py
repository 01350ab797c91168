"""The tables of MLflow's stores, made once and copied into every other store of a test session."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock
from mlflow.store.db import utils
from sqlalchemy import Engine


@dataclass(frozen=True)
class CopiedTables:
    """Fills empty SQLite stores from a file; MLflow makes its tables by all of its migrations, which takes seconds.

    file: of all processes of the session; the first that needs it writes it. make: fills a store as MLflow does.
    """

    file: Path
    make: Callable[[Engine], None]

    def __call__(self, engine: Engine) -> None:
        """Make the tables of a store; leave to MLflow what is no SQLite, or not empty."""
        if engine.dialect.name != "sqlite" or not utils._is_empty_database(engine):
            self.make(engine)
            return
        with FileLock(f"{self.file}.lock"):
            if not self.file.exists():
                self.make(engine)
                self._keep(engine)
                return
        with closing(sqlite3.connect(self.file)) as kept, _connected(engine) as connection:
            kept.backup(connection)

    def _keep(self, engine: Engine) -> None:
        part = self.file.with_suffix(".part")
        with closing(sqlite3.connect(part)) as copy, _connected(engine) as connection:
            connection.backup(copy)
        part.replace(self.file)


@contextmanager
def _connected(engine: Engine) -> Iterator[sqlite3.Connection]:
    with closing(engine.raw_connection()) as pooled:
        connection = pooled.driver_connection
        assert isinstance(connection, sqlite3.Connection)
        yield connection
