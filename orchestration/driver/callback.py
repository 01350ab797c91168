"""Follows Tune's trials: console and tracking hear of every start, report and end."""

import logging
from pathlib import Path
from typing import Any

from ray import tune

from orchestration.cli.console import View
from orchestration.cli.progress import Board, Row, parse_record
from orchestration.driver.recorder import Books
from orchestration.experiment.provenance import code_differences
from orchestration.experiment.trials import Trial
from orchestration.planning.plan import Plan
from orchestration.trial import retries
from orchestration.trial.files import is_held_back, is_interrupted, read_failure, reason_of, write_failure
from orchestration.trial.retries import OutOfMemory
from orchestration.trial.task import TASK, Task
from orchestration.trial.worker import RECORD


class Listener(tune.Callback):
    """Hears all that Tune's trials report, in the driver."""

    def __init__(self, plan: Plan, board: Board, view: View, books: Books) -> None:
        self._plan = plan
        self._board = board
        self._view = view
        self._books = books
        # Failures by Tune's own count, which leaves out machines that were taken away.
        self._failures: dict[str, int] = {}

    def __getstate__(self) -> dict[str, Any]:
        # Tune pickles its callbacks for a restore that we never ask for; ours hold threads and a terminal.
        return {}

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        place = self._place(trial)
        row = self._board.rows[place]
        if is_held_back(self._plan.folder_of(self._plan.trials[place])):
            return
        first = row.state == "waiting"
        row.state, row.note = "running", ""
        # A search's row had no training until now.
        row.label = self._plan.trials[place].label
        self._view.changed(row)
        if first:
            self._books.start(self._plan.trials[place])

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        text = result.pop(RECORD, None)
        if text is None:
            return
        record = parse_record(text)
        place = self._place(trial)
        self._board.rows[place].take(record)
        self._view.changed(self._board.rows[place])
        self._books.add(self._plan.trials[place], record["points"])

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._ended(trial)

    def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        task: Task = trial.config[TASK]
        _name_memory(trial, Path(task.folder))
        if trial.num_failures == self._failures.get(trial.trial_id, 0):
            retries.close(task)
        self._failures[trial.trial_id] = trial.num_failures
        label, reason = self._plan.trials[task.place].label, reason_of(Path(task.folder)).splitlines()[0]
        logging.getLogger(__name__).warning("%s: %s; it is taken up from its last checkpoint", label, reason)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        task: Task = trial.config[TASK]
        _name_memory(trial, Path(task.folder))
        if retries.read_attempts(Path(task.folder)).open:
            retries.judge(task)
        self._ended(trial)

    def _place(self, trial: Any) -> int:
        place: int = trial.config[TASK].place
        return place

    def _ended(self, trial: Any) -> None:
        place = self._place(trial)
        planned, row = self._plan.trials[place], self._board.rows[place]
        summary = self._plan.summary_of(planned)
        if summary is not None:
            row.end("finished", summary)
            row.ap = {arm: values["val/AP"] for arm, values in summary["metrics"].items() if "val/AP" in values}
            self._books.finish(planned, summary)
        else:
            self._give_up(planned, row)
        self._view.changed(row)

    def _give_up(self, planned: Trial, row: Row) -> None:
        folder, begun = self._plan.folder_of(planned), row.state != "waiting"
        if is_interrupted(folder):
            reason = reason_of(folder) if begun else "not started"
            row.state, row.note = "stopped", reason.splitlines()[0]
            if begun:
                self._books.interrupt(planned, reason)
        else:
            failure, reason = read_failure(folder), reason_of(folder)
            if failure is None or not failure["final"]:
                # An edit may keep a process from starting at all, so that nobody else could say so.
                reason = "; ".join([*code_differences(self._plan.evidence), reason])
            row.state, row.note = "failed", reason.splitlines()[0]
            self._books.fail(planned, reason)


def _name_memory(trial: Any, folder: Path) -> None:
    """Ray's monitor of a machine's memory ends processes without a word to them: Tune alone knows."""
    try:
        told = Path(trial.error_file).read_text().rpartition("Failure #")[2]
    except (OSError, TypeError):
        return
    if read_failure(folder) is None and "low on memory" in told:
        # It may have been ended before it began.
        folder.mkdir(parents=True, exist_ok=True)
        write_failure(folder, OutOfMemory("the machine had no more memory, and Ray ended its process"), final=False)
