"""A tracking store with its tables, which take seconds to make."""

import pytest

from orchestration.tracking.tracker import Tracker
from tests.helpers.processes.waiting import PATIENCE


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The SQLite file of a store that holds the MLflow experiment `lab` and no run."""
    folder = tmp_path_factory.mktemp("store")
    tracker = Tracker(None, "lab", folder, "nobody")
    tracker.wait_open()
    assert tracker.close(PATIENCE)
    return (folder / "mlflow.db").read_bytes()
