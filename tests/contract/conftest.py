"""A tracking store with its tables, which take seconds to make and are copied from the first; none waits for disks."""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import suppress
from functools import cache

import pytest
from mlflow.store.db import utils
from sqlalchemy import Engine, event

from orchestration.tracking.tracker import Tracker
from tests.helpers.known_provenance import known_provenance
from tests.helpers.processes.waiting import PATIENCE
from tests.helpers.stand_in_figures import stand_in_figures
from tests.helpers.store_tables import CopiedTables


@pytest.fixture(autouse=True, scope="session")
def _tables_are_copied(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Iterator[None]:
    own = tmp_path_factory.getbasetemp()
    # Each of several processes that run tests has a folder of its own in that of the session.
    shared = own if worker_id == "master" else own.parent
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(utils, "_initialize_tables", CopiedTables(shared / "tables.db", utils._initialize_tables))
        # For it MLflow reads all of its migrations, whenever a store is opened.
        patch.setattr(utils, "_get_latest_schema_revision", cache(utils._get_latest_schema_revision))
        yield


def _leave_to_the_system(connection: object, record: object) -> None:
    """Have SQLite wait for no disk; whatever reads a file that cannot be read reports it."""
    if isinstance(connection, sqlite3.Connection):
        with suppress(sqlite3.Error):
            connection.execute("PRAGMA synchronous = OFF")


@pytest.fixture(autouse=True, scope="session")
def _no_waiting_for_disks() -> Iterator[None]:
    """As in tests/unit: no file of a test need outlast a loss of power."""
    event.listen(Engine, "connect", _leave_to_the_system)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda handle: None)
        yield
    event.remove(Engine, "connect", _leave_to_the_system)


@pytest.fixture(autouse=True, scope="session")
def _provenance_is_known() -> Iterator[None]:
    with known_provenance():
        yield


@pytest.fixture
def real_figures() -> None:
    """Lets the reports of the test draw their figures; those of fixtures of a wider scope are drawn in any case."""


@pytest.fixture(autouse=True)
def _figures_have_stand_ins(request: pytest.FixtureRequest) -> Iterator[None]:
    if "real_figures" in request.fixturenames:
        yield
        return
    with stand_in_figures():
        yield


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The SQLite file of a store that holds the MLflow experiment `lab` and no run."""
    folder = tmp_path_factory.mktemp("store")
    tracker = Tracker(None, "lab", folder, "nobody")
    tracker.wait_open()
    assert tracker.close(PATIENCE)
    return (folder / "mlflow.db").read_bytes()
