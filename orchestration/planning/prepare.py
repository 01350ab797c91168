"""What both entries do before anything trains: compose, check, plan, look back, and show it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from rich.console import Console

from fcos.installation import checkout
from fcos.training.checkpoint import newest_step
from orchestration.cluster.connect import fit
from orchestration.cluster.resources import Demand, Node, demand, hardware_device, resources_text, side_by_side
from orchestration.config.compose import compose
from orchestration.config.overrides import check_overrides, split_config_dir
from orchestration.config.schema import LabConfig
from orchestration.experiment.checks import check_output
from orchestration.experiment.data import PrepareData, prepare_data
from orchestration.experiment.provenance import commit_notes, hardware
from orchestration.experiment.trials import Trial, is_coverage
from orchestration.planning.cost import Pace, estimate_lines, pace_of, speed_key
from orchestration.planning.explain import explain
from orchestration.planning.plan import Plan
from orchestration.planning.reuse import Past, is_done, look_back
from orchestration.planning.table import show_plan
from orchestration.tracking.history import PastRun
from orchestration.tracking.tracker import require_store


@dataclass(frozen=True)
class Ready:
    """A plan that is to be trained, and what the store says of its trials."""

    lab: LabConfig
    plan: Plan
    past: Past


def make_ready(
    arguments: Sequence[str], make_plan: Callable[[LabConfig, PrepareData, Sequence[str]], Plan], console: Console
) -> Ready | None:
    """Everything up to the first training, told on the console; None where dry_run or explain asks for no more.

    Raises ConfigError for what a user got wrong, and TrackingError for a required store that does not answer.
    """
    own, overrides = split_config_dir(arguments)
    lab = compose(check_overrides(overrides, own), own)
    check_output(lab)
    machine = fit(lab.cluster)
    here = lab.cluster.address == "local"
    # What the command line was, for the command that a search's report gives.
    words = overrides if own is None else [f"--config-dir={own}", *overrides]
    plan = make_plan(lab, lambda config: prepare_data(config, console, lab.cluster.workers, here=here), words)
    plan = replace(plan, notes=(*commit_notes(checkout()), *plan.notes))
    past = look_back(lab, plan)
    show_plan(console, lab, plan, machine, past)
    if lab.dry_run or lab.explain:
        preview(console, lab, plan, machine, past)
        return None
    if lab.tracking.required:
        require_store(lab.tracking.uri, lab.tracking.experiment, lab.folder)
    return Ready(lab, plan, past)


def preview(console: Console, lab: LabConfig, plan: Plan, machine: list[Node] | None, past: Past) -> None:
    """Print the reasons where explain=true asks for them, and the estimate."""
    lines = explain(plan, past, reuse=lab.reuse) if lab.explain else []
    lines += _estimate(console, lab, plan, machine, past) if lab.dry_run else []
    for line in lines:
        console.print(line, highlight=False, soft_wrap=True, markup=False)


def _estimate(console: Console, lab: LabConfig, plan: Plan, machine: list[Node] | None, past: Past) -> list[str]:
    trials = [
        trial
        for trial in plan.trials
        if trial.identity not in past.sources and not is_done(plan, trial, reuse=lab.reuse)
    ]
    if not trials:
        return ["estimate: nothing is left to train"]
    if is_coverage(trials[0]):
        return ["estimate: none for runs without training"]
    if machine is None:
        return [f"estimate: none before {lab.cluster.address} is joined"]
    need = demand(lab.cluster, machine)
    runs = [] if past.history is None else past.history.newest()
    paces = _paces(console, lab, trials, need, runs)
    steps = {trial.identity: trial.config["schedule"]["steps"] for trial in trials}
    left = {
        trial.identity: steps[trial.identity] - newest_step(plan.folder_of(trial) / "checkpoints") for trial in trials
    }
    return estimate_lines(paces, left, side_by_side(machine, need, lab.cluster.concurrent), need)


def _paces(
    console: Console, lab: LabConfig, trials: Sequence[Trial], need: Demand, runs: Sequence[PastRun]
) -> dict[str, Pace | None]:
    """Pace by identity: from the store, else from a probe of each kind of training where one is asked for."""
    where, taken = hardware(hardware_device(lab.cluster)), resources_text(lab.cluster)
    paces = {trial.identity: pace_of(trial, runs, where, taken) for trial in trials}
    probed: dict[object, Pace] = {}
    for trial in trials:
        if paces[trial.identity] is None and lab.probe:
            from orchestration.planning.cost import probe

            key = speed_key(trial)
            if key not in probed:
                with console.status(f"a few steps of {trial.label} ..."):
                    probed[key] = probe(trial, need)
            paces[trial.identity] = probed[key]
    return paces
