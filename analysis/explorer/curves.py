"""Precision-recall and F1 curves of one evaluation at IoU 0.5, and the score at which its F1 is highest."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from analysis.explorer.matching import MatchedDetections
from analysis.explorer.structures import Truth
from fcos.evaluation.coco_settings import RECALL_THRESHOLDS

SCORES: Final = np.linspace(0.0, 1.0, 101)


@dataclass(frozen=True)
class Curves:
    """Curves of one evaluation.

    precision: [C, 101], interpolated at RECALL_THRESHOLDS as in COCO's evaluation; NaN for classes without boxes. f1:
    [101] over all classes together, of the detections that score at least SCORES. threshold: the lowest score of
    highest F1.
    """

    precision: NDArray[np.float64]
    f1: NDArray[np.float64]
    threshold: float

    @property
    def class_ap(self) -> NDArray[np.float64]:
        """AP at IoU 0.5 of each class, [C]; its mean over measured classes is COCO's AP50."""
        ap: NDArray[np.float64] = self.precision.mean(axis=1)
        return ap

    @property
    def mean_precision(self) -> NDArray[np.float64]:
        """Mean precision over the classes that have boxes, [101]."""
        measured = self.precision[~np.isnan(self.precision[:, 0])]
        mean: NDArray[np.float64] = measured.mean(axis=0) if len(measured) else np.full(len(RECALL_THRESHOLDS), np.nan)
        return mean


def compute_curves(truth: Truth, detections: MatchedDetections) -> Curves:
    """Compute the curves of one evaluation."""
    # Stable, so that equal scores stay in the order of the images.
    order = np.argsort(-detections.scores, kind="stable")
    order = order[detections.counted[order]]
    labels, is_true = detections.labels[order], detections.box[order] >= 0
    positives = truth.class_counts
    precision = np.full((len(positives), len(RECALL_THRESHOLDS)), np.nan)
    for label in np.flatnonzero(positives):
        precision[label] = interpolate_precision(is_true[labels == label], int(positives[label]))
    f1 = compute_f1_curve(detections.scores[order], is_true, int(positives.sum()))
    return Curves(precision, f1, float(SCORES[int(f1.argmax())]))


def interpolate_precision(is_true: NDArray[np.bool_], positives: int) -> NDArray[np.float64]:
    """Return the precision at RECALL_THRESHOLDS. is_true: [D] from high to low score. positives: boxes to be found."""
    true = np.cumsum(is_true)
    precision = true / np.arange(1, len(true) + 1)
    # The best precision at this recall or any higher one.
    precision = np.maximum.accumulate(precision[::-1])[::-1]
    index = np.searchsorted(true / positives, RECALL_THRESHOLDS, side="left")
    return np.append(precision, 0.0)[np.minimum(index, len(precision))]


def compute_f1_curve(scores: NDArray[np.float64], is_true: NDArray[np.bool_], positives: int) -> NDArray[np.float64]:
    """Return F1 at SCORES, [101]. scores, is_true: [D] from high to low score."""
    count = np.searchsorted(-scores, -SCORES, side="right")
    true = np.append(0, np.cumsum(is_true))[count]
    total = count + positives
    return np.divide(2.0 * true, total, out=np.zeros(len(SCORES)), where=total > 0)
