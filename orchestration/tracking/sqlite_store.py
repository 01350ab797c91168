"""The SQLite file of a tracking store: whether it can be read and written, its tables, where its artifacts lie."""

import os
import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path

from filelock import FileLock

from orchestration.store_conventions import client_uri, public_uri, quiet_libraries, sqlite_uri
from orchestration.tracking.problems import StoreAway, TrackingError

# As long as one waits for another process that fills the SQLite file.
FILLING_SECONDS = 120
LOCKED_SECONDS = 5.0
BLOCK = 4096


def check_sqlite(uri: str, file: Path) -> None:
    """Raise TrackingError for a file that is no database or cannot be read, StoreAway for one that is locked.

    MLflow would try a file that cannot be opened for minutes.
    """
    if file.is_dir():
        raise TrackingError(f"tracking.uri={public_uri(uri)}: the SQLite file cannot be used: it is a folder")
    try:
        with closing(sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True, timeout=LOCKED_SECONDS)) as connection:
            connection.execute("SELECT count(*) FROM sqlite_master")
    except sqlite3.Error as error:
        kind = StoreAway if "locked" in str(error) else TrackingError
        raise kind(f"tracking.uri={public_uri(uri)}: the SQLite file cannot be used: {error}") from None


def check_writable(uri: str, file: Path) -> None:
    """Raise StoreAway for a database that takes no write; whatever is written is rolled back."""
    try:
        with closing(sqlite3.connect(file, timeout=LOCKED_SECONDS, isolation_level=None)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            # A journal beside the file, which its folder may not allow, is made at the first change.
            connection.execute("CREATE TABLE fcos_lab_write_check (id INTEGER)")
            connection.execute("ROLLBACK")
    except sqlite3.Error as error:
        raise StoreAway(f"tracking.uri={public_uri(uri)}: the SQLite file cannot be written: {error}") from None


def check_folder(folder: Path) -> None:
    """Raise OSError where files could not be written below a folder that is there or not; leaves nothing behind."""
    there = next(path for path in (folder, *folder.parents) if os.path.lexists(path))
    with tempfile.TemporaryFile(dir=there) as file:
        # A full disk still takes a file that holds nothing.
        file.write(b"\0" * BLOCK)
        file.flush()


def make_sqlite(uri: str, file: Path) -> None:
    """Fill a file that is absent or holds nothing yet, once and in one piece; raises TrackingError where it cannot.

    MLflow takes some seconds and a hundred steps for its tables. Two that do so at once, or one that is killed
    meanwhile, would leave a file that nobody can open.
    """
    if _is_filled(file):
        return
    try:
        check_folder(file.parent)
        file.parent.mkdir(parents=True, exist_ok=True)
        _fill_once(file, Path(f"{file}.lock"))
    except OSError as error:
        words = f"the SQLite file cannot be made: {error.strerror or error}"
        raise TrackingError(f"tracking.uri={public_uri(uri)}: {words}") from None


def _fill_once(file: Path, lock: Path) -> None:
    try:
        with FileLock(lock, timeout=FILLING_SECONDS):
            if not _is_filled(file):
                _fill(file)
    finally:
        # Whoever waits for it finds the file filled, or fills it.
        lock.unlink(missing_ok=True)


def _is_filled(file: Path) -> bool:
    return file.exists() and file.stat().st_size > 0


def _fill(file: Path) -> None:
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    # Its loggers are set up while they are imported.
    quiet_libraries()
    new = file.with_name(f"{file.name}.new")
    # Of one that was killed.
    new.unlink(missing_ok=True)
    try:
        SqlAlchemyStore(client_uri(sqlite_uri(new)), (file.parent / "mlruns").as_uri()).engine.dispose()
        new.replace(file)
    finally:
        new.unlink(missing_ok=True)


def move_artifacts(file: Path, old: str, new: str) -> None:
    """Let all experiments and runs with artifacts at `old` have them at `new`, in one transaction.

    Raises sqlite3.Error where the file does not take it.
    """
    with closing(sqlite3.connect(file, timeout=LOCKED_SECONDS, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        below = (new, len(old) + 1, len(old) + 1, f"{old}/")
        connection.execute("UPDATE experiments SET artifact_location = ? WHERE artifact_location = ?", (new, old))
        connection.execute(
            "UPDATE runs SET artifact_uri = ? || substr(artifact_uri, ?) WHERE substr(artifact_uri, 1, ?) = ?", below
        )
        connection.execute("COMMIT")
