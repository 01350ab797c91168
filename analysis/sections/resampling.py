"""Evaluate the trials of a sweep again, on all images and on resamples of them, from what the store has saved."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from analysis.formatting import format_count, format_number, join_words, shorten_metric
from analysis.reader.evaluation import read_evaluation
from analysis.reader.sweep import Sweep, Trial
from analysis.stats.other_images import ResampledTrial
from analysis.stats.two_level import draw_image_weights
from analysis.stats.weighted_ap import Integers
from analysis.stats.weighted_metrics import compute_weighted_metrics, select_weighted_metrics
from fcos.errors import DataError
from fcos.evaluation.class_keys import class_keys
from fcos.evaluation.saved.saved_evaluation import SavedEvaluation, parse_evaluation

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


def resample_sweep(sweep: Sweep, trials: Sequence[Trial], resampling: Resampling) -> ResampledSweep:
    """Read and evaluate the trials one after another, which bounds memory; reads the store."""
    state = _State()
    resampled = []
    for number, trial in enumerate(trials, start=1):
        if (evaluation := _read(sweep, trial, state)) is not None:
            if state.weights is None:
                state.weights = draw_image_weights(len(evaluation.annotations), resampling.resamples)
            if (item := _evaluate(trial, evaluation, sweep.experiment.metrics, state)) is not None:
                resampled.append(item)
        resampling.show_progress(number, len(trials))
    num_images = 0 if state.weights is None else len(state.weights)
    return ResampledSweep(
        tuple(resampled), num_images, tuple(_describe_missing(state.missing, len(trials)) + state.notes)
    )


@dataclass
class _State:
    """What the trials share: digest of their annotations, weights of the images; and what was left out."""

    annotations_sha256: str | None = None
    weights: Integers | None = None
    missing: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def _read(sweep: Sweep, trial: Trial, state: _State) -> SavedEvaluation | None:
    """Return the saved evaluation of a trial, None with a note where there is none on the images of the others."""
    files = read_evaluation(sweep.uri, trial.run_id)
    if files is None:
        state.missing.append(trial.label)
        return None
    try:
        evaluation = parse_evaluation(files, Path(trial.run_id))
    except DataError as error:
        state.notes.append(f"The evaluation of {trial.label} is left out of the intervals for other images: {error}.")
        return None
    digest = evaluation.index.annotations_sha256
    state.annotations_sha256 = state.annotations_sha256 or digest
    if digest != state.annotations_sha256:
        state.notes.append(
            f"The evaluation of {trial.label} is left out of the intervals for other images: its annotations are "
            f"others ({digest[:12]}) than those of the trials before it ({state.annotations_sha256[:12]})."
        )
        return None
    return evaluation


def _evaluate(
    trial: Trial, evaluation: SavedEvaluation, metrics: Sequence[str], state: _State
) -> ResampledTrial | None:
    """Return the metrics of a trial, None with a note where they are not those that its run recorded."""
    assert state.weights is not None
    keys = class_keys(evaluation.annotations)
    chosen = select_weighted_metrics(dict.fromkeys(metrics), keys)
    values = compute_weighted_metrics(evaluation.annotations, evaluation.results, state.weights, chosen, keys)
    for metric, of_metric in values.items():
        recorded = trial.metrics.get(metric)
        if recorded is not None and abs(of_metric[0] - recorded) > TOLERANCE:
            state.notes.append(
                f"The evaluation of {trial.label} is left out of the intervals for other images: it gives "
                f"{format_number(of_metric[0], metric)} {shorten_metric(metric)}, and its run recorded "
                f"{format_number(recorded, metric)}."
            )
            return None
    return ResampledTrial(trial.arm, trial.seed, values)


def _describe_missing(missing: Sequence[str], total: int) -> list[str]:
    """Return a note on trials without a saved evaluation."""
    if not missing:
        return []
    which = (
        "No trial has"
        if len(missing) == total
        else f"{join_words(missing)} {'has' if len(missing) == 1 else 'have'} no"
    )
    which = f"{which} a saved evaluation" if len(missing) == total else f"{which} saved evaluation"
    return [
        f"{which} (runs of older versions have none): what other validation images would change cannot be computed for "
        f"{format_count(len(missing), 'trial')}."
    ]
