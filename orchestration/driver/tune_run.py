"""Runs a plan: tracking opened, Ray started, Tune driven, every training's end told."""

import os
import secrets
import shutil
from collections.abc import Callable, Sequence
from contextlib import ExitStack, redirect_stderr, redirect_stdout
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console

from fcos.errors import ConfigError
from orchestration.cli.console import View, make_view
from orchestration.cli.entry import STOPPED
from orchestration.cli.progress import Board, Row
from orchestration.cluster.connect import connected, fit, head_of
from orchestration.cluster.resources import Demand, demand, side_by_side
from orchestration.config.schema import ClusterConfig, LabConfig
from orchestration.driver.budget import counted
from orchestration.driver.recorder import Books
from orchestration.driver.watchdogs import watched, watched_head
from orchestration.experiment.trials import is_coverage
from orchestration.planning.plan import Plan
from orchestration.search.points import best_metric, name_of
from orchestration.search.samplers import make_scheduler
from orchestration.trial.files import begin_training, diverged, has_no_space, is_no_space, read_reused, reason_of
from orchestration.trial.task import TASK, Task

# Ray's own records of a sweep; nothing is ever read back from them.
RAY_FOLDER = "ray"
# What only the first machine of a Ray cluster has, one of it.
HEAD = "node:__internal_head__"
# Of Ray's minute without a head, what the tracking store may take.
CLOSE_SECONDS = 15.0
# What Ray prints in this process.
RAY_LOG = "ray.log"


def make_board(plan: Plan) -> Board:
    """A row for each training; what is finished is kept."""
    rows = []
    for trial in plan.trials:
        summary = plan.summary_of(trial)
        if is_coverage(trial):
            # How many images there are is known when it begins.
            row = Row(trial.label, 0 if summary is None else summary["step"], "image")
        else:
            row = Row(trial.label, trial.config["schedule"]["steps"])
        if summary is not None:
            row.end("kept", summary)
            if (reused := read_reused(plan.folder_of(trial))) is not None:
                row.note = f"reused from {reused['sweep']}"
            row.ap = {
                arm: summary["metrics"][arm]["val/AP"] for arm in trial.arms if "val/AP" in summary["metrics"][arm]
            }
        elif plan.search is not None and diverged(plan.folder_of(trial)):
            # It would again, and the searcher has learned from it.
            row.state, row.note = "failed", reason_of(plan.folder_of(trial)).splitlines()[0]
        rows.append(row)
    if plan.search is not None and plan.search.draws_as_it_goes:
        steps = plan.search.base.schedule.steps
        rows += [Row(f"{name_of(place)} · to be drawn", steps) for place in range(len(rows), plan.search.config.trials)]
    return Board(rows, abreast=1)


def conduct(lab: LabConfig, plan: Plan, board: Board, books: Books, console: Console, *, on_workers: bool) -> None:
    """Train what is not finished and tell tracking of everything; the board says how each training ended."""
    open_places = [place for place, row in enumerate(board.rows) if row.state == "waiting"]
    if open_places:
        _train(lab, plan, board, books, console, open_places, on_workers)


def record_kept(plan: Plan, board: Board, books: Books) -> None:
    """Record what an earlier command finished and the store did not take, or has lost: runs, or artifacts of runs."""
    # A search may have rows whose points were never drawn.
    for trial, row in zip(plan.trials, board.rows, strict=False):
        summary = plan.summary_of(trial) if row.state == "kept" else None
        if summary is None:
            continue
        if not books.is_recorded(trial):
            books.start(trial)
            books.finish(trial, summary)
            continue
        books.correct_places(trial, summary)
        if books.is_incomplete(trial):
            books.add_artifacts(trial, summary)


def _train(
    lab: LabConfig,
    plan: Plan,
    board: Board,
    books: Books,
    console: Console,
    places: Sequence[int],
    on_workers: bool,
) -> None:
    machine = fit(lab.cluster)
    with ExitStack() as stack:
        with console.status("Ray and tracking start ..."):
            nodes = stack.enter_context(connected(lab.cluster, machine or [], on_workers=on_workers))
            books.tracker.wait_open()
        need = demand(lab.cluster, nodes)
        board.abreast = min(side_by_side(nodes, need, lab.cluster.concurrent), len(places))
        view = stack.enter_context(make_view(board, console))
        running = partial(_running, plan, board)
        stack.enter_context(counted(plan.folder, lab.budget, need, board, running))
        stack.enter_context(watched(lab.cluster.stall_seconds, running))
        _tune(lab, plan, board, books, view, places, need, on_workers)


def _running(plan: Plan, board: Board) -> list[Path]:
    """Folders of the trainings that run now."""
    # A search's rows may be more than its trainings.
    pairs = zip(tuple(plan.trials), board.rows, strict=False)
    return [plan.folder_of(trial) for trial, row in pairs if row.state == "running"]


