"""Sweeps planned and recorded as commands do it, with whole configurations and plan histories; results are made up."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from fcos.storage.run_folder import MetricPoint
from orchestration.config.compose import compose
from orchestration.config.overrides import check_overrides
from orchestration.config.schema import LabConfig
from orchestration.driver.recorder import RunRecorder
from orchestration.experiment.data import DatasetInfo, SplitCounts
from orchestration.planning.make_plan import make_plan
from orchestration.planning.plan import Plan, read_plan, settle_plan
from orchestration.planning.repeats.plan_history import read_plan_history, record_plan_history
from orchestration.tracking.tracker import Tracker
from orchestration.trial import files
from tests.helpers.experiments.stored_sweeps import SweepWriter
from tests.helpers.experiments.summaries import summary_of

DIGEST = "d" * 64
SPLITS = (SplitCounts("train", 1500, 4321, 12), SplitCounts("val", 300, 876, 0))
# Value of an arm with a seed; None for a training that fails.
Value = Callable[[str, int], float | None]


def plan_sweep(folder: Path, *words: str) -> tuple[LabConfig, Plan]:
    """Return config and plan of a command whose outputs are in a folder."""
    lab = compose(check_overrides([*words, f"output={folder}"]))
    return lab, make_plan(lab, lambda config: DatasetInfo(DIGEST, classes=("disc", "ring"), splits=SPLITS), words)


def record_sweep(
    writer: SweepWriter, folder: Path, *words: str, value: Value, later: timedelta = timedelta(hours=-1)
) -> Plan:
    """Run a command of a sweep in the MLflow experiment `recorded`, whose trainings end at once.

    later: when its plan was recorded, relative to now.
    """
    lab, plan = plan_sweep(folder, *words)
    assert lab.experiment is not None
    before = read_plan(plan.folder)
    key = settle_plan(plan)
    record_plan_history(plan, lab.experiment, read_plan_history(plan.folder), before, 0, datetime.now(UTC) + later)
    tracker = Tracker(writer.uri, "recorded", folder, key)
    recorder = RunRecorder.of(plan, tracker, lab)
    recorder.open_sweep()
    failed = 0
    for trial in plan.trials:
        values = {arm: value(arm, trial.seed) for arm in trial.arms}
        of_arms = {arm: {"val/AP": number} for arm, number in values.items() if number is not None}
        recorder.start(trial)
        run_folder = plan.folder_of(trial)
        run_folder.mkdir(parents=True, exist_ok=True)
        if len(of_arms) < len(values):
            failed += 1
            recorder.fail(trial, f"loss is not finite at step 61, see {run_folder}")
            continue
        files.append_points(
            run_folder, [MetricPoint(arm, "val/AP", 450, each["val/AP"]) for arm, each in of_arms.items()]
        )
        summary = summary_of(of_arms, step=450, resumed_from=0, seconds=90.0)
        files.write_summary(run_folder, trial.identity, summary)
        recorder.finish(trial, summary)
    recorder.close_sweep(failed, 0)
    assert tracker.close(60)
    return plan
