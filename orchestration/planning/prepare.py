"""Prepare a command: compose its config, check it, plan, look up finished runs, show the plan, estimate its cost."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from rich.console import Console

from fcos.installation import checkout
from fcos.storage.checkpoint_folder import newest_step
from fcos.storage.run_folder import CHECKPOINTS
from orchestration.bucket.output import BucketOutput, open_output
from orchestration.cli.command_line import CommandLine
from orchestration.cli.console import Output, format_count
from orchestration.cluster.connect import checked_local_nodes
from orchestration.cluster.resources import Demand, Node, demand, hardware_device, max_concurrent, resources_text
from orchestration.config.choice import Choice
from orchestration.config.schema import LabConfig
from orchestration.experiment.config_checks import check_job_output
from orchestration.experiment.data import PrepareData, prepare_data
from orchestration.experiment.prefixes import Prefixes
from orchestration.experiment.provenance import commit_notes, hardware
from orchestration.experiment.trials import Trial
from orchestration.notify.sender import check_notification
from orchestration.planning.estimates.cost import (
    Estimate,
    Pace,
    Part,
    PastPaces,
    SeedCost,
    cost_of_seed,
    make_estimate,
    probe,
    speed_key,
)
from orchestration.planning.estimates.noise import power_lines
from orchestration.planning.explain import find_reasons
from orchestration.planning.first_steps.planned_prefixes import find_prefixes
from orchestration.planning.plan import Plan, unreadable_output
from orchestration.planning.plan_events import make_plan_event, make_preview_event
from orchestration.planning.repeats.earlier_looks import LookRecord, find_earlier_looks
from orchestration.planning.repeats.retraining import check_retraining
from orchestration.planning.reuse import ReusableRuns, find_reusable, is_done
from orchestration.planning.search_race import count_to_come
from orchestration.planning.seed_rounds import later_trainings
from orchestration.planning.side_by_side import check_loaders_together
from orchestration.planning.spent import read_spent
from orchestration.planning.table import show_choices, show_plan
from orchestration.tracking.history import PastRun
from orchestration.tracking.tracker import require_store


@dataclass(frozen=True)
class Prepared:
    """A plan that is to be trained, and the finished runs that it can take over."""

    lab: LabConfig
    plan: Plan
    reusable: ReusableRuns
    # Looks at the same trainings that the plan's own record does not have.
    earlier_looks: LookRecord = field(default_factory=LookRecord)
    # None where the output is a folder.
    bucket: BucketOutput | None = None


MakePlan = Callable[[LabConfig, PrepareData, Sequence[str]], Plan]


def prepare_command(
    line: CommandLine,
    make_plan: MakePlan,
    output: Output,
    adapt: Callable[[LabConfig], LabConfig] = lambda lab: lab,
) -> Prepared | None:
    """Do everything up to the first training, with its output; None where dry_run or explain ends there.

    adapt: returns the config to plan with, of the composed one. Raises ConfigError for a user's mistake, and
    TrackingError for a required store that does not answer.
    """
    composed = line.composed
    lab = adapt(composed.lab)
    if composed.choices:
        show_choices(output.console, composed.choices)
    check_job_output(lab)
    check_notification(lab.notify)
    nodes = checked_local_nodes(lab.cluster)
    here = lab.cluster.address == "local"
    bucket = open_output(lab.output) if lab.is_in_bucket else None
    with _readable_output(lab.folder):
        pulled = _Pulled(bucket, lab)
        plan = make_plan(
            lab, lambda config: prepare_data(config, output.console, lab.cluster.workers, local=here), line.words
        )
        notes = (*composed.notes, *pulled.notes_on(plan))
        prepared = _look_up_runs(lab, plan, notes, bucket)
        _show(output, prepared, nodes, composed.choices)
        if lab.dry_run or lab.explain:
            _show_preview(output, prepared, nodes)
            return None
    if lab.tracking.required:
        require_store(lab.tracking.uri, lab.tracking.experiment, lab.folder)
    return prepared


class _Pulled:
    """The small files of a sweep, brought in step with its bucket: before the plan where its name is known by then."""

    def __init__(self, bucket: BucketOutput | None, lab: LabConfig) -> None:
        self._bucket, self._lab = bucket, lab
        self._name = lab.name or (None if lab.experiment is None else lab.experiment.name)
        self._notes = [] if bucket is None or self._name is None else bucket.pull(self._name)

    def notes_on(self, plan: Plan) -> list[str]:
        """Return notes on what the bucket holds of a plan; none where the output is a folder."""
        if self._bucket is None:
            return []
        notes = self._notes if plan.name == self._name else self._bucket.pull(plan.name)
        where = f"output={self._bucket.address}: everything is written to {self._bucket.folder} first"
        store = ""
        if self._lab.tracking.uri is None:
            store = ", and the tracking store stays there; tracking=server has one that other hosts read too"
        return [f"{where}{store}", *notes]


@contextmanager
def _readable_output(folder: Path) -> Iterator[None]:
    """Raise ConfigError for what another user or a fault keeps from being read below the output folder."""
    try:
        yield
    except OSError as error:
        if not isinstance(error.filename, str | Path) or not Path(error.filename).is_relative_to(folder):
            raise
        raise unreadable_output(Path(error.filename), error) from None


def _look_up_runs(lab: LabConfig, plan: Plan, composed_notes: tuple[str, ...], bucket: BucketOutput | None) -> Prepared:
    """Return the plan with what its folder and the store have of it, and with its notes."""
    reusable = find_reusable(lab, plan) if bucket is None else find_reusable(lab, plan, bucket.fetch_training)
    earlier_looks = find_earlier_looks(plan, lab.experiment, reusable.history, reusable.outage)
    repeated = check_retraining(lab, plan, reusable.history, reusable.outage)
    notes = (*commit_notes(checkout()), *composed_notes, *plan.notes, *repeated, *earlier_looks.notes)
    plan = replace(plan, prefixes=_prefixes(lab, plan, reusable), notes=notes, folder_notes=composed_notes)
    return Prepared(lab, plan, reusable, earlier_looks, bucket)


def _show(output: Output, prepared: Prepared, nodes: list[Node] | None, choices: Sequence[Choice]) -> None:
    """Show the plan, to people and to programs; raises ConfigError where it cannot be trained as it is."""
    lab, plan, reusable = prepared.lab, prepared.plan, prepared.reusable
    # One that cannot be read is reported before anything is shown.
    spent = read_spent(plan.folder)
    check_loaders_together(lab, plan, nodes, reusable)
    show_plan(output.console, lab, plan, nodes, reusable)
    if output.stream.is_open:
        output.stream.emit(make_plan_event(lab, plan, nodes, reusable, spent, choices))


def _prefixes(lab: LabConfig, plan: Plan, reusable: ReusableRuns) -> Prefixes:
    """Return what trainings that are to run take from others, as far as is known before anything runs."""
    done = {trial.identity for trial in plan.trials if is_done(plan, trial, reuse=lab.reuse)}
    pending = [each for each in plan.trials if each.identity not in {*done, *reusable.sources}]
    return find_prefixes(plan, pending, reusable.trunks)


def _show_preview(output: Output, prepared: Prepared, nodes: list[Node] | None) -> None:
    """Show the reasons with explain=true, and the estimate with dry_run=true."""
    lab = prepared.lab
    reasons = find_reasons(prepared.plan, prepared.reusable, reuse=lab.reuse) if lab.explain else []
    estimates, lines = _estimate(output.console, prepared, nodes) if lab.dry_run else ([], [])
    if lab.dry_run and lab.experiment is not None:
        cost = None if lab.experiment.effect is None else _cost_of_seed(prepared, nodes)
        lines += power_lines(lab.experiment, prepared.plan, lab.folder, cost, prepared.reusable.history)
    lines = [*(line for each in reasons for line in each.lines()), *lines]
    for line in lines:
        output.console.print(line, highlight=False, soft_wrap=True, markup=False)
    if output.stream.is_open:
        output.stream.emit(make_preview_event(reasons, estimates, lines))


def _estimate(console: Console, prepared: Prepared, nodes: list[Node] | None) -> tuple[list[Estimate], list[str]]:
    """Return the cost of what is left to train, of rounds of seeds until the next look and at most, with its lines."""
    lab, plan, reusable = prepared.lab, prepared.plan, prepared.reusable
    left = [
        trial
        for trial in plan.trials
        if trial.identity not in reusable.sources and not is_done(plan, trial, reuse=lab.reuse)
    ]
    to_come = count_to_come(plan)
    if not left and not to_come:
        return [], ["estimate: nothing is left to train"]
    if lab.task == "coverage":
        return [], ["estimate: none for runs without training"]
    if to_come:
        most = format_count(len(left) + to_come, "training")
        return [], [f"estimate: up to {most}, drawn as the search goes; how long they take is not known before"]
    if nodes is None:
        return [], [f"estimate: none before {lab.cluster.address} is joined"]
    later = later_trainings(plan, lab.experiment)
    first = [trial for trial in left if trial.identity not in later]
    lines: list[str] = []
    parts: dict[Part, list[Trial]] = {"": left}
    if later:
        parts = {"until the next look": first, "at most": left} if first else {"at most": left}
        lines = [] if first else ["estimate until the next look: nothing is left to train"]
    estimates = [_estimate_of(console, prepared, nodes, of_part, part) for part, of_part in parts.items()]
    # What is not known is the same for both.
    return estimates, list(dict.fromkeys([*lines, *(line for each in estimates for line in each.lines())]))


def _estimate_of(
    console: Console, prepared: Prepared, nodes: list[Node], trials: Sequence[Trial], part: Part = ""
) -> Estimate:
    lab, plan, history = prepared.lab, prepared.plan, prepared.reusable.history
    resources = demand(lab.cluster, nodes)
    paces = _paces(console, lab, trials, resources, [] if history is None else history.newest())
    left = {trial.identity: trial.config.schedule.steps - _begins_at(plan, trial) for trial in trials}
    return make_estimate(paces, left, max_concurrent(nodes, resources, lab.cluster.concurrent), resources, part)


def _begins_at(plan: Plan, trial: Trial) -> int:
    """Return the step from which a training goes on: its own newest checkpoint's, or that of another training."""
    return newest_step(plan.folder_of(trial) / CHECKPOINTS, trial.averages) or plan.prefixes.steps_of(trial)


