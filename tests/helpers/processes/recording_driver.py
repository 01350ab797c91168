"""A driver whose trainings only report: python -m tests.helpers.processes.recording_driver FOLDER URI NUMBER TRAININGS

It plans, records and ends them as `SweepRun` does, with the tracker and the recorder of a sweep. At each gate it leaves
a note and waits until the test opens it. What came of it is written to `result.json` in its folder.
"""

import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

from fcos.storage.run_folder import MetricPoint, ProgressRecord
from orchestration.driver.events import TrialFinished, TrialReported, TrialStarted
from orchestration.driver.recorder import RunRecorder
from orchestration.experiment.trials import Trial
from orchestration.planning.plan import Plan, settle_plan
from orchestration.tracking.tracker import Tracker
from orchestration.trial import files
from tests.helpers.experiments.recorded_sweeps import plan_sweep
from tests.helpers.experiments.summaries import summary_of
from tests.helpers.experiments.sweeps import ROOT, environment
from tests.helpers.processes.waiting import PATIENCE, wait_until

LOSS_STEPS = tuple(range(2, 41, 2))
EVALUATIONS = (20, 40)
ARMS = ("none", "branch")
# The shortest trainings report some times a second.
REPORT_SECONDS = 0.05
GATES = ("begin", "third", "two_thirds", "end")


@dataclass(frozen=True)
class DriverResult:
    """Seconds that the driver's own thread was in each call to the recorder, and until all was stored after the last.

    stored: whether the store had everything in the end.
    """

    calls: tuple[float, ...]
    delivery_seconds: float
    stored: bool

    @classmethod
    def read(cls, folder: Path) -> "DriverResult":
        values = json.loads((folder / "result.json").read_text())
        return cls(tuple(values["calls"]), values["delivery_seconds"], values["stored"])


def sweep_name(number: int) -> str:
    """The name of the sweep of a driver."""
    return f"driver_{number}"


def points_of(number: int, seed: int, arm: str) -> dict[tuple[str, int], float]:
    """The points of a run; each value is that of one driver, seed, arm and step alone."""
    base = 1000 * number + 100 * ARMS.index(arm) + seed
    losses = {("train/loss", step): base + step / 100 for step in LOSS_STEPS}
    return losses | {("val/AP", step): base + step / 1000 for step in EVALUATIONS}


@dataclass
class RecordingDriver:
    """The driver of one sweep; each of its trainings is that of one arm."""

    folder: Path
    number: int
    plan: Plan
    recorder: RunRecorder
    calls: list[float] = field(default_factory=list)

    def call(self, work: Callable[[], None]) -> None:
        began = time.perf_counter()
        work()
        self.calls.append(time.perf_counter() - began)

    def train(self, index: int, trial: Trial) -> None:
        """Report a training from its start to its end."""
        folder = self.plan.folder_of(trial)
        files.begin_training(folder)
        self.call(lambda: self.recorder.handle(TrialStarted(index, trial, first=True)))
        for step in LOSS_STEPS:
            points = self.points_at(step, trial)
            files.append_points(folder, points)
            record = ProgressRecord(step, LOSS_STEPS[-1], 1.0, 0, tuple(points))
            self.call(lambda record=record: self.recorder.handle(TrialReported(index, trial, record)))  # type: ignore[misc]
            time.sleep(REPORT_SECONDS)
        (arm,) = trial.arms
        last = points_of(self.number, trial.seed, arm)["val/AP", LOSS_STEPS[-1]]
        summary = summary_of({arm: {"val/AP": last}}, step=LOSS_STEPS[-1], resumed_from=0, seconds=1.0)
        files.write_summary(folder, trial.identity, summary)
        self.call(lambda: self.recorder.handle(TrialFinished(index, trial, summary)))

    def points_at(self, step: int, trial: Trial) -> list[MetricPoint]:
        """What a training reports at a step; only evaluations are those of an arm."""
        (arm,) = trial.arms
        known = points_of(self.number, trial.seed, arm)
        return [
            MetricPoint(arm if key == "val/AP" else None, key, at, value)
            for (key, at), value in known.items()
            if at == step
        ]


@dataclass
class Drivers:
    """Drivers of one sweep each, which begin, go on and end together."""

    folder: Path
    uri: str
    count: int
    trainings: int
    processes: "list[subprocess.Popen[bytes]]" = field(default_factory=list)

    def start(self) -> None:
        for number in range(self.count):
            folder = self.folder / sweep_name(number)
            folder.mkdir()
            words = [str(folder), self.uri, str(number), str(self.trainings)]
            with (folder / "log.txt").open("wb") as log:
                command = [sys.executable, "-m", "tests.helpers.processes.recording_driver", *words]
                process = subprocess.Popen(command, cwd=ROOT, env=environment(folder), stdout=log, stderr=log)
            self.processes.append(process)

    def logs(self) -> str:
        return "".join((self.folder / sweep_name(number) / "log.txt").read_text() for number in range(self.count))

    def wait(self, gate: str) -> None:
        """Wait until all drivers have come to a gate."""
        notes = [self.folder / sweep_name(number) / f"at_{gate}" for number in range(self.count)]
        wait_until(lambda: all(note.exists() for note in notes) or self.ended())
        assert not self.ended(), self.logs()

    def open(self, gate: str) -> None:
        (self.folder / f"open_{gate}").touch()

    def ended(self) -> bool:
        return any(process.poll() is not None for process in self.processes)

    def join(self) -> list[DriverResult]:
        assert [process.wait(timeout=4 * PATIENCE) for process in self.processes] == [0] * self.count, self.logs()
        return [DriverResult.read(self.folder / sweep_name(number)) for number in range(self.count)]

    def kill(self) -> None:
        for process in self.processes:
            process.kill()
            process.wait()


def pass_gate(folder: Path, gate: str) -> None:
    """Leave a note, and wait until the test opens the gate for all drivers."""
    (folder / f"at_{gate}").touch()
    wait_until((folder.parent / f"open_{gate}").exists)


def main(folder: Path, uri: str, number: int, trainings: int) -> None:
    words: tuple[str, ...] = (
        "+experiment=ablation_centerness",
        "~experiment.arms.from_regression",
        "~experiment.paper.from_regression",
    )
    seeds = ",".join(map(str, range(trainings // len(ARMS))))
    words += (
        "experiment.until=seeds",
        f"experiment.seeds=[{seeds}]",
        f"name={sweep_name(number)}",
        f"tracking.uri={uri}",
    )
    lab, plan = plan_sweep(folder / "outputs", *words)
    assert len(plan.trials) == trainings
    key = settle_plan(plan)
    pass_gate(folder, "begin")
    tracker = Tracker(uri, lab.tracking.experiment, lab.folder, key)
    driver = RecordingDriver(folder, number, plan, RunRecorder.of(plan, tracker, lab))
    tracker.wait_open()
    driver.call(driver.recorder.open_sweep)
    for index, trial in enumerate(plan.trials):
        if index in (trainings // 3, 2 * trainings // 3):
            pass_gate(folder, "third" if index == trainings // 3 else "two_thirds")
        driver.train(index, trial)
    driver.call(lambda: driver.recorder.close_sweep(0, 0))
    pass_gate(folder, "end")
    began = time.monotonic()
    # Some thousand calls wait for one server that all drivers share.
    stored = tracker.flush(3 * PATIENCE)
    result = DriverResult(tuple(driver.calls), time.monotonic() - began, tracker.close(PATIENCE) and stored)
    (folder / "result.json").write_text(json.dumps(asdict(result)))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
