"""When a store may be opened once trainings run, and that it is opened then."""

import importlib.util
import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import pytest
from alembic.script import ScriptDirectory

from orchestration.tracking.delivery import Delivery, StoreCalls
from orchestration.tracking.sqlite_store import REVISION, opening_delay, will_open
from tests.helpers.processes.waiting import PATIENCE


def make_store(file: Path, revision: str = REVISION, stage: str = "active") -> None:
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("CREATE TABLE alembic_version (version_num TEXT)")
        connection.execute("CREATE TABLE experiments (name TEXT, lifecycle_stage TEXT)")
        connection.execute("INSERT INTO alembic_version VALUES (?)", (revision,))
        connection.execute("INSERT INTO experiments VALUES ('lab', ?)", (stage,))
        connection.commit()


def test_the_revision_is_that_of_the_installed_mlflow() -> None:
    found = importlib.util.find_spec("mlflow")
    assert found is not None and found.submodule_search_locations
    scripts = ScriptDirectory(str(Path(found.submodule_search_locations[0]) / "store" / "db_migrations"))
    assert scripts.get_current_head() == REVISION


def test_a_file_that_can_be_made_or_written_is_opened_later(tmp_path: Path) -> None:
    file = tmp_path / "outputs" / "mlflow.db"
    assert will_open(file, "lab") and not file.parent.exists()
    file.parent.mkdir()
    make_store(file)
    assert will_open(file, "lab") and will_open(file, "another")
    assert opening_delay(None, "lab", file.parent) and opening_delay(f"sqlite:///{file}", "lab", tmp_path)


def test_what_mlflow_may_refuse_is_waited_for(tmp_path: Path) -> None:
    files = {name: tmp_path / name for name in ("older.db", "deleted.db", "damaged.db", "another.db")}
    make_store(files["older.db"], revision="451aebb31d03")
    make_store(files["deleted.db"], stage="deleted")
    files["damaged.db"].write_text("no database")
    sqlite3.connect(files["another.db"]).executescript("CREATE TABLE t (id INTEGER)").connection.close()
    assert [name for name, file in files.items() if will_open(file, "lab")] == []
    assert not will_open(tmp_path, "lab")
    (tmp_path / "file").touch()
    assert not will_open(tmp_path / "file" / "mlflow.db", "lab")
    assert not opening_delay("http://127.0.0.1:1", "lab", tmp_path)


@pytest.mark.parametrize("call", ["open_now", "wait_open", "close"])
def test_a_store_is_opened_once_it_is_needed(call: str) -> None:
    opened, stored = threading.Event(), threading.Event()
    calls = StoreCalls(open=opened.set, check=lambda: None, flush=lambda: None, on_failure=lambda: None)
    delivery = Delivery("sqlite:///x.db", calls, required=False, delay=PATIENCE)
    delivery.begin()
    delivery.push(stored.set)
    assert not opened.is_set()
    {"open_now": delivery.open_now, "wait_open": delivery.wait_open, "close": lambda: delivery.close(PATIENCE)}[call]()
    assert opened.wait(PATIENCE / 2) and stored.wait(PATIENCE / 2)
    assert delivery.close(PATIENCE)


def test_a_store_is_opened_at_the_end_of_the_delay() -> None:
    opened = threading.Event()
    calls = StoreCalls(open=opened.set, check=lambda: None, flush=lambda: None, on_failure=lambda: None)
    delivery = Delivery("sqlite:///x.db", calls, required=False, delay=0.01)
    delivery.begin()
    assert opened.wait(PATIENCE)
    assert delivery.close(PATIENCE)
