"""Correlation and calibration of the score against IoU (v1 Figure 7)."""

import math
from collections.abc import Mapping

import numpy as np
from jaxtyping import Float64

from fcos.annotations.annotations import Annotations
from fcos.evaluation.metric_names import SCORE_BINS
from fcos.evaluation.overlaps import compute_overlaps
from fcos.structures import Detections


def score_iou(annotations: Annotations, detections: Mapping[int, Detections]) -> dict[str, float]:
    """Compute val/score_iou/: pearson, spearman, calibration_error, overconfident, and iou_of_0.0 to iou_of_0.9.

    The IoU of a detection is its best with a box of its class, 0 without one; detections in crowds are left out.
    calibration_error is the mean absolute difference of score and IoU over ten bins of the score, weighted by their
    detections. overconfident is the fraction of detections scored above 0.5 whose IoU is below 0.5. iou_of_0.3 is the
    mean IoU of scores from 0.3 to 0.4. Metrics without detections to measure are left out.
    """
    return {
        f"val/score_iou/{name}": value
        for name, value in score_iou_statistics(*score_iou_pairs(annotations, detections)).items()
    }


def score_iou_statistics(score: Float64[np.ndarray, " N"], iou: Float64[np.ndarray, " N"]) -> dict[str, float]:
    """Compute the numbers of `score_iou` by their short names."""
    # Imported here because it takes a second, and most runs do without this analysis.
    from scipy import stats

    numbers: dict[str, float] = {}
    if len(score) > 1 and np.ptp(score) > 0 and np.ptp(iou) > 0:
        numbers["pearson"] = float(stats.pearsonr(score, iou).statistic)
        numbers["spearman"] = float(stats.spearmanr(score, iou).statistic)
    if len(score):
        bin_index = np.minimum((score * SCORE_BINS).astype(int), SCORE_BINS - 1)
        count = np.bincount(bin_index, minlength=SCORE_BINS)
        divisor = np.maximum(count, 1)
        mean_score = np.bincount(bin_index, score, SCORE_BINS) / divisor
        mean_iou = np.bincount(bin_index, iou, SCORE_BINS) / divisor
        numbers["calibration_error"] = float((np.abs(mean_score - mean_iou) * count).sum() / count.sum())
        numbers |= {
            f"iou_of_{bin_ / SCORE_BINS:.1f}": float(mean_iou[bin_]) for bin_ in range(SCORE_BINS) if count[bin_]
        }
    if (score > 0.5).any():
        numbers["overconfident"] = float((iou[score > 0.5] < 0.5).mean())
    return {name: value for name, value in numbers.items() if not math.isnan(value)}


def score_iou_pairs(
    annotations: Annotations, detections: Mapping[int, Detections]
) -> tuple[Float64[np.ndarray, " N"], Float64[np.ndarray, " N"]]:
    """Return score and IoU of every detection of all images that is not in a crowd."""
    scores, ious = [np.zeros(0)], [np.zeros(0)]
    for image in compute_overlaps(annotations, detections):
        keep = ~image.in_crowd
        best = image.iou.where(image.same_class, 0.0)
        best = best.amax(1) if best.shape[1] else best.new_zeros(len(best))
        scores.append(image.detections.scores[keep].double().numpy())
        ious.append(best[keep].numpy())
    return np.concatenate(scores), np.concatenate(ious)
