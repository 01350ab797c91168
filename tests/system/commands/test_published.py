"""A sweep is published, verified, imported elsewhere, and one of its seeds is trained again to the last digit."""

import json
from pathlib import Path

import pytest

from tests.helpers.experiments.sweeps import ROOT, SHARED, finished, sweep

pytestmark = pytest.mark.slow(minutes=2)

PUBLISH, VERIFY, REPORT = (ROOT / "analysis" / f"{name}.py" for name in ("publish", "verify", "report"))
IMPORT, RETRAIN = (ROOT / "orchestration" / f"{name}.py" for name in ("import_sweep", "retrain"))


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The archive of a sweep of one training with two arms."""
    folder = tmp_path_factory.mktemp("published")
    finished(folder, *SHARED, "name=first")
    output = finished(folder, "first", "--laboratory", "there", "--weights", entry=PUBLISH)
    file = folder / "outputs" / "first" / "first.zip"
    assert f"published: {file.relative_to(folder)}" in output
    return file


def test_an_archive_verifies_in_a_folder_that_has_nothing_else(published: Path, tmp_path: Path) -> None:
    output = finished(tmp_path, str(published), entry=VERIFY)
    assert output.count("equal to the last digit") == 2
    assert not (tmp_path / "outputs").exists()


def test_a_seed_is_trained_again_to_the_last_digit(published: Path, tmp_path: Path) -> None:
    output = finished(tmp_path, str(published), "--arm", "none", entry=RETRAIN)
    assert "retrained" in output and "of none seed 0, equal to the last digit" in output


def test_what_the_archive_decides_is_not_taken_from_a_command_line(published: Path, tmp_path: Path) -> None:
    done = sweep(tmp_path, str(published), "schedule.steps=3", entry=RETRAIN)
    assert done.returncode == 2 and "schedule.steps=3: the archive decides it" in done.stderr
    done = sweep(tmp_path, str(published), "--arm", "branch", entry=RETRAIN)
    assert done.returncode == 2 and "there: from_regression seed 0, none seed 0" in done.stderr


def test_an_archive_enters_a_store_that_has_nothing_else(published: Path, tmp_path: Path) -> None:
    output = finished(tmp_path, str(published), entry=IMPORT)
    assert "imported: first@there, 2 trials of there" in output
    finished(tmp_path, "first@there", "--output", "report", entry=REPORT)
    report = json.loads((tmp_path / "report" / "report.json").read_text())
    assert {row["laboratory"] for row in report["provenance"]} == {"there"}
