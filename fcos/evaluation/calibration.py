"""Whether a high score means a well placed box (v1 Figure 7): correlation and calibration of score against IoU."""

import math
from collections.abc import Mapping

import numpy as np
from jaxtyping import Float64

from fcos.data.annotations import Annotations
from fcos.evaluation.overlaps import overlaps
from fcos.structures import Detections

BINS = 10


def score_iou(annotations: Annotations, detections: Mapping[int, Detections]) -> dict[str, float]:
    """val/score_iou/...: pearson, spearman, calibration_error, overconfident, and iou_of_0.0 to iou_of_0.9.

    A detection's IoU is its best with a box of its class, 0 without one; those in crowds do not count.
    calibration_error is the mean distance of score and IoU over ten bins of the score, by their detections.
    overconfident is the share of detections scored above 0.5 whose IoU is below 0.5. iou_of_0.3 is the mean IoU of
    scores from 0.3 to 0.4. What no detection speaks of is left out.
    """
    return {f"val/score_iou/{name}": value for name, value in measure(*pairs(annotations, detections)).items()}


def measure(score: Float64[np.ndarray, " N"], iou: Float64[np.ndarray, " N"]) -> dict[str, float]:
    """The numbers of score_iou by their short names."""
    # The names of the numbers are needed where nothing is measured, and these imports take seconds.
    from scipy import stats

    numbers: dict[str, float] = {}
    if len(score) > 1 and np.ptp(score) > 0 and np.ptp(iou) > 0:
        numbers["pearson"] = float(stats.pearsonr(score, iou).statistic)
        numbers["spearman"] = float(stats.spearmanr(score, iou).statistic)
    if len(score):
        place = np.minimum((score * BINS).astype(int), BINS - 1)
        count = np.bincount(place, minlength=BINS)
        filled = np.maximum(count, 1)
        mean_score = np.bincount(place, score, BINS) / filled
        mean_iou = np.bincount(place, iou, BINS) / filled
        numbers["calibration_error"] = float((np.abs(mean_score - mean_iou) * count).sum() / count.sum())
        numbers |= {f"iou_of_{bin_ / BINS:.1f}": float(mean_iou[bin_]) for bin_ in range(BINS) if count[bin_]}
    if (score > 0.5).any():
        numbers["overconfident"] = float((iou[score > 0.5] < 0.5).mean())
    return {name: value for name, value in numbers.items() if not math.isnan(value)}


def pairs(
    annotations: Annotations, detections: Mapping[int, Detections]
) -> tuple[Float64[np.ndarray, " N"], Float64[np.ndarray, " N"]]:
    """Score and IoU of every detection of all images that does not lie in a crowd."""
    scores, ious = [np.zeros(0)], [np.zeros(0)]
    for image in overlaps(annotations, detections):
        keep = ~image.excused
        best = image.iou.where(image.same_class, 0.0)
        best = best.amax(1) if best.shape[1] else best.new_zeros(len(best))
        scores.append(image.found.scores[keep].double().numpy())
        ious.append(best[keep].numpy())
    return np.concatenate(scores), np.concatenate(ious)
