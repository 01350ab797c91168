"""What both entries do before anything trains: compose, check, plan, look back, and show it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rich.console import Console

from orchestration.command_line import check_overrides
from orchestration.conduct import fit
from orchestration.config import LabConfig, compose
from orchestration.data import PrepareData, prepare_data
from orchestration.planning import Plan
from orchestration.preflight import check_output
from orchestration.preview import preview
from orchestration.reuse import Past, look_back
from orchestration.session import show_plan
from orchestration.tracking import require_store


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
    lab = compose(check_overrides(arguments))
    check_output(lab)
    machine = fit(lab.cluster)
    here = lab.cluster.address == "local"
    plan = make_plan(lab, lambda config: prepare_data(config, console, lab.cluster.workers, here=here), arguments)
    past = look_back(lab, plan)
    show_plan(console, lab, plan, machine, past)
    if lab.dry_run or lab.explain:
        preview(console, lab, plan, machine, past)
        return None
    if lab.tracking.required:
        require_store(lab.tracking.uri, lab.tracking.experiment, lab.folder)
    return Ready(lab, plan, past)
