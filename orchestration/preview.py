"""What a command would do: why each training runs or not, and what it will cost. Nothing is trained."""

from collections.abc import Sequence

from rich.console import Console

from fcos.checkpoint import newest_step
from orchestration.books import hardware_device, resources_text
from orchestration.config import LabConfig
from orchestration.estimate import Pace, estimate_lines, pace_of, speed_key
from orchestration.experiment import Trial, is_coverage
from orchestration.explain import explain
from orchestration.history import PastRun
from orchestration.planning import Plan
from orchestration.resources import Demand, Node, demand, side_by_side
from orchestration.reuse import Past, is_done
from orchestration.versions import hardware


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
            from orchestration.probe import probe

            key = speed_key(trial)
            if key not in probed:
                with console.status(f"a few steps of {trial.label} ..."):
                    probed[key] = probe(trial, need)
            paces[trial.identity] = probed[key]
    return paces
