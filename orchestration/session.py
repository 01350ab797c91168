"""One command's work on a plan, from the lock to the last word."""

import json
import logging
import shlex
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.logging import RichHandler

from orchestration.board import Board
from orchestration.books import Books
from orchestration.budget import read_spent
from orchestration.conduct import conduct, make_board, record_kept
from orchestration.config import LabConfig
from orchestration.console import show_table
from orchestration.entry import OK, SOME_FAILED, STOPPED
from orchestration.experiment import Trial, is_coverage
from orchestration.planning import Plan, settle_folder
from orchestration.resources import Node, demand, side_by_side
from orchestration.retention import make_room
from orchestration.reuse import Past, dangling_links, is_done, take_all
from orchestration.search import Search
from orchestration.store_conventions import public_uri
from orchestration.tracking import Tracker
from orchestration.trial_files import read_reused, reason_of

SETTLE_SECONDS = 60.0
CLOSE_SECONDS = 20.0


def show_plan(console: Console, lab: LabConfig, plan: Plan, machine: list[Node] | None, past: Past) -> None:
    """What is planned, what of it is done and where, and what runs side by side."""
    title, header, rows = plan_table(plan, past, reuse=lab.reuse)
    if rows:
        show_table(console, title, header, rows)
    else:
        console.print(title, style="bold")
    if plan.search is not None:
        console.print(search_words(plan), highlight=False, soft_wrap=True)
    if machine is None:
        fits = f"what fits on {lab.cluster.address} is known once it is joined"
    else:
        need = demand(lab.cluster, machine)
        most = len(plan.trials) if plan.search is None else max(plan.search.config.trials, len(plan.trials))
        abreast = min(side_by_side(machine, need, lab.cluster.concurrent), most)
        fits = f"{abreast} side by side, each {need} on {need.device}"
    console.print(f"{fits}; folder {plan.folder}", highlight=False, soft_wrap=True)
    for note in (*plan.notes, *([past.note] if past.note else ())):
        console.print(f"note: {note}", highlight=False, soft_wrap=True, markup=False)


def plan_table(plan: Plan, past: Past, *, reuse: bool = True) -> tuple[str, tuple[str, ...], list[list[str]]]:
    """Title, header and rows: the planned trainings with their steps, or runs that train nothing."""
    if plan.search is not None:
        return _search_table(plan, plan.search, past, reuse)
    if all(is_coverage(trial) for trial in plan.trials):
        runs = [
            [str(number), ", ".join(trial.arms), trial.short, _state(plan, trial, past, reuse)]
            for number, trial in enumerate(plan.trials)
        ]
        return f"{plan.name}: {_count(len(runs), 'run')} without training", ("run", "arms", "identity", "state"), runs
    rows = [
        [
            str(number),
            str(trial.seed),
            ", ".join(trial.arms),
            str(row.total_steps),
            trial.short,
            _state(plan, trial, past, reuse),
        ]
        for number, (trial, row) in enumerate(zip(plan.trials, make_board(plan).rows, strict=True))
    ]
    results = sum(len(trial.arms) for trial in plan.trials)
    title = f"{plan.name}: {_count(len(rows), 'training')}, {_count(results, 'result')}"
    return title, ("training", "seed", "arms", "steps", "identity", "state"), rows


def _search_table(plan: Plan, search: Search, past: Past, reuse: bool) -> tuple[str, tuple[str, ...], list[list[str]]]:
    rows = [
        [", ".join(trial.arms), _keys_text(search.drawn[arm].keys), trial.short, _state(plan, trial, past, reuse)]
        for trial in plan.trials
        for arm in list(trial.arms)[:1]
    ]
    title = f"{plan.name}: {_count(len(rows), 'training')} of {search.config.trials} drawn"
    return title, ("training", "drawn", "identity", "state"), rows


def _keys_text(keys: Mapping[str, Any]) -> str:
    shown = {key: float(f"{value:.3g}") if isinstance(value, float) else value for key, value in keys.items()}
    return json.dumps(shown)[1:-1].replace('"', "")


def search_words(plan: Plan) -> str:
    """How a search proceeds, in a line."""
    assert plan.search is not None
    search, strategy = plan.search, plan.search.strategy
    words = f"search for the {search.config.mode}imum of {search.config.metric}: {strategy.searcher}"
    if search.draws_as_it_goes:
        words += ", each point drawn from what earlier trainings gave"
    if search.prunes:
        grace = strategy.grace(search.base.schedule.steps)
        words += (
            f"; {strategy.early_stopping} from step {grace} on: of those that reach a rung about one in "
            f"{strategy.reduction_factor} goes on"
        )
    return words


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _state(plan: Plan, trial: Trial, past: Past, reuse: bool) -> str:
    if is_done(plan, trial, reuse=reuse):
        pruned = (plan.summary_of(trial) or {}).get("pruned")
        if pruned is not None:
            return f"pruned at step {pruned}"
        return f"done in {past.here[trial.identity].name}" if trial.identity in past.here else "done"
    source = past.sources.get(trial.identity)
    if source is not None:
        whole = len(source.evaluated) == len(trial.arms)
        return f"{'reused from' if whole else 'evaluated on'} {source.trained.name}"
    folder = plan.folder_of(trial)
    forgotten = not reuse and read_reused(folder) is not None
    resumes = (folder / "checkpoints").exists() and not (forgotten or dangling_links(folder))
    return "resumes" if resumes else "new"


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
        again = f"python analysis/report.py {plan.name} --tracking-uri {shlex.quote(public_uri(tracker.uri))}"
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
