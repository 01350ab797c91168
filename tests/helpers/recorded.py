"""Commands that are recorded into the store of their output folder as they do it; only the trainings are made up."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fcos.storage.run_folder import MetricPoint
from orchestration.driver.recorder import RunRecorder
from orchestration.experiment.trials import Trial
from orchestration.planning.make_plan import make_plan
from orchestration.planning.plan import Plan, add_looks, settle_plan
from orchestration.planning.seed_rounds import find_looks
from orchestration.tracking.tracker import Tracker
from orchestration.trial import files
from tests.helpers.experiments.composed import composed_into
from tests.helpers.experiments.summaries import summary_of

DIGEST = "d" * 64


@contextmanager
def recording(folder: Path, *words: str) -> Iterator[tuple[Plan, RunRecorder]]:
    """Plan a command and record it into the store of its output folder."""
    lab = composed_into(folder, *words)
    plan = make_plan(lab, lambda config: (DIGEST, ()), words)
    tracker = Tracker(None, lab.tracking.experiment, folder, settle_plan(plan))
    recorder = RunRecorder.of(plan, tracker, lab)
    recorder.open_sweep()
    try:
        yield plan, recorder
    finally:
        assert tracker.close(60)


def finish(plan: Plan, recorder: RunRecorder, trial: Trial, value: float) -> None:
    """Record a training that ended with an AP."""
    folder = plan.folder_of(trial)
    folder.mkdir(parents=True)
    recorder.start(trial)
    files.append_points(folder, [MetricPoint(arm, "val/AP", 4, value) for arm in trial.arms])
    summary = summary_of({arm: {"val/AP": value} for arm in trial.arms})
    files.write_summary(folder, trial.identity, summary)
    recorder.finish(trial, summary)


def record_sweep(folder: Path, *words: str) -> Plan:
    """Record a command of a sweep, of which it finishes what is not, with its looks."""
    with recording(folder, *words) as (plan, recorder):
        for number, trial in enumerate(plan.trials):
            if plan.summary_of(trial) is None:
                finish(plan, recorder, trial, 0.3 + 0.01 * number)
        assert recorder.experiment is not None
        looks = find_looks(plan, recorder.experiment, stopped=False, reported=True)
        recorder.close_sweep(0, 0, add_looks(plan, looks))
    return plan


def record_ablation(folder: Path, name: str, seeds: str) -> Plan:
    """Record a command of the ablation of center-ness over some seeds, of which it finishes what is not."""
    words = ("+experiment=ablation_centerness", "experiment.until=seeds", f"experiment.seeds={seeds}", f"name={name}")
    return record_sweep(folder, *words)
