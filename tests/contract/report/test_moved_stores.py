"""Reports on a store that was moved, lost its artifacts, or was made by another MLflow version."""

import json
import re
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.entities import RunTag
from sqlalchemy.engine import URL

from analysis.reader.client import StoreError, list_pictures, read_artifact
from analysis.reader.runs import read_sweep
from tests.helpers.experiments.stored_sweeps import EXPERIMENT, SweepWriter


@pytest.fixture
def moved(writer: SweepWriter, centerness: str, tmp_path: Path) -> Path:
    """A copy of the store whose recorded folder of artifacts is not there."""
    folder = tmp_path / "out % 2"
    shutil.copytree(writer.folder, folder)
    execute(
        folder, "UPDATE runs SET artifact_uri = replace(artifact_uri, ?, ?)", writer.folder.as_uri(), "file:///nowhere"
    )
    return folder


def execute(folder: Path, statement: str, *values: str) -> None:
    with closing(sqlite3.connect(folder / "mlflow.db")) as database:
        database.execute(statement, values)
        database.commit()


def sqlite_uri(folder: Path) -> str:
    return URL.create("sqlite", database=str(folder / "mlflow.db")).render_as_string()


def test_a_moved_store_is_read_from_where_it_is(
    moved: Path, centerness: str, run_report: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    uri = sqlite_uri(moved)
    assert run_report("centerness", "--tracking-uri", f"{uri}?timeout=60") == 0
    output = capsys.readouterr().out
    assert "none (baseline)" in output and "note:" not in output
    run_id = read_sweep(uri, centerness).trials[0].run_id
    assert read_artifact(uri, run_id, "versions.json") is not None
    assert list_pictures(uri, run_id) == ["detections/000000000139.png"]
    assert sorted(path.name for path in moved.parent.iterdir()) == ["out % 2", "outputs"]


def test_the_console_notes_what_lost_artifacts_cost(
    moved: Path, run_report: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree(moved / "mlartifacts")
    assert run_report("centerness", "--tracking-uri", sqlite_uri(moved)) == 0
    output = capsys.readouterr().out
    assert "note: experiment.json of this sweep cannot be fetched" in output
    assert (
        "note: The artifacts of this sweep (pictures, configs, versions) are recorded in /nowhere/mlartifacts" in output
    )


def test_rows_of_papers_are_read_from_a_moved_store_and_missing_ones_are_noted(
    moved: Path, run_report: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_report("--paper", "v1", "--tracking-uri", sqlite_uri(moved)) == 0
    assert "note:" not in capsys.readouterr().out
    shutil.rmtree(moved / "mlartifacts")
    assert run_report("--paper", "v1", "--tracking-uri", sqlite_uri(moved)) == 0
    # Other tests may have written sweeps into the store before it was copied.
    output = capsys.readouterr().out
    assert re.search(r"note: experiment\.json of .*\bcenterness\b.* cannot be fetched", output)


def test_baseline_and_verdict_do_not_need_an_artifact(
    moved: Path, centerness: str, run_report: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree(moved / "mlartifacts")
    text = json.dumps({**EXPERIMENT, "claim": "long " * 2000})
    parts = [text[first : first + 5000] for first in range(0, len(text), 5000)]
    tags = [RunTag(f"fcos.experiment_json.{number}", part) for number, part in enumerate(parts)]
    client = MlflowClient(sqlite_uri(moved).replace("sqlite:", "sqlite+pysqlite:", 1))
    client.log_batch(centerness, tags=[RunTag("fcos.experiment_json", str(len(parts))), *tags])
    assert run_report("centerness", "--tracking-uri", sqlite_uri(moved)) == 0
    output = capsys.readouterr().out
    assert "none (baseline)" in output and "branch: too few seeds to tell: +3.3 AP" in output
    assert "cannot be fetched" not in output


def test_runs_whose_artifacts_were_not_stored_are_counted_on_the_console(
    moved: Path, centerness: str, run_report: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    execute(moved, "INSERT INTO tags (key, value, run_uuid) VALUES ('fcos.artifacts_missing', '2', ?)", centerness)
    assert run_report("centerness", "--tracking-uri", sqlite_uri(moved)) == 0
    assert "note: The store did not accept all artifacts of 1 run" in capsys.readouterr().out


def test_a_store_of_another_mlflow_version_is_refused_with_the_command_that_upgrades_it(moved: Path) -> None:
    execute(moved, "UPDATE alembic_version SET version_num = '867495a8f9d4'")
    with pytest.raises(StoreError, match=r"made by another MLflow version; copy it and run `mlflow db upgrade sqlite:"):
        read_sweep(sqlite_uri(moved))


@pytest.mark.parametrize("uri", ["sqlite://new.db", "sqlite:///:memory:", "sqlite:new.db"])
def test_an_address_that_names_no_file_is_refused(uri: str) -> None:
    with pytest.raises(StoreError, match="names no SQLite file; give sqlite:"):
        read_sweep(uri)
