"""run_sweep: an experiment from Python, in a process of its own, with its results as typed values."""

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from fcos.errors import ConfigError
from fcos.storage.events import ErrorEvent, EventRecord, ReportEvent, TableRow, Verdict
from orchestration.cli.entry import FOLDER_IN_USE, OK, STOPPED, TRAINING_FAILED
from orchestration.cli.event_records import (
    Event,
    NoteEvent,
    PlanEvent,
    ResultEvent,
    TrainingFailed,
    TrainingFinished,
    TrainingReused,
)
from orchestration.cli.event_stream import JSON_OPTION
from orchestration.cli.lock import FolderInUse

# Options that print text, and no events.
_TEXT_OPTIONS = ("-h", "--help", "--schema", "--cfg", "-c", "--info", "-i", "--shell-completion", "-sc", "list", "show")


@dataclass(frozen=True)
class SweepResult:
    """What a sweep came to.

    plan: arms, seeds, trainings, folder. finished, failed: trainings of this call. report: None where none was written,
    as with report=false, dry_run=true or a failed store. exit_code: of the command, with its meaning: 0; 1 where
    something failed; 4 where trainings are left for want of budget, disk space, memory or cluster, and the same call
    goes on.
    """

    plan: PlanEvent
    report: ReportEvent | None
    finished: tuple[TrainingFinished, ...] = field(repr=False)
    reused: tuple[TrainingReused, ...] = field(repr=False)
    failed: tuple[TrainingFailed, ...]
    notes: tuple[str, ...]
    exit_code: int
    meaning: str

    @property
    def folder(self) -> Path:
        """The sweep's folder."""
        return Path(self.plan.folder)

    @property
    def table(self) -> tuple[TableRow, ...]:
        """Mean, deviation and number of seeds of each metric of each arm; empty without a report."""
        return () if self.report is None else self.report.table

    @property
    def verdicts(self) -> tuple[Verdict, ...]:
        """What each arm shows against the baseline; empty without a report."""
        return () if self.report is None else self.report.verdicts

    @property
    def files(self) -> dict[str, Path]:
        """Files of the report by name, such as report.json, which has every number with its run."""
        return {} if self.report is None else {name: Path(path) for name, path in self.report.files.items()}


def run_sweep(
    *words: str, folder: str | Path = ".", on_event: Callable[[EventRecord], object] | None = None
) -> SweepResult:
    """Run an experiment as `python orchestration/sweep.py` does, and return its results.

    words: those of the command line, such as "+experiment=ablation_centerness", "schedule.steps=600",
    f"experiment.seeds={[0, 1]}" or f"--config-dir={path}". folder: where the command is started, in which `outputs`
    is. on_event: is called with each event as it comes, such as TrainingProgress (docs/events.schema.json). What the
    command shows people goes to standard error. A training that fails is in `failed`, and the others go on; an
    interrupt (Ctrl-C) ends the sweep in order, and the same call goes on later.
    Raises ConfigError for a mistake, with the text of the command line; FolderInUse; and RuntimeError where the command
    broke off.

        >>> words = "+experiment=ablation_centerness", "data.synthetic.train_images=50", "dry_run=true"
        >>> result = run_sweep(*words, folder=folder)
        >>> result.plan.arms
        ('none', 'from_regression', 'branch')
        >>> run_sweep("+experiment=ablation_centernes")
        Traceback (most recent call last):
        fcos.errors.ConfigError: experiment=ablation_centernes: no such experiment; did you mean ablation_centerness ...
    """
    _check(words, Path(folder))
    command = [sys.executable, "-P", "-m", "orchestration.sweep", *words, JSON_OPTION]
    events: list[EventRecord] = []
    # Ctrl-C reaches this process alone, which passes it on once.
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, process_group=0) as process, _ending(process):
        assert process.stdout is not None
        for line in process.stdout:
            event = Event.model_validate_json(line).root
            events.append(event)
            if on_event is not None:
                on_event(event)
    return _result(events, process.returncode)


def _check(words: tuple[str, ...], folder: Path) -> None:
    for word in words:
        if not isinstance(word, str):
            raise ConfigError(f"{word!r}: a word of the command line is text, such as 'schedule.steps=600'")
        if word.partition("=")[0] in _TEXT_OPTIONS:
            raise ConfigError(f"{word}: prints text; python orchestration/sweep.py {word}")
    if not folder.is_dir():
        raise ConfigError(f"folder={folder}: no such folder")


@contextmanager
def _ending(process: "subprocess.Popen[bytes]") -> Iterator[None]:
    """End the command in order where the block is left by an error, and wait for its end."""
    try:
        yield
    except BaseException:
        process.send_signal(signal.SIGINT)
        # It writes no more than fits into the pipe on its way out; what it writes beyond that has no reader.
        process.communicate()
        raise


def _result(events: list[EventRecord], code: int) -> SweepResult:
    """Return the results of a command's events; raises as `run_sweep`."""
    errors = [event for event in events if isinstance(event, ErrorEvent)]
    text = "\n".join(problem.text for event in errors for problem in event.problems)
    if code == FOLDER_IN_USE:
        raise FolderInUse(text)
    if errors:
        raise ConfigError(text)
    plans = [event for event in events if isinstance(event, PlanEvent)]
    end = events[-1] if events else None
    if code not in (OK, TRAINING_FAILED, STOPPED) or not plans or not isinstance(end, ResultEvent):
        raise RuntimeError(f"the sweep broke off with exit code {code}; its last words are on standard error")
    reports = [event for event in events if isinstance(event, ReportEvent)]
    return SweepResult(
        plan=plans[-1],
        report=reports[-1] if reports else None,
        finished=tuple(event for event in events if isinstance(event, TrainingFinished)),
        reused=tuple(event for event in events if isinstance(event, TrainingReused)),
        failed=tuple(event for event in events if isinstance(event, TrainingFailed)),
        notes=tuple(event.text for event in events if isinstance(event, NoteEvent)),
        exit_code=end.exit_code,
        meaning=end.meaning,
    )
