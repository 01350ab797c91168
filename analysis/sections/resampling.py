"""Evaluate the trials of a sweep again, on all images and on resamples of them, from what the store has saved."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from analysis.formatting import format_number, shorten_metric
from analysis.reader.sweep import Trial
from analysis.reader.sweep_evaluations import SweepEvaluations
from analysis.stats.other_images import ResampledTrial
from analysis.stats.two_level import draw_image_weights
from analysis.stats.weighted_ap import Weights
from analysis.stats.weighted_metrics import compute_weighted_metrics, select_weighted_metrics
from fcos.evaluation.class_keys import class_keys
from fcos.evaluation.saved.saved_evaluation import SavedEvaluation

# Largest difference of a metric to the one that its run recorded; both are sums of the same numbers.
TOLERANCE = 1e-6


@dataclass(frozen=True)
class Resampling:
    """Number of resamples, 0 for none, and a function that shows how many trials are done of how many."""

    resamples: int
    show_progress: Callable[[int, int], None] = lambda done, total: None


@dataclass(frozen=True)
class ResampledSweep:
    """Trials with their metrics on all images and on resamples; notes on those without an evaluation."""

    trials: tuple[ResampledTrial, ...]
    num_images: int
    notes: tuple[str, ...]


def resample_trials(
    evaluations: SweepEvaluations, trials: Sequence[Trial], metrics: Sequence[str], resampling: Resampling
) -> ResampledSweep:
    """Evaluate trials in some metrics one after another, which bounds memory; reads the store."""
    weights: Weights | None = None
    resampled: list[ResampledTrial] = []
    notes: list[str] = []
    numbers = {trial.run_id: number for number, trial in enumerate(trials, start=1)}
    for trial, evaluation in evaluations.read(trials):
        if weights is None:
            weights = draw_image_weights(len(evaluation.annotations), resampling.resamples)
        item = _evaluate(trial, evaluation, metrics, weights)
        problem = _describe_departure(trial, item)
        if problem:
            notes.append(problem)
        else:
            resampled.append(item)
        resampling.show_progress(numbers[trial.run_id], len(trials))
    num_images = 0 if weights is None else len(weights)
    return ResampledSweep(tuple(resampled), num_images, (*evaluations.describe_left_out(trials), *notes))


def _evaluate(trial: Trial, evaluation: SavedEvaluation, metrics: Sequence[str], weights: Weights) -> ResampledTrial:
    keys = class_keys(evaluation.annotations)
    chosen = select_weighted_metrics(dict.fromkeys(metrics), keys)
    values = compute_weighted_metrics(evaluation.annotations, evaluation.results, weights, chosen, keys)
    return ResampledTrial(trial.arm, trial.seed, values)


def _describe_departure(trial: Trial, item: ResampledTrial) -> str:
    """Return a note where a metric on all images is not the one that the run recorded; "" where all are."""
    for metric, of_metric in item.values.items():
        recorded = trial.metrics.get(metric)
        if recorded is not None and abs(of_metric[0] - recorded) > TOLERANCE:
            return (
                f"The evaluation of {trial.label} is left out of what other validation images would change: it gives "
                f"{format_number(of_metric[0], metric)} {shorten_metric(metric)}, and its run recorded "
                f"{format_number(recorded, metric)}."
            )
    return ""
