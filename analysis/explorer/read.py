"""Read the evaluations of a sweep's finished trials, and reduce each to what the page shows of it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from analysis.explorer.run_results import RunResults, compute_run_results
from analysis.explorer.structures import Evaluations, RunKey, Truth, make_truth
from analysis.reader.sweep import Sweep, Trial
from analysis.reader.sweep_evaluations import SweepEvaluations

MAX_SHOWN_SEEDS = 3


@dataclass(frozen=True)
class PageOrder:
    """Arms and seeds in the order of the page. baseline: None where nothing is compared."""

    arms: tuple[str, ...]
    seeds: tuple[int, ...]
    baseline: str | None


@dataclass(frozen=True)
class ComparedRuns:
    """The runs that have an evaluation, with their results; shown_seeds: those whose detections are drawn."""

    evaluations: Evaluations
    results: Mapping[RunKey, RunResults]
    shown_seeds: tuple[int, ...]


def read_runs(
    sweep: Sweep, evaluations: SweepEvaluations, order: PageOrder, show_progress: Callable[[int, int], None]
) -> tuple[ComparedRuns | None, tuple[str, ...]]:
    """Return the finished trials with an evaluation, None without any, and notes on those that are left out.

    One evaluation after another is in memory; its detections are kept for the seeds that are drawn alone.
    """
    positions = {arm: index for index, arm in enumerate(order.arms)}
    trials = sorted(sweep.finished, key=lambda trial: (positions[trial.arm], trial.seed))
    numbers = {trial.run_id: number for number, trial in enumerate(trials, start=1)}
    shown_seeds = choose_shown_seeds(evaluations.list_comparable(), order)
    truth: Truth | None = None
    kept: dict[RunKey, Trial] = {}
    results: dict[RunKey, RunResults] = {}
    for trial, evaluation in evaluations.read(trials):
        truth = truth or make_truth(evaluation.annotations)
        key = (trial.arm, trial.seed)
        kept[key] = trial
        results[key] = compute_run_results(truth, evaluation.results, draws=trial.seed in shown_seeds)
        show_progress(numbers[trial.run_id], len(trials))
    notes = evaluations.describe_left_out(trials)
    if truth is None:
        return None, notes
    return ComparedRuns(Evaluations(truth, order.arms, order.seeds, order.baseline, kept), results, shown_seeds), notes


def choose_shown_seeds(trials: Sequence[Trial], order: PageOrder) -> tuple[int, ...]:
    """Return the seeds whose detections are drawn: the first that all arms with an evaluation have, else the first."""
    evaluated = {(trial.arm, trial.seed) for trial in trials}
    arms = {arm for arm, _ in evaluated}
    common = [seed for seed in order.seeds if all((arm, seed) in evaluated for arm in arms)]
    return tuple(common or order.seeds)[:MAX_SHOWN_SEEDS]
