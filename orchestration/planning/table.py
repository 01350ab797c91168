"""Show a plan: a table of its trainings, and which of them are left to do."""

import json
from collections.abc import Mapping
from typing import Any

from rich.console import Console

from orchestration.cli.console import show_table
from orchestration.cluster.resources import Node, demand, side_by_side
from orchestration.config.schema import LabConfig
from orchestration.experiment.trials import Trial, is_coverage
from orchestration.planning.plan import Plan
from orchestration.planning.reuse import Past, dangling_links, is_done
from orchestration.search.points import Search
from orchestration.trial.files import read_reused


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
            str(trial.config["schedule"]["steps"]),
            trial.short,
            _state(plan, trial, past, reuse),
        ]
        for number, trial in enumerate(plan.trials)
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
