"""System metrics have the names of MLflow's own monitor, and reach the run of every arm of a training once."""

from pathlib import Path

import pytest
from mlflow.system_metrics.metrics.cpu_monitor import CPUMonitor
from mlflow.system_metrics.metrics.disk_monitor import DiskMonitor
from mlflow.system_metrics.metrics.network_monitor import NetworkMonitor
from mlflow.tracking import MlflowClient

from fcos.storage.run_folder import ProgressRecord
from fcos.storage.store_conventions import MetricPrefix, default_uri
from orchestration.config.compose import compose
from orchestration.driver.events import TrialReported, TrialStarted
from orchestration.driver.recorder import RunRecorder
from orchestration.planning.make_plan import make_plan
from orchestration.tracking.tracker import Tracker
from orchestration.trial.files import begin_training
from orchestration.trial.system_metrics import SYSTEM_METRICS, Sampler, SystemPoint, append_point
from tests.helpers.processes.waiting import PATIENCE

CPU = f"{MetricPrefix.SYSTEM}cpu_utilization_percentage"


def test_names_and_values_are_those_of_mlflows_monitors(tmp_path: Path) -> None:
    monitors = [CPUMonitor(), DiskMonitor(), NetworkMonitor()]
    theirs: dict[str, float] = {}
    for monitor in monitors:
        monitor.collect_metrics()
        theirs |= monitor.aggregate_metrics()
    ours = Sampler(Path("/"), gpus=False).read()
    assert set(ours) == set(theirs)
    # What does not change within moments.
    for name in ("system_memory_usage_percentage", "disk_usage_percentage"):
        assert ours[name] == pytest.approx(theirs[name], abs=5)
    total = ours["disk_usage_megabytes"] + ours["disk_available_megabytes"]
    assert total == pytest.approx(theirs["disk_usage_megabytes"] + theirs["disk_available_megabytes"], rel=0.01)


def test_points_reach_every_arm_with_the_time_they_were_measured_at(tmp_path: Path, empty_store: bytes) -> None:
    output = tmp_path / "outputs"
    output.mkdir()
    (output / "mlflow.db").write_bytes(empty_store)
    # Two arms that share a training.
    lab = compose(["+experiment=ablation_score", f"output={output}", "experiment.seeds=[0]", "tracking.experiment=lab"])
    plan = make_plan(lab, lambda config: ("da" * 32, ()))
    trial = plan.trials[0]
    assert len(trial.arms) > 1
    folder = plan.folder_of(trial)
    begin_training(folder)
    path = folder / SYSTEM_METRICS / "machine_0.jsonl"
    append_point(path, SystemPoint(1_760_000_000_000, 0, {CPU: 41.5}))
    for attempt in range(2):
        tracker = Tracker(None, "lab", output, "sweep-1")
        tracker.wait_open()
        recorder = RunRecorder.of(plan, tracker, lab)
        recorder.open_sweep()
        recorder.handle(TrialStarted(0, trial, first=True))
        for step in (20, 40):
            recorder.handle(TrialReported(0, trial, ProgressRecord(step, 100, 1.0, 0)))
        append_point(path, SystemPoint(1_760_000_060_000 + attempt, 1 + attempt, {CPU: 50.0}))
        recorder.interrupt(trial, "stopped")
        assert tracker.close(PATIENCE)
        for arm in trial.arms:
            points = MlflowClient(default_uri(output)).get_metric_history(tracker.run_id((arm, 0)) or "", CPU)
            found = sorted((point.step, point.timestamp, point.value) for point in points)
            expected = [(0, 1_760_000_000_000, 41.5), (1, 1_760_000_060_000, 50.0), (2, 1_760_000_060_001, 50.0)]
            assert found == expected[: 2 + attempt]