def _tune(
    lab: LabConfig,
    plan: Plan,
    board: Board,
    books: Books,
    view: View,
    places: Sequence[int],
    need: Demand,
    on_workers: bool,
) -> None:
    from ray import tune

    from orchestration.driver.callback import Listener
    from orchestration.trial.run import run_trial

    ray_folder = plan.folder / RAY_FOLDER
    shutil.rmtree(ray_folder, ignore_errors=True)
    task_of = partial(_task, lab.cluster, plan, need, on_workers, secrets.token_hex(8))
    waiting = [place for place in places if place < len(plan.trials)]
    for place in waiting:
        begin_training(plan.folder_of(plan.trials[place]))
    drawn = _searcher(lab, plan, task_of, waiting)
    tuner = tune.Tuner(
        tune.with_resources(run_trial, trial_resources(need, on_workers=on_workers)),
        param_space={} if drawn else {TASK: tune.grid_search([task_of(place) for place in waiting])},
        tune_config=tune.TuneConfig(
            search_alg=drawn,
            num_samples=len(places) if drawn else 1,
            scheduler=_scheduler(plan, waiting),
            max_concurrent_trials=board.abreast,
            # A process that trains here keeps its imports for the next trial.
            reuse_actors=not on_workers,
            trial_dirname_creator=lambda trial: str(trial.trial_id),
        ),
        run_config=tune.RunConfig(
            name="trials",
            storage_path=str(ray_folder),
            callbacks=[Listener(plan, board, view, books)],
            # One more for want of memory, which is no failure that is counted; see attempts.py.
            failure_config=tune.FailureConfig(max_failures=lab.cluster.max_failures + 1),
            verbose=0,
        ),
    )
    try:
        # Tune prints headers and results of its own; the console was bound to the real output before.
        with (
            (plan.folder / RAY_LOG).open("a") as log,
            redirect_stdout(log),
            redirect_stderr(log),
            watched_head(head_of(lab.cluster), partial(_end_without_head, plan, board, books, view)),
        ):
            tuner.fit()
    except Exception as error:
        if not (is_no_space(error) or has_no_space(plan.folder)):
            raise
        # Too full for Tune's own records.
        _stop_all(plan, board, books, f"no space left on the disk of {plan.folder}")
    if drawn is not None and drawn.gave_up is not None:
        _tell_gave_up(plan, board, drawn.gave_up)


def _stop_all(plan: Plan, board: Board, books: Books, reason: str) -> None:
    """What did not end goes on with the next command."""
    for trial, row in zip(plan.trials, board.rows, strict=False):
        if row.state == "running":
            books.interrupt(trial, reason)
        if row.state in ("running", "waiting"):
            row.state, row.note = "stopped", reason


def _end_without_head(plan: Plan, board: Board, books: Books, view: View, reason: str) -> None:
    """Close the runs and end the process here and now: nothing that waits in Ray comes back."""
    _stop_all(plan, board, books, reason)
    books.close(board.count("failed"), board.count("stopped"))
    books.tracker.close(CLOSE_SECONDS)
    view.end(f"stopped: {reason}; start it again, the same command goes on")
    os._exit(STOPPED)


def _searcher(lab: LabConfig, plan: Plan, task_of: Callable[[int], Task], waiting: Sequence[int]) -> Any:
    """What draws trainings as it goes, None where all are planned."""
    if lab.experiment is None or plan.search is None or not plan.search.draws_as_it_goes:
        return None
    from orchestration.driver.searcher import Drawing

    return Drawing(plan, plan.search, lab.experiment.seeds[0], lab.cluster, task_of).suggestions(waiting)


def _scheduler(plan: Plan, waiting: Sequence[int]) -> Any:
    """What judges trainings on their way, None where nothing is stopped early."""
    if plan.search is None or not plan.search.prunes:
        return None
    from orchestration.driver.early_stopping import AsksToStop

    search = plan.search
    inner = make_scheduler(search.strategy, search.config.mode, search.base.schedule.steps)
    ended = [plan.folder_of(trial) for place, trial in enumerate(plan.trials) if place not in waiting]
    return AsksToStop(inner, search.config.metric, search.config.mode, ended)


def _tell_gave_up(plan: Plan, board: Board, reason: str) -> None:
    """Raises ConfigError where a searcher found no point at all; else says it in the rows that stay empty."""
    if not plan.trials:
        raise ConfigError(f"experiment.search.space: the searcher draws no valid configuration; the last: {reason}")
    for row in board.rows[len(plan.trials) :]:
        row.note = f"nothing more to draw: {reason}"


def _task(cluster: ClusterConfig, plan: Plan, need: Demand, on_workers: bool, command: str, place: int) -> Task:
    trial = plan.trials[place]
    return Task(
        place=place,
        identity=trial.identity,
        folder=str(plan.folder_of(trial)),
        ray_folder=str(plan.folder / RAY_FOLDER),
        config=trial.config,
        arms=trial.arms,
        evidence=plan.evidence,
        data_digest=trial.data_digest,
        demand=need,
        on_workers=on_workers,
        command=command,
        max_failures=cluster.max_failures,
        stall_seconds=cluster.stall_seconds,
        best_metric=None if plan.search is None else best_metric(plan.search.config),
    )


def trial_resources(need: Demand, *, on_workers: bool) -> dict[str, float]:
    """What Tune reserves for a trial's own process."""
    if on_workers:
        # The workers hold the processors; a trial that held one too would wait for them for ever. So it takes a
        # thousandth of the head, without which no training goes on: losing another machine costs its workers alone.
        return {HEAD: 0.001}
    return {"cpu": need.cpus, **({"gpu": need.gpus} if need.gpus else {})}
