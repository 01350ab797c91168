"""Collect what the texts for a paper rest on: the report of each sweep, its plan's history, and what all runs cost."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from analysis.manuscript.costs import TrainingCost, collect_costs
from analysis.manuscript.data_splits import DataSplit, read_splits
from analysis.manuscript.plan_history import read_plan_history
from analysis.publishing.neutral import Neutralizer, find_words
from analysis.reader.client import StoreError
from analysis.reader.raw_runs import read_raw_sweep
from analysis.reader.run_times import TimedRun, read_timed_runs
from analysis.reader.runs import read_sweep
from analysis.reader.sweep import Sweep, Trial
from analysis.reader.sweep_evaluations import open_evaluations
from analysis.report_json.build import build_report_record
from analysis.report_json.schema import ReportRecord
from analysis.sections.coverage import is_coverage
from analysis.sections.document import Document, build_document
from analysis.sections.resampling import Resampling
from fcos.storage.plan_history import PlanHistory

_SEARCH = "is a search: later points follow from earlier results; compare what you report as arms of an experiment"
_NOISE_FLOOR = "measures noise and compares no arms"
_COVERAGE = "counts without training and has no seeds"


@dataclass(frozen=True)
class SweepFacts:
    """What the texts on one sweep rest on.

    record: every number of its report. runs: its own run and all of its trials, by id. history: of its plan, None with
    the reason in no_history. neutral: replaces paths and addresses in texts that the store holds.
    """

    document: Document
    record: ReportRecord
    runs: Mapping[str, TimedRun]
    history: PlanHistory | None
    no_history: str
    splits: tuple[DataSplit, ...]
    neutral: Neutralizer

    @property
    def sweep(self) -> Sweep:
        """The sweep as the store holds it."""
        return self.document.sweep

    @property
    def finished(self) -> tuple[Trial, ...]:
        """The finished trials that count, in the order of the experiment's arms, then by seed."""
        arms = {arm: number for number, arm in enumerate(self.sweep.experiment.arms)}
        return tuple(
            sorted(self.sweep.finished, key=lambda trial: (arms.get(trial.arm, len(arms)), trial.arm, trial.seed))
        )

    @property
    def finished_runs(self) -> tuple[str, ...]:
        """Ids of the runs of the finished trials."""
        return tuple(trial.run_id for trial in self.finished)

    @property
    def metric(self) -> str:
        """The metric that is tested, the experiment's first."""
        return self.sweep.experiment.metrics[0]

    def runs_of(self, arm: str, seeds: Collection[int] | None = None) -> tuple[str, ...]:
        """Return the ids of the runs behind an arm's numbers, of all seeds or of some."""
        trials = [trial for trial in self.finished if trial.arm == arm]
        return tuple(trial.run_id for trial in trials if seeds is None or trial.seed in seeds)

    def clean(self, text: str) -> str:
        """Return a text of the store without the paths and addresses that its runs name."""
        return self.neutral.clean_text(text)


@dataclass(frozen=True)
class ManuscriptFacts:
    """What all texts rest on. costs: of every training in the store. runs: the store's runs by id."""

    sweeps: tuple[SweepFacts, ...]
    costs: tuple[TrainingCost, ...]
    runs: Mapping[str, TimedRun]


def collect_facts(uri: str, names: Sequence[str], mlflow_experiment: str | None) -> ManuscriptFacts:
    """Read sweeps by name or run id, the newest where none is named; raises StoreError where one is of no use."""
    sweeps = [read_sweep(uri, name, mlflow_experiment) for name in names] or [read_sweep(uri, None, mlflow_experiment)]
    _check_distinct(sweeps, names)
    runs = {run.run_id: run for run in read_timed_runs(uri)}
    facts = tuple(_collect_sweep(sweep, runs) for sweep in sweeps)
    return ManuscriptFacts(facts, collect_costs(runs, sweeps), runs)


def _check_distinct(sweeps: Sequence[Sweep], names: Sequence[str]) -> None:
    seen: dict[str, str] = {}
    for sweep, name in zip(sweeps, names, strict=False):
        if sweep.run_id in seen:
            raise StoreError(f"{name}: is the sweep that {seen[sweep.run_id]} names; give each sweep once")
        seen[sweep.run_id] = name


def _collect_sweep(sweep: Sweep, runs: Mapping[str, TimedRun]) -> SweepFacts:
    _check_kind(sweep)
    with open_evaluations(sweep) as evaluations:
        document = build_document(sweep, evaluations, Resampling(0))
    _check_results(document)
    history, no_history = read_plan_history(sweep.uri, sweep.run_id)
    raw = read_raw_sweep(sweep.uri, sweep.run_id)
    of_all = (raw.parent, *raw.trials)
    words = find_words([run.data.params for run in of_all], [run.data.tags for run in of_all], ())
    own = {run_id: run for run_id, run in runs.items() if sweep.run_id in (run_id, run.parent)}
    return SweepFacts(
        document=document,
        record=build_report_record(document),
        runs=own,
        history=history,
        no_history=no_history,
        splits=read_splits(sweep, of_all),
        neutral=Neutralizer(words),
    )


def _check_kind(sweep: Sweep) -> None:
    """Raise StoreError for a sweep that compares no trainings."""
    experiment = sweep.experiment
    reason = _SEARCH if experiment.search is not None else _NOISE_FLOOR if experiment.is_noise_floor else ""
    if reason := reason or (_COVERAGE if is_coverage(sweep) else ""):
        raise StoreError(f"{sweep.name}: {reason}; its numbers are in analysis/report.py {sweep.name}")


def _check_results(document: Document) -> None:
    """Raise StoreError for a sweep without a result to report."""
    sweep = document.sweep
    if not sweep.finished:
        raise StoreError(f"{sweep.name}: none of its {len(sweep.current)} trials has finished ({document.state})")
    metric = sweep.experiment.metrics[0]
    of_metric = document.final_values[document.final_values["metric"] == metric]
    if not of_metric["value"].notna().any():
        raise StoreError(f"{sweep.name}: no finished trial has logged {metric}, its first metric")
