"""Show a plan: a table of its trainings, and which of them are left to do."""

import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from rich.console import Console

from fcos.storage.checkpoint_folder import newest_step
from fcos.storage.run_folder import CHECKPOINTS
from orchestration.cli.console import format_count, show_table
from orchestration.cluster.resources import Node, demand, max_concurrent
from orchestration.config.choice import Choice
from orchestration.config.schema import LabConfig
from orchestration.experiment.trials import Trial
from orchestration.planning.plan import Plan
from orchestration.planning.reuse import ReusableRuns, dangling_links, is_done
from orchestration.planning.search_race import SearchRace
from orchestration.planning.seed_rounds import later_trainings
from orchestration.search.points import Search
from orchestration.trial.files import read_reused


def show_choices(console: Console, choices: Sequence[Choice]) -> None:
    """Print what was chosen: the words that would set each by hand, and below them the reason."""
    console.print("chosen, with the words that set it by hand:", style="bold")
    width = max(len(choice.topic) for choice in choices)
    for choice in choices:
        for line in (f"{choice.topic:<{width}}  {choice.by_hand}", f"{'':<{width}}    {choice.reason}"):
            console.print(f"  {line}", highlight=False, soft_wrap=True, markup=False)


def show_plan(console: Console, lab: LabConfig, plan: Plan, nodes: list[Node] | None, reusable: ReusableRuns) -> None:
    """Print the plan, what of it is done and where, and how many trainings run at the same time."""
    later = later_trainings(plan, lab.experiment)
    title, header, rows = plan_table(plan, reusable, reuse=lab.reuse, later=later)
    if rows:
        show_table(console, title, header, rows)
    else:
        console.print(title, style="bold")
    if plan.search is not None:
        console.print(search_text(plan), highlight=False, soft_wrap=True)
    if later and lab.experiment is not None:
        text = f"{format_count(len(later), 'training')} of later seeds until every arm is decided on"
        console.print(f"{text} {lab.experiment.metrics[0]}", highlight=False, soft_wrap=True)
    if nodes is None:
        fits = f"what fits on {lab.cluster.address} is known once it is joined"
    else:
        resources = demand(lab.cluster, nodes)
        fits = f"{most_concurrent(lab, plan, nodes)} side by side, each {resources} on {resources.device}"
    console.print(f"{fits}; folder {plan.folder}", highlight=False, soft_wrap=True)
    if saved := _saved_text(plan):
        console.print(saved, highlight=False, soft_wrap=True)
    for note in (*plan.notes, *([reusable.note] if reusable.note else ())):
        console.print(f"note: {note}", highlight=False, soft_wrap=True, markup=False)


def most_concurrent(lab: LabConfig, plan: Plan, nodes: list[Node]) -> int:
    """Return how many trainings of a plan run at the same time."""
    most = len(plan.trials) if plan.search is None else max(plan.search.config.trials, len(plan.trials))
    return min(max_concurrent(nodes, demand(lab.cluster, nodes), lab.cluster.concurrent), most)


def plan_table(
    plan: Plan, reusable: ReusableRuns, *, reuse: bool = True, later: Collection[str] = ()
) -> tuple[str, tuple[str, ...], list[list[str]]]:
    """Return title, header and rows of the planned trainings, or of runs that train nothing.

    `later` holds the identities of trainings of rounds that have not begun.
    """
    if plan.search is not None:
        return _search_table(plan, plan.search, reusable, reuse)
    if all(trial.is_coverage for trial in plan.trials):
        runs = [
            [str(number), ", ".join(trial.arms), trial.short, state_of(plan, trial, reusable, reuse=reuse)]
            for number, trial in enumerate(plan.trials)
        ]
        title = f"{plan.name}: {format_count(len(runs), 'run')} without training"
        return title, ("run", "arms", "identity", "state"), runs
    rows = [
        [
            str(number),
            str(trial.seed),
            ", ".join(trial.arms),
            str(trial.config.schedule.steps),
            trial.short,
            _state_in_rounds(state_of(plan, trial, reusable, reuse=reuse), trial.identity in later),
        ]
        for number, trial in enumerate(plan.trials)
    ]
    results = sum(len(trial.arms) for trial in plan.trials)
    most = "at most " if later else ""
    title = f"{plan.name}: {most}{format_count(len(rows), 'training')}, {format_count(results, 'result')}"
    return title, ("training", "seed", "arms", "steps", "identity", "state"), rows


