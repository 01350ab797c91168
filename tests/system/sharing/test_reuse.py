"""What one sweep has trained, another takes over; why a training runs is told before it does."""

import json
from pathlib import Path

import pytest

from analysis.reader.evaluation import read_evaluation
from tests.helpers.experiments.sweeps import SHARED, client, finished, points, runs

pytestmark = pytest.mark.slow

STRICT = "+experiment.arms.strict={model.head.quality: none, model.postprocess.quality: none, " + (
    "model.postprocess.nms_threshold: 0.4}"
)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("reuse")
    finished(folder, *SHARED, "name=first", "tracking.experiment=elsewhere")
    return folder


def test_results_of_another_sweep_and_experiment_are_taken_over_whole(trained: Path) -> None:
    output = finished(trained, *SHARED, "name=second")
    assert "starts" not in output
    store = client(trained)
    before, after = runs(trained, "first"), runs(trained, "second")
    for name in ("none seed 0", "from_regression seed 0"):
        old, new = before[name], after[name]
        assert old.info.run_id != new.info.run_id
        assert new.data.tags["fcos.reused_from"] == old.info.run_id
        assert new.data.tags["fcos.trained_by"] == before["none seed 0"].info.run_id
        assert new.data.tags["mlflow.parentRunId"] == after["second"].info.run_id
        assert new.data.tags["fcos.checkpoint"] == old.data.tags["fcos.checkpoint"]
        assert points(new, store) == points(old, store)
        assert new.info.status == "FINISHED"
        assert store.list_artifacts(new.info.run_id, "detections")
        uri = f"sqlite:///{trained / 'outputs' / 'mlflow.db'}"
        evaluation = read_evaluation(uri, new.info.run_id)
        assert evaluation is not None and evaluation == read_evaluation(uri, old.info.run_id)
    report = (trained / "outputs" / "second" / "report" / "report.md").read_text()
    assert f"{before['none seed 0'].info.run_id} of first" in report


def test_another_inference_setting_is_evaluated_without_training(trained: Path) -> None:
    finished(trained, *SHARED, "name=third", STRICT)
    (summary,) = (trained / "outputs" / "third" / "trials").glob("*/summary.json")
    assert json.loads(summary.read_text())["summary"]["resumed_from"] == 12
    found = runs(trained, "third")
    strict = found["strict seed 0"].data
    assert "fcos.reused_from" not in strict.tags
    assert strict.tags["fcos.trained_in"] == "first"
    assert strict.metrics["val/AP"] > 0
    assert strict.metrics["train/loss"] == found["none seed 0"].data.metrics["train/loss"]
