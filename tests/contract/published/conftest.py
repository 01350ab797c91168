"""A store with an evaluated sweep, and its archive."""

from pathlib import Path

import pytest

from tests.helpers.experiments.published import publish_sweep, write_evaluated_sweep
from tests.helpers.experiments.stored_sweeps import SweepWriter
from tests.helpers.stand_in_figures import stand_in_figures


@pytest.fixture(scope="session")
def evaluated(tmp_path_factory: pytest.TempPathFactory) -> SweepWriter:
    """A store of this session with the sweep `drawn`: two arms, three seeds."""
    folder = tmp_path_factory.mktemp("evaluated")
    writer = SweepWriter(f"sqlite:///{folder / 'mlflow.db'}", folder)
    (folder / "images").mkdir()
    write_evaluated_sweep(writer, "drawn", folder / "images")
    return writer


@pytest.fixture(scope="session")
def archive(evaluated: SweepWriter, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The archive of the sweep `drawn`, published by a laboratory of a name."""
    file = tmp_path_factory.mktemp("archive") / "drawn.zip"
    with stand_in_figures():
        return publish_sweep(evaluated.uri, "drawn", file, "--laboratory", "Lab of Alice")
