"""One command on a plan, without Ray: what it does before the first training, and how it ends where none may begin."""

import io
import json
import logging
from contextlib import suppress
from pathlib import Path
from typing import Any
from unittest.mock import create_autospec

import pytest
from rich.console import Console

from fcos.errors import ConfigError
from fcos.storage.run_folder import ProgressRecord
from orchestration.bucket.output import BucketOutput
from orchestration.cli.console import Output
from orchestration.cli.event_stream import EventStream
from orchestration.driver import sweep_run
from orchestration.driver.events import TrialFinished, TrialReported, TrialStarted
from orchestration.driver.subprocesses.report_process import ReportProcess
from orchestration.driver.sweep_run import SweepRun
from orchestration.experiment.training_folder import STATUS
from orchestration.monitor.record import StatusRecord
from orchestration.planning.make_plan import make_plan
from orchestration.planning.plan import Plan, read_plan, settle_plan
from orchestration.planning.prepare import Prepared
from orchestration.planning.repeats.earlier_looks import find_earlier_looks
from orchestration.planning.reuse import ReusableRuns
from orchestration.tracking.sqlite_store import LATER_SECONDS
from orchestration.tracking.tracker import Tracker
from orchestration.trial import files
from tests.helpers.bucket_runs import memory_bucket
from tests.helpers.experiments.composed import composed_into
from tests.helpers.experiments.seed_rounds import clear, finish
from tests.helpers.experiments.summaries import summary_of

SEARCH = ("+experiment=search_fcos", "search=tpe", "experiment.search.trials=3")