def _cost_of_seed(prepared: Prepared, nodes: list[Node] | None) -> SeedCost | None:
    """Return what all arms of one seed cost by the store's finished runs; None where that is unknown."""
    lab, plan, history = prepared.lab, prepared.plan, prepared.reusable.history
    if nodes is None or history is None or not plan.trials:
        return None
    past = _past_paces(lab, history.newest())
    trials = [trial for trial in plan.trials if trial.seed == plan.trials[-1].seed]
    paces = [past.of(trial) for trial in trials]
    return cost_of_seed(trials, paces, plan.prefixes, demand(lab.cluster, nodes))


def _past_paces(lab: LabConfig, runs: Sequence[PastRun]) -> PastPaces:
    return PastPaces(runs, hardware(hardware_device(lab.cluster)), resources_text(lab.cluster))


def _paces(
    console: Console, lab: LabConfig, trials: Sequence[Trial], resources: Demand, runs: Sequence[PastRun]
) -> dict[str, Pace | None]:
    """Return paces by identity: from the store, else with probe=true from a probe of each kind of training."""
    past = _past_paces(lab, runs)
    paces = {trial.identity: past.of(trial) for trial in trials}
    probed: dict[object, Pace] = {}
    for trial in trials:
        if paces[trial.identity] is None and lab.probe:
            key = speed_key(trial)
            if key not in probed:
                with console.status(f"a few steps of {trial.label} ..."):
                    probed[key] = probe(trial, resources)
            paces[trial.identity] = probed[key]
    return paces
