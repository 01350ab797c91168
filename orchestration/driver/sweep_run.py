"""One command's work on a plan, from the lock to the last word."""

import logging
import shlex
from collections.abc import Callable
from pathlib import Path

from rich.console import Console
from rich.logging import RichHandler

from fcos.installation import command
from orchestration.cli.console import show_table
from orchestration.cli.entry import OK, SOME_FAILED, STOPPED
from orchestration.cli.progress import Board
from orchestration.config.schema import LabConfig
from orchestration.driver.budget import read_spent
from orchestration.driver.recorder import Books
from orchestration.driver.retention import make_room
from orchestration.driver.tune_run import conduct, make_board, record_kept
from orchestration.planning.plan import Plan, settle_folder
from orchestration.planning.reuse import Past, take_all
from orchestration.planning.table import _count
from orchestration.store_conventions import public_uri
from orchestration.tracking.tracker import Tracker
from orchestration.trial.files import reason_of

SETTLE_SECONDS = 60.0
CLOSE_SECONDS = 20.0


def run_plan(
    lab: LabConfig, plan: Plan, past: Past, console: Console, *, on_workers: bool, report: Callable[[str], bool] | None
) -> int:
    """Train what is not finished, track it and let `report` write its report; returns the exit code.

    However the block ends, no run of this plan is left RUNNING.
    """
    key = settle_folder(plan)
    take_all(lab, plan, past)
    # Warnings of our own appear above the live view, whatever else is kept from the terminal.
    logging.getLogger("orchestration").addHandler(RichHandler(console=console, show_time=False, show_path=False))
    tracker = Tracker(lab.tracking.uri, lab.tracking.experiment, lab.folder, key, required=lab.tracking.required)
    board = make_board(plan)
    try:
        books = Books.of(plan, tracker, lab)
        books.open()
        conduct(lab, plan, board, books, console, on_workers=on_workers)
        tracker.wait_open()
        record_kept(plan, board, books)
        _make_room(lab, plan, books, console)
        books.close(board.count("failed"), board.count("stopped"))
        settled = tracker.settle(SETTLE_SECONDS)
        reported = report is None or (settled and _report(books, plan.folder / "report", report, tracker.uri))
    finally:
        for line in _not_stored(tracker, plan.folder, closed=tracker.close(CLOSE_SECONDS)):
            console.print(line, highlight=False, soft_wrap=True, markup=False)
    if not reported:
        again = f"{command('report')} {plan.name} --tracking-uri {shlex.quote(public_uri(tracker.uri))}"
        console.print(f"no report was written; when the store has its runs: {again}", style="red", soft_wrap=True)
    return max(_outcome(lab, plan, board, console), OK if reported else SOME_FAILED)


def _not_stored(tracker: Tracker, folder: Path, *, closed: bool) -> list[str]:
    """What the store did not take, why, and what helps; no line where it has everything."""
    lines = []
    if not closed:
        absence = tracker.absence
        why = (
            f"tracking.uri={public_uri(tracker.uri)}: not within {CLOSE_SECONDS:.0f} s"
            if absence is None
            else str(absence)
        )
        helps = "" if absence is None or absence.advice in why else f"; {absence.advice}"
        lines.append(f"not everything is stored: {why}{helps}; then the same command delivers the rest from {folder}")
    if tracker.artifact_problem is not None:
        artifacts, runs, why = tracker.artifact_problem
        lines.append(
            f"{_count(artifacts, 'artifact')} of {_count(runs, 'run')} could not be stored: {why}; when that place can "
            f"be written to, the same command delivers them from {folder}"
        )
    return lines


def _report(books: Books, folder: Path, write: Callable[[str], bool], uri: str) -> bool:
    if not write(uri):
        return False
    books.add_report(sorted(file for file in folder.iterdir() if file.is_file()))
    return True


def _make_room(lab: LabConfig, plan: Plan, books: Books, console: Console) -> None:
    found = make_room(lab, plan)
    for each in found.removed:
        books.tell_removed(each.trial, f"rank {each.rank} of {found.ranked} by {found.ranking.metric}")
    for line in found.lines(lab.keep.trained or found.ranked):
        console.print(line, highlight=False, soft_wrap=True, markup=False)


def _outcome(lab: LabConfig, plan: Plan, board: Board, console: Console) -> int:
    for trial, row in zip(plan.trials, board.rows, strict=False):
        if row.state == "failed":
            console.print(f"failed: {row.label}: {reason_of(plan.folder_of(trial))}", style="red", soft_wrap=True)
    if stopped := [row for row in board.rows if row.state == "stopped"]:
        why = read_spent(plan.folder).over(lab.budget) or stopped[0].note
        advice = "raise the budget" if why.startswith("budget.") else "make space"
        text = f"stopped: {why}; {_count(len(stopped), 'training')} left: {advice}, the same command goes on"
        console.print(text, style="yellow", soft_wrap=True)
        return STOPPED
    return SOME_FAILED if board.count("failed") else OK


def show_metrics(console: Console, plan: Plan) -> None:
    """The numbers of a finished run and where its checkpoint lies."""
    for trial in plan.trials:
        summary = plan.summary_of(trial)
        if summary is None:
            continue
        for metrics in summary["metrics"].values():
            rows = [
                [key.removeprefix("coverage/"), f"{value:.0f}" if key.startswith("coverage/num_") else f"{value:.4f}"]
                for key, value in metrics.items()
                if not key.startswith("val/class_AP/")
            ]
            show_table(console, plan.name, ("metric", "value"), rows)
        if "checkpoint" in summary:
            checkpoint = plan.folder_of(trial) / summary["checkpoint"]
            console.print(f"checkpoint {checkpoint}", highlight=False, soft_wrap=True)
