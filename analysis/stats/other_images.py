"""Paired differences of a sweep for other seeds and other images, from its evaluations under resampled images."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from analysis.stats.comparison import Comparison
from analysis.stats.two_level import TwoLevelInterval, estimate_two_level
from analysis.stats.weighted_ap import Floats


@dataclass(frozen=True)
class ResampledTrial:
    """Metrics of a trial on all images and on resamples of them: metric -> (1 + resamples), see draw_image_weights."""

    arm: str
    seed: int
    values: Mapping[str, Floats]


@dataclass(frozen=True)
class ImageComparison:
    """Paired difference of an arm to the baseline in one metric, for other seeds and other images.

    comparison: of the same arm and metric, from seeds alone. seeds: which have an evaluation in both arms. difference:
    the mean over these. interval: at the confidence of the comparison's; None where too few seeds or images give none.
    """

    comparison: Comparison
    seeds: tuple[int, ...]
    difference: float
    interval: TwoLevelInterval | None

    @property
    def has_all_pairs(self) -> bool:
        """Return whether the seeds are those of the comparison, so that the two intervals are of the same pairs."""
        return set(self.seeds) == set(self.comparison.seeds)


def compare_on_other_images(
    trials: Sequence[ResampledTrial], comparisons: Sequence[Comparison], baseline: str, num_images: int
) -> list[ImageComparison]:
    """Return a comparison for each of those given whose metric and arm have a pair of evaluations."""
    by_trial = {(trial.arm, trial.seed): trial.values for trial in trials}
    compared = []
    for comparison in comparisons:
        metric = comparison.metric
        differences = {
            seed: values[metric] - of_baseline[metric]
            for (arm, seed), values in sorted(by_trial.items())
            if arm == comparison.arm
            and metric in values
            and (of_baseline := by_trial.get((baseline, seed))) is not None
        }
        if differences:
            samples = np.stack(list(differences.values()))
            interval = estimate_two_level(samples[:, 0], samples[:, 1:], num_images, comparison.test.level)
            compared.append(ImageComparison(comparison, tuple(differences), float(samples[:, 0].mean()), interval))
    return compared