@pytest.fixture
def tracker(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Takes all that is recorded and keeps nothing."""
    fake = create_autospec(Tracker, instance=True)
    fake.artifact_problem = fake.outage = None
    fake.lag_seconds, fake.uri = 0.0, "sqlite:///x.db"
    monkeypatch.setattr(sweep_run, "Tracker", lambda *_, **__: fake)
    return fake


class Command:
    """A command with some overrides, and the events that it emits."""

    def __init__(self, folder: Path, *words: str) -> None:
        self.lab = composed_into(folder, *words)
        self.plan: Plan = make_plan(self.lab, lambda config: ("d", ()), words)
        self._file = io.StringIO()
        self.console = io.StringIO()

    def start(self, bucket: BucketOutput | None = None) -> SweepRun:
        looks = find_earlier_looks(self.plan, self.lab.experiment, None)
        output = Output(Console(file=self.console), EventStream(self._file))
        return SweepRun(Prepared(self.lab, self.plan, ReusableRuns(None), looks, bucket), output, on_workers=False)

    @property
    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self._file.getvalue().splitlines()]


def test_hours_that_cannot_be_read_end_a_command_before_it_changes_anything(tmp_path: Path, tracker: Any) -> None:
    command = Command(tmp_path, *SEARCH, "name=damaged")
    command.plan.folder.mkdir()
    (command.plan.folder / "spent.json").write_text("{")
    with pytest.raises(ConfigError, match=r"spent\.json: not readable as the hours"):
        command.start().run(None)
    assert [path.name for path in command.plan.folder.iterdir()] == ["spent.json"]
    tracker.start.assert_not_called()


def test_a_warning_while_the_store_is_opened_is_on_the_console(
    tmp_path: Path, tracker: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def open_at_once(*_: object, **__: object) -> Any:
        logging.getLogger("orchestration.tracking").warning("artifacts cannot be stored")
        return tracker

    monkeypatch.setattr(sweep_run, "Tracker", open_at_once)
    command = Command(tmp_path, *SEARCH, "name=warned")
    command.start()
    assert "artifacts cannot be stored" in command.console.getvalue()
    assert capsys.readouterr().err == ""


def test_a_search_that_may_not_begin_gives_programs_the_reason(tmp_path: Path, tracker: Any) -> None:
    """Its trainings are yet to be drawn, so that there is no event of a training."""
    command = Command(tmp_path, *SEARCH, "name=waiting", "budget.wall_hours=1")
    command.plan.folder.mkdir()
    (command.plan.folder / "spent.json").write_text('{"wall": 2.0, "cpu": 0.0, "gpu": 0.0}')
    assert command.start().run(None) == 4
    (note,) = (event["text"] for event in command.events if event["type"] == "note")
    assert note == (
        "stopped: budget.wall_hours=1 is used up (2 over all commands of this sweep); 3 trainings left: raise the "
        "budget, the same command goes on"
    )


def test_the_bucket_has_the_record_of_the_end(tmp_path: Path, tracker: Any) -> None:
    command = Command(tmp_path, *SEARCH, "name=stored", "budget.wall_hours=1")
    command.plan.folder.mkdir()
    (command.plan.folder / "spent.json").write_text('{"wall": 2.0, "cpu": 0.0, "gpu": 0.0}')
    bucket = BucketOutput(memory_bucket(), command.plan.folder.parent)
    assert command.start(bucket).run(None) == 4
    record = StatusRecord.model_validate_json(bucket.sweep("stored").read(STATUS))
    assert (record.phase, record.exit_code) == ("ended", 4)


def test_the_look_before_more_seeds_is_in_the_plan_with_these_seeds(
    tmp_path: Path, tracker: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the command is killed after the first thing that it writes."""
    words = ("+experiment=ablation_centerness", "experiment.until=seeds", "name=grown")
    first = Command(tmp_path, *words, "experiment.seeds=[0,1,2]")
    settle_plan(first.plan)
    finish(first.plan, range(len(first.plan.trials)), clear)
    more = Command(tmp_path, *words, "experiment.seeds=[0,1,2,3]")

    written: list[Path] = []

    def be_killed_at_the_second(path: Path, values: Any) -> None:
        if written:
            raise KeyboardInterrupt
        written.append(path)
        files.write_json(path, values)

    monkeypatch.setattr("orchestration.planning.plan.write_json", be_killed_at_the_second)
    with suppress(KeyboardInterrupt):
        more.start()
    stored = read_plan(more.plan.folder)
    assert stored is not None and stored.looks == [3]
    assert {trial.seed for trial in stored.trials} == {0, 1, 2, 3}


@pytest.mark.parametrize(
    ("words", "later"), [((), True), (("tracking.required=true",), False), (("cluster.address=10.0.0.1:6379",), False)]
)
def test_a_store_that_a_command_need_not_have_is_opened_once_trainings_run(
    tmp_path: Path, tracker: Any, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], later: bool
) -> None:
    delays: list[float] = []

    def make(*_: object, delay: float, **__: object) -> Any:
        delays.append(delay)
        return tracker

    monkeypatch.setattr(sweep_run, "Tracker", make)
    Command(tmp_path, *SEARCH, "name=later", *words).start()
    assert delays == [LATER_SECONDS if later else 0.0]


def test_the_report_begins_to_load_before_the_last_training_ends(tmp_path: Path, tracker: Any) -> None:
    command = Command(tmp_path, "+experiment=ablation_centerness", "experiment.seeds=[0]", "name=near")
    run, report = command.start(), create_autospec(ReportProcess, instance=True)
    first, last = command.plan.trials
    steps = first.config.schedule.steps

    def report_at(step: int, seconds: float) -> None:
        record = ProgressRecord(step=step, total_steps=steps, seconds=seconds, resumed_from=0)
        event = TrialReported(1, last, record)
        run._progress.handle(event)
        run._begin_in_time(report, event)

    for index, trial in enumerate((first, last)):
        run._progress.handle(TrialStarted(index, trial, first=True))
        run._begin_in_time(report, TrialStarted(index, trial, first=True))
    tracker.open_now.assert_called()
    run._progress.handle(TrialFinished(0, first, summary_of({"none": {"val/AP": 0.5}})))
    report_at(steps // 2, 1000.0)
    report.begin_in_time.assert_called_with("sqlite:///x.db", pytest.approx(1000.0))
