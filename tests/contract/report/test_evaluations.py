"""Saved evaluations are fetched from a run's artifacts, whole or not at all."""

import shutil
from pathlib import Path

import pytest

from analysis.reader import evaluation
from analysis.reader.evaluation import read_evaluation
from fcos.evaluation.saved.saved_evaluation import parse_evaluation
from fcos.storage.evaluation_files import FILES, INDEX, RESULTS
from tests.helpers.detections.evaluations import saved
from tests.helpers.experiments.stored_sweeps import SweepWriter


@pytest.fixture
def stored(tmp_path: Path) -> tuple[SweepWriter, str]:
    """A store of its own with a run that has a saved evaluation."""
    folder = tmp_path / "outputs"
    folder.mkdir()
    writer = SweepWriter(f"sqlite:///{folder / 'mlflow.db'}", folder)
    run_id = writer.write_trial("main", writer.write_sweep("main", "one", {}), "none", 0, 0.5)
    for name in FILES:
        writer.client.log_artifact(run_id, str(saved(tmp_path) / name), "evaluation")
    return writer, run_id


def test_what_was_stored_is_read_and_parsed(stored: tuple[SweepWriter, str], tmp_path: Path) -> None:
    files = read_evaluation(stored[0].uri, stored[1])
    assert files is not None
    assert files.results == (tmp_path / "evaluation" / RESULTS).read_bytes()
    assert parse_evaluation(files, Path("run")).index.step == 7


def test_a_moved_store_is_read_from_where_it_is(stored: tuple[SweepWriter, str], tmp_path: Path) -> None:
    expected = read_evaluation(*_address(stored))
    shutil.move(stored[0].folder, tmp_path / "moved")
    assert read_evaluation(f"sqlite:///{tmp_path / 'moved' / 'mlflow.db'}", stored[1]) == expected


@pytest.mark.parametrize("name", [INDEX, RESULTS])
def test_an_evaluation_of_which_a_file_is_missing_is_none(stored: tuple[SweepWriter, str], name: str) -> None:
    (file,) = stored[0].folder.glob(f"mlartifacts/{stored[1]}/artifacts/evaluation/{name}")
    file.unlink()
    assert read_evaluation(*_address(stored)) is None


def test_a_run_of_an_older_version_has_none(stored: tuple[SweepWriter, str]) -> None:
    shutil.rmtree(stored[0].folder / "mlartifacts" / stored[1] / "artifacts" / "evaluation")
    assert read_evaluation(*_address(stored)) is None


def test_a_file_over_the_bound_is_not_read(stored: tuple[SweepWriter, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluation, "MAX_BYTES", 100)
    assert read_evaluation(*_address(stored)) is None


def _address(stored: tuple[SweepWriter, str]) -> tuple[str, str]:
    return stored[0].uri, stored[1]
