"""Match detections with ground truth at IoU 0.5, as COCO's evaluation does, and name the kind of each error."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from analysis.explorer.structures import DetectionSet, Truth
from fcos.evaluation.error_kinds import CORRECT, FOREGROUND, OTHER, classify, match_greedily


@dataclass(frozen=True)
class Matches:
    """Result of matching, an entry for each detection, [D].

    box: row of the box of its class that it is matched with, or -1. kind: CORRECT, ..., see
    fcos.evaluation.error_kinds. any_box: row of the box of whatever class that it is matched with where classes do not
    count, or -1.
    """

    box: NDArray[np.int64]
    kind: NDArray[np.int64]
    any_box: NDArray[np.int64]


def match_detections(truth: Truth, detections: DetectionSet) -> Matches:
    """Match each image's detections greedily from high to low score with the free box of highest IoU.

    A detection takes the same box whatever score it is thresholded at, since only higher ones come before it.
    """
    box = np.full(len(detections.scores), -1, dtype=np.int64)
    any_box = box.copy()
    kind = np.full(len(box), OTHER, dtype=np.int64)
    for image in range(len(truth)):
        rows = slice(int(detections.offsets[image]), int(detections.offsets[image + 1]))
        truth_rows = slice(int(truth.offsets[image]), int(truth.offsets[image + 1]))
        if rows.start == rows.stop or truth_rows.start == truth_rows.stop:
            continue
        iou = compute_iou(detections.boxes[rows], truth.boxes[truth_rows])
        is_same = detections.labels[rows, None] == truth.labels[truth_rows]
        crowd = truth.crowd[truth_rows]
        inside = compute_share_inside(detections.boxes[rows], truth.boxes[truth_rows]) >= FOREGROUND
        iou = np.where(crowd, 0.0, iou)
        found = classify(iou, is_same, (inside & is_same & crowd).any(axis=1))
        kind[rows] = found.kind
        box[rows] = np.where(found.kind == CORRECT, found.box + truth_rows.start, -1)
        matched = match_greedily(iou)
        any_box[rows] = np.where(matched >= 0, matched + truth_rows.start, -1)
    return Matches(box, kind, any_box)


def compute_iou(first: NDArray[np.float64], second: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the IoU of every pair, [A, B]; 0 for pairs without area."""
    intersection = _intersect(first, second)
    union = _area(first)[:, None] + _area(second) - intersection
    return np.divide(intersection, union, out=np.zeros_like(union), where=union > 0)


def compute_share_inside(first: NDArray[np.float64], second: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return which share of each first box lies inside each second one, [A, B]; 0 for boxes without area."""
    intersection = _intersect(first, second)
    areas = np.broadcast_to(_area(first)[:, None], intersection.shape)
    return np.divide(intersection, areas, out=np.zeros_like(intersection), where=areas > 0)


def _intersect(first: NDArray[np.float64], second: NDArray[np.float64]) -> NDArray[np.float64]:
    low = np.maximum(first[:, None, :2], second[:, :2])
    high = np.minimum(first[:, None, 2:], second[:, 2:])
    intersection: NDArray[np.float64] = np.clip(high - low, 0, None).prod(axis=2)
    return intersection


def _area(boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    area: NDArray[np.float64] = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    return area
