"""Runs a plan: tracking opened, Ray started, Tune driven, every training's end told."""

import shutil
from collections.abc import Sequence
from contextlib import ExitStack, redirect_stderr, redirect_stdout

from rich.console import Console

from orchestration.board import Board, Row
from orchestration.books import Books
from orchestration.config import ClusterConfig, LabConfig
from orchestration.console import View, make_view
from orchestration.experiment import is_coverage
from orchestration.planning import Plan
from orchestration.ray_cluster import connected, local_nodes
from orchestration.resources import Demand, Node, demand, side_by_side
from orchestration.trial_files import read_reused
from orchestration.worker import Task

# Ray's own records of a sweep; nothing is ever read back from them.
RAY_FOLDER = "ray"
# What Ray prints in this process.
RAY_LOG = "ray.log"


def fit(cluster: ClusterConfig) -> list[Node] | None:
    """This machine, which holds at least one training; None where only a running cluster knows.

    Raises ConfigError for a training that can never fit.
    """
    if cluster.address != "local":
        return None
    nodes = local_nodes(cluster)
    side_by_side(nodes, demand(cluster, nodes), cluster.concurrent)
    return nodes


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
            reused = read_reused(plan.folder_of(trial))
            row.state, row.note = "kept", f"reused from {reused['sweep']}" if reused else "done before"
            row.ap = {
                arm: summary["metrics"][arm]["val/AP"] for arm in trial.arms if "val/AP" in summary["metrics"][arm]
            }
        rows.append(row)
    return Board(rows, abreast=1)


def conduct(lab: LabConfig, plan: Plan, board: Board, books: Books, console: Console, *, on_workers: bool) -> None:
    """Train what is not finished and tell tracking of everything; the board says how each training ended."""
    open_places = [place for place, row in enumerate(board.rows) if row.state == "waiting"]
    if open_places:
        _train(lab, plan, board, books, console, open_places, on_workers)


def tell_kept(plan: Plan, board: Board, books: Books) -> None:
    """Tell tracking of trainings that an earlier command finished without being able to say so."""
    for trial, row in zip(plan.trials, board.rows, strict=True):
        if row.state == "kept" and not books.is_told(trial):
            summary = plan.summary_of(trial)
            assert summary is not None
            books.start(trial)
            books.finish(trial, summary)


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
        _tune(lab, plan, board, books, view, places, need, on_workers)


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

    from orchestration.listener import Listener
    from orchestration.trial import NUMBER, run_trial

    ray_folder = plan.folder / RAY_FOLDER
    shutil.rmtree(ray_folder, ignore_errors=True)
    tasks = _tasks(plan, places, need, on_workers)
    tuner = tune.Tuner(
        tune.with_resources(tune.with_parameters(run_trial, tasks=tasks), _trial_resources(need, on_workers)),
        param_space={NUMBER: tune.grid_search(list(range(len(tasks))))},
        # A process that trains here keeps its imports for the next trial.
        tune_config=tune.TuneConfig(max_concurrent_trials=board.abreast, reuse_actors=not on_workers),
        run_config=tune.RunConfig(
            name="trials",
            storage_path=str(ray_folder),
            callbacks=[Listener(plan, places, board, view, books)],
            failure_config=tune.FailureConfig(max_failures=lab.cluster.max_failures),
            verbose=0,
        ),
    )
    # Tune prints headers and results of its own; the console was bound to the real output before.
    with (plan.folder / RAY_LOG).open("a") as log, redirect_stdout(log), redirect_stderr(log):
        tuner.fit()


def _tasks(plan: Plan, places: Sequence[int], need: Demand, on_workers: bool) -> list[Task]:
    return [
        Task(
            identity=trial.identity,
            folder=str(plan.folder_of(trial)),
            ray_folder=str(plan.folder / RAY_FOLDER),
            config=trial.config,
            arms=trial.arms,
            demand=need,
            on_workers=on_workers,
        )
        for trial in (plan.trials[place] for place in places)
    ]


def _trial_resources(need: Demand, on_workers: bool) -> dict[str, float]:
    if on_workers:
        # The workers hold the processors; a trial that held one too would wait for them for ever. Tune
        # refuses an empty request, so it is one byte.
        return {"memory": 1}
    return {"cpu": need.cpus, **({"gpu": need.gpus} if need.gpus else {})}
