"""The SQLite file of a tracking store: access checks, creation of its tables, relocation of its artifacts."""

import os
import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path

from filelock import FileLock

from fcos.storage.store_conventions import client_uri, default_uri, public_uri, quiet_libraries, sqlite_uri
from orchestration.tracking.addresses import sqlite_file
from orchestration.tracking.problems import StoreUnavailable, TrackingError

# Of the tables that the MLflow which pyproject.toml bounds makes and writes.
REVISION = "dc11669786a5"
# How long to wait for another process that creates the tables.
FILLING_SECONDS = 120
LOCKED_SECONDS = 5.0
# The latest that a store is opened which may be opened once trainings run.
LATER_SECONDS = 20.0
BLOCK = 4096
# Tables and their columns with locations below that of an experiment.
MOVED_COLUMNS = (
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "storage_location"),
)


def check_sqlite(file: Path) -> None:
    """Raise TrackingError for a file that is not a readable database, StoreUnavailable for a locked one.

    MLflow would retry to open such a file for minutes.
    """
    if file.is_dir():
        raise TrackingError(f"{_named(file)}: the SQLite file cannot be used: it is a folder")
    try:
        try:
            _read(file, "ro")
        except sqlite3.OperationalError as error:
            # A process that was killed while it wrote has left a journal, which the next one that may write rolls back.
            if "readonly" not in str(error):
                raise
            _read(file, "rw")
    except sqlite3.Error as error:
        kind = StoreUnavailable if "locked" in str(error) else TrackingError
        raise kind(f"{_named(file)}: the SQLite file cannot be used: {error}") from None


def _named(file: Path) -> str:
    return f"tracking.uri={public_uri(sqlite_uri(file))}"


def _read(file: Path, mode: str) -> None:
    with closing(sqlite3.connect(f"{file.as_uri()}?mode={mode}", uri=True, timeout=LOCKED_SECONDS)) as connection:
        connection.execute("SELECT count(*) FROM sqlite_master")


def check_writable(file: Path) -> None:
    """Raise StoreUnavailable for a database that cannot be written; the test write is rolled back."""
    try:
        with closing(sqlite3.connect(file, timeout=LOCKED_SECONDS, isolation_level=None)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            # The first change creates a journal beside the file, which its folder may not permit.
            connection.execute("CREATE TABLE fcos_lab_write_check (id INTEGER)")
            connection.execute("ROLLBACK")
    except sqlite3.Error as error:
        raise StoreUnavailable(f"{_named(file)}: the SQLite file cannot be written: {error}") from None


def opening_delay(uri: str | None, experiment: str, output: Path) -> float:
    """Return after how many seconds at the latest a store is to be opened that no training waits for; 0 for at once.

    MLflow's import takes longer than all else before the first training.
    """
    file = sqlite_file(uri or default_uri(output))
    return LATER_SECONDS if file is not None and will_open(file, experiment) else 0.0


def will_open(file: Path, experiment: str) -> bool:
    """Return whether nothing is known that would keep MLflow from making this file, or an experiment's runs in it.

    Looked up without MLflow, whose import takes seconds.
    """
    try:
        if not _is_filled(file):
            check_folder(file.parent)
            return True
        with closing(sqlite3.connect(f"{file.as_uri()}?mode=rw", uri=True, timeout=LOCKED_SECONDS)) as connection:
            named = "SELECT lifecycle_stage FROM experiments WHERE name = ?"
            stages = connection.execute(named, (experiment,)).fetchall()
        check_writable(file)
    except (OSError, sqlite3.Error, StoreUnavailable):
        return False
    return has_known_tables(file) and stages in ([], [("active",)])


def has_known_tables(file: Path) -> bool:
    """Return whether the tables of a file are those of the MLflow that pyproject.toml bounds."""
    try:
        with closing(sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True, timeout=LOCKED_SECONDS)) as connection:
            revisions = connection.execute("SELECT version_num FROM alembic_version").fetchall()
    except sqlite3.Error:
        return False
    return revisions == [(REVISION,)]


def check_folder(folder: Path) -> None:
    """Raise OSError where no files can be written below a folder, existing or not; leave no file behind."""
    existing = next(path for path in (folder, *folder.parents) if os.path.lexists(path))
    with tempfile.TemporaryFile(dir=existing) as file:
        # A full disk still accepts an empty file.
        file.write(b"\0" * BLOCK)
        file.flush()


def make_sqlite(uri: str, file: Path) -> None:
    """Create the tables in a file that is absent or empty, once and atomically.

    MLflow creates its tables in about a hundred steps over some seconds. Two processes at once, or one that is killed
    meanwhile, would leave a file that cannot be opened. Raises TrackingError where the file cannot be made.
    """
    if _is_filled(file):
        return
    try:
        check_folder(file.parent)
        file.parent.mkdir(parents=True, exist_ok=True)
        _fill_once(file, Path(f"{file}.lock"))
    except OSError as error:
        what = f"the SQLite file cannot be made: {error.strerror or error}"
        raise TrackingError(f"tracking.uri={public_uri(uri)}: {what}") from None


def _fill_once(file: Path, lock: Path) -> None:
    try:
        with FileLock(lock, timeout=FILLING_SECONDS):
            if not _is_filled(file):
                _fill(file)
    finally:
        # Processes waiting for the lock find the tables, or create them.
        lock.unlink(missing_ok=True)


def _is_filled(file: Path) -> bool:
    return file.exists() and file.stat().st_size > 0


def _fill(file: Path) -> None:
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    # The import sets up the loggers.
    quiet_libraries()
    new = file.with_name(f"{file.name}.new")
    # Left by a process that was killed.
    new.unlink(missing_ok=True)
    try:
        SqlAlchemyStore(client_uri(sqlite_uri(new)), (file.parent / "mlruns").as_uri()).engine.dispose()
        new.replace(file)
    finally:
        new.unlink(missing_ok=True)


def move_artifacts(file: Path, old: str, new: str) -> None:
    """Change the artifact location of experiments, runs and models from `old` to `new`, in one transaction.

    Raises sqlite3.Error where the file cannot be written.
    """
    with closing(sqlite3.connect(file, timeout=LOCKED_SECONDS, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        below = (new, len(old) + 1, len(old) + 1, f"{old}/")
        connection.execute("UPDATE experiments SET artifact_location = ? WHERE artifact_location = ?", (new, old))
        for table, column in MOVED_COLUMNS:
            values = f"{column} = ? || substr({column}, ?)"
            connection.execute(f"UPDATE {table} SET {values} WHERE substr({column}, 1, ?) = ?", below)
        connection.execute("COMMIT")
