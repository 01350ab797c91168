"""How much other validation images would change a metric, for a noise floor, from its saved evaluations."""

from dataclasses import dataclass

import numpy as np

from analysis.reader.sweep import Sweep
from analysis.reader.sweep_evaluations import SweepEvaluations
from analysis.sections.resampling import Resampling, resample_trials
from analysis.stats.noise import ValidationNoise
from analysis.stats.two_level import estimate_image_variance


@dataclass(frozen=True)
class MeasuredValidationNoise:
    """The noise of the validation sample, None where it cannot be computed, and notes on missing evaluations."""

    noise: ValidationNoise | None
    notes: tuple[str, ...]


def measure_validation_noise(
    sweep: Sweep, evaluations: SweepEvaluations, arm: str, resampling: Resampling
) -> MeasuredValidationNoise:
    """Return the variance of the first metric over resamples of the images, common to an arm's seeds; reads the store.

    What single seeds differ by image counts as noise of the seeds already.
    """
    if not resampling.resamples:
        return MeasuredValidationNoise(None, ())
    metric = sweep.experiment.metrics[0]
    trials = [trial for trial in sweep.finished if trial.arm == arm]
    resampled = resample_trials(evaluations, trials, [metric], resampling)
    samples = [trial.values[metric][1:] for trial in resampled.trials if metric in trial.values]
    variance = estimate_image_variance(np.array(samples), resampled.num_images) if samples else None
    noise = None if variance is None else ValidationNoise(variance.common, resampled.num_images, resampling.resamples)
    return MeasuredValidationNoise(noise, resampled.notes)