def _search_table(
    plan: Plan, search: Search, reusable: ReusableRuns, reuse: bool
) -> tuple[str, tuple[str, ...], list[list[str]]]:
    rows = [
        [
            trial.label if search.races else ", ".join(trial.arms),
            _keys_text(search.keys_of(arm)),
            trial.short,
            state_of(plan, trial, reusable, reuse=reuse),
        ]
        for trial in plan.trials
        for arm in list(trial.arms)[:1]
    ]
    race = SearchRace.of(plan)
    if race is None:
        title = f"{plan.name}: {format_count(len(rows), 'training')} of {search.config.trials} drawn"
    else:
        confirm = len(rows) - race.num_searched
        title = f"{plan.name}: {race.num_searched} of {search.config.trials} trainings begun, {confirm} that confirm"
    return title, ("training", "drawn", "identity", "state"), rows


def _keys_text(keys: Mapping[str, Any]) -> str:
    shown = {key: float(f"{value:.3g}") if isinstance(value, float) else value for key, value in keys.items()}
    return json.dumps(shown)[1:-1].replace('"', "")


def search_text(plan: Plan) -> str:
    """Describe in a line how a search proceeds."""
    assert plan.search is not None
    search, strategy = plan.search, plan.search.strategy
    ends = [f"{mode}imum of {metric}" for mode, metric in zip(search.modes, search.config.metrics, strict=True)]
    text = f"search for the {' and the '.join(ends)}: {strategy.searcher}"
    if strategy.searcher == "tpe":
        text += ", each point drawn from what earlier trainings gave"
    if len(search.seeds) > 1 and search.config.objectives:
        text += f"; each is trained with {len(search.seeds)} seeds"
    elif len(search.seeds) > 1:
        text += f"; the best are raced over {len(search.seeds)} seeds"
    if search.confirm_seeds:
        seeds = ", ".join(str(seed) for seed in search.confirm_seeds)
        text += f"; the winner and the starting point are then trained with seeds {seeds}"
    if search.prunes:
        grace = strategy.grace(search.base.schedule.steps)
        text += (
            f"; {strategy.early_stopping} from step {grace} on: of those that reach a rung about one in "
            f"{strategy.reduction_factor} goes on"
        )
    return text


def _saved_text(plan: Plan) -> str:
    """Describe how many steps are trained once for several trainings; empty where none are."""
    if plan.extension is not None:
        return ""
    taken = sum(prefix.step for prefix in plan.prefixes.by_identity.values())
    trainings = format_count(len(plan.prefixes.by_identity), "training")
    return f"first steps in common: {trainings} take {taken} steps from others (share_prefixes)" if taken else ""


def _state_in_rounds(state: str, is_later: bool) -> str:
    """Return a state, of a later round's training that would be trained whether it will be."""
    return "if not decided before" if is_later and state in ("new", "resumes") else state


def state_of(plan: Plan, trial: Trial, reusable: ReusableRuns, *, reuse: bool) -> str:
    """Return what of a training there is already: done, taken from another sweep, some steps, or nothing."""
    if is_done(plan, trial, reuse=reuse):
        summary = plan.summary_of(trial)
        if summary is not None and summary.pruned is not None:
            return f"pruned at step {summary.pruned}"
        return f"done in {reusable.here[trial.identity].name}" if trial.identity in reusable.here else "done"
    source = reusable.sources.get(trial.identity)
    if source is not None:
        whole = len(source.evaluated) == len(trial.arms)
        return f"{'reused from' if whole else 'evaluated on'} {source.trained.name}"
    folder = plan.folder_of(trial)
    forgotten = not reuse and read_reused(folder) is not None
    prefix = plan.prefixes.of(trial)
    if prefix is not None:
        return f"from step {prefix.step} of {prefix.trunk.label}"
    resumes = (folder / CHECKPOINTS).exists() and not (forgotten or dangling_links(folder))
    lacks_average = bool(trial.averages) and not newest_step(folder / CHECKPOINTS, trial.averages)
    return "resumes" if resumes and not lacks_average else "new"


def show_metrics(console: Console, plan: Plan) -> None:
    """Print the metrics of a finished run and the path of its checkpoint."""
    for trial in plan.trials:
        summary = plan.summary_of(trial)
        if summary is None:
            continue
        for metrics in summary.metrics.values():
            rows = [
                [key.removeprefix("coverage/"), f"{value:.0f}" if key.startswith("coverage/num_") else f"{value:.4f}"]
                for key, value in metrics.items()
                if not key.startswith("val/class_AP/")
            ]
            show_table(console, plan.name, ("metric", "value"), rows)
        if summary.checkpoint:
            checkpoint = plan.folder_of(trial) / summary.checkpoint
            console.print(f"checkpoint {checkpoint}", highlight=False, soft_wrap=True)
