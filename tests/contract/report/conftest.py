"""A tracking store with small sweeps, and the report command."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.helpers.experiments.stored_sweeps import SweepWriter


@pytest.fixture(scope="session")
def writer(tmp_path_factory: pytest.TempPathFactory) -> SweepWriter:
    """Writer into a store of this session."""
    folder = tmp_path_factory.mktemp("store")
    return SweepWriter(f"sqlite:///{folder / 'mlflow.db'}", folder)


@pytest.fixture(scope="module")
def own_writer(tmp_path_factory: pytest.TempPathFactory) -> SweepWriter:
    """Writer into a store of this module, whose sweeps no other test counts."""
    folder = tmp_path_factory.mktemp("own_store")
    return SweepWriter(f"sqlite:///{folder / 'mlflow.db'}", folder)


@pytest.fixture(scope="session")
def centerness(writer: SweepWriter) -> str:
    """Run id of the sweep `centerness` in the MLflow experiment `main`: 9 trials, one failed."""
    return writer.write_sweep("main", "centerness")


@pytest.fixture(scope="session")
def written(writer: SweepWriter, centerness: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the report of the sweep `centerness`."""
    from analysis.report import write_report

    return write_report("centerness", writer.uri, tmp_path_factory.mktemp("report"))[1]


@pytest.fixture
def run_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """report.main, run in a folder of the test's own."""
    from analysis import report

    monkeypatch.chdir(tmp_path)
    return lambda *arguments: report.main([str(argument) for argument in arguments])
