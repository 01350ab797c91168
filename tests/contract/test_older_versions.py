"""Folders and stores of an earlier version (commit 2b918cc) are still read: report, evaluation, plan, summary."""

import json
import tarfile
from pathlib import Path

import pytest
import torch

from analysis.report import write_report
from fcos.errors import ConfigError
from fcos.inference import evaluate, load_trained
from fcos.storage.run_folder import RunSummary
from orchestration.config.compose import compose
from orchestration.config.overrides import check_overrides
from orchestration.planning.make_plan import make_plan
from orchestration.planning.plan import read_plan, settle_plan
from orchestration.trial.files import load_summary, read_points
from tests.helpers.csv_rows import read_rows

ARCHIVE = Path(__file__).parents[1] / "golden" / "sweep_of_2b918cc.tar.xz"
NAME = "ablation_centerness"


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    """The folder of a small ablation over two seeds; one of its trainings has its last checkpoint."""
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(tmp_path, filter="data")
    return tmp_path / "outputs" / NAME


def summaries(sweep: Path) -> dict[str, list[RunSummary]]:
    """Summaries by the first arm of their training."""
    found: dict[str, list[RunSummary]] = {}
    for folder in sorted((sweep / "trials").iterdir()):
        summary = load_summary(folder)
        found.setdefault(next(iter(summary.metrics)), []).append(summary)
    return found


def test_a_report_has_the_numbers_of_the_folders(sweep: Path, tmp_path: Path) -> None:
    _, folder = write_report(NAME, f"sqlite:///{sweep.parent / 'mlflow.db'}", tmp_path / "report")
    rows = {row["arm"]: row for row in read_rows(folder / "table.csv") if row["metric"] == "val/AP"}
    assert set(rows) == {"none", "from_regression", "branch"}
    for arm in ("none", "branch"):
        values = [summary.metrics[arm]["val/AP"] for summary in summaries(sweep)[arm]]
        assert float(rows[arm]["mean"]) == pytest.approx(sum(values) / len(values))


def test_points_and_plan_are_read(sweep: Path) -> None:
    plan = read_plan(sweep)
    assert plan is not None and len(plan.trials) == 4
    for trial in plan.trials:
        points = read_points(sweep / "trials" / trial.identity[:16])
        assert {point.step for point in points if point.key == "train/loss"} == {2, 4}


def test_a_checkpoint_gives_the_metrics_that_its_training_ended_with(
    sweep: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (path,) = (sweep / "trials").glob("*/checkpoints/step_*")
    trained = load_trained(path, torch.device("cpu"), {})
    metrics = evaluate(trained, batch_size=2)
    # The processor that trained it may have been another.
    expected = load_summary(path.parents[1]).metrics["branch"]
    assert metrics == pytest.approx(expected, abs=0.01)


def test_another_code_does_not_go_on_in_its_folder(sweep: Path) -> None:
    config = json.loads((sweep / "plan.json").read_text())["arms"]["branch"]
    assert config["schedule"]["steps"] == 4
    lab = compose(check_overrides([f"+experiment={NAME}", "schedule.steps=900", f"output={sweep.parent}"]))
    plan = make_plan(lab, lambda config: ("d", ()))
    with pytest.raises(ConfigError, match="holds runs of another configuration"):
        settle_plan(plan)
