"""Detections of a run as COCO's evaluation matches them at IoU 0.5, and the kind of each error."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from analysis.explorer.structures import Truth
from fcos.annotations.coco_results import CocoResults
from fcos.evaluation.error_kinds import IN_CROWD, OTHER, classify, match_greedily
from fcos.evaluation.matches import compute_iou, match_detections


@dataclass(frozen=True)
class MatchedDetections:
    """The detections that COCO's evaluation takes, image by image, those of an image from high to low score.

    Of an image and a class it takes the best 100. offsets: rows of image i are offsets[i] to offsets[i + 1]. xywh:
    [D, 4]. box: [D], row of the box that is found, or -1. kind: [D], CORRECT, ..., see fcos.evaluation.error_kinds;
    IN_CROWD for all that COCO's evaluation ignores. any_box: [D], row of the box of whatever class that is matched
    where classes do not count, or -1.
    """

    offsets: NDArray[np.int64]
    xywh: NDArray[np.float64]
    labels: NDArray[np.int64]
    scores: NDArray[np.float64]
    box: NDArray[np.int64]
    kind: NDArray[np.int64]
    any_box: NDArray[np.int64]

    @property
    def images(self) -> NDArray[np.int64]:
        """Image of each detection, [D]."""
        return np.repeat(np.arange(len(self.offsets) - 1), np.diff(self.offsets))

    @property
    def counted(self) -> NDArray[np.bool_]:
        """Detections that are right or wrong, not ignored, [D]."""
        counted: NDArray[np.bool_] = self.kind != IN_CROWD
        return counted


def match_run(truth: Truth, results: CocoResults) -> MatchedDetections:
    """Match the detections of a run with the boxes.

    A detection takes the same box whatever score it is thresholded at, since only higher ones come before it.
    """
    matches = match_detections(truth.annotations, results)
    # Of equal scores the earlier row chooses first.
    order = np.lexsort((matches.row, -matches.scores, matches.image))
    rows = matches.row[order]
    ignored = matches.ignored[0, order]
    detections = MatchedDetections(
        offsets=np.searchsorted(matches.image[order], np.arange(len(truth) + 1)).astype(np.int64),
        xywh=results.xywh[rows],
        labels=results.label[rows],
        scores=results.scores[rows],
        box=np.where(matches.true_positive[0, order], matches.box[0, order], -1).astype(np.int64),
        kind=np.where(ignored, IN_CROWD, OTHER).astype(np.int64),
        any_box=np.full(len(rows), -1, dtype=np.int64),
    )
    for image in np.flatnonzero(np.diff(detections.offsets) * np.diff(truth.annotations.offsets)):
        _classify_image(truth, detections, ignored, int(image))
    return detections


def _classify_image(truth: Truth, detections: MatchedDetections, ignored: NDArray[np.bool_], image: int) -> None:
    """Write the kinds and the matches without classes of an image that has detections and boxes."""
    rows = slice(*detections.offsets[image : image + 2].tolist())
    boxes = slice(*truth.annotations.offsets[image : image + 2].tolist())
    iou = compute_overlaps(detections.xywh[rows], truth.annotations.xywh[boxes])
    iou = np.where(truth.ignored[boxes], 0.0, iou)
    is_same = detections.labels[rows, None] == truth.annotations.labels[boxes]
    found = detections.box[rows]
    in_image = np.where(found >= 0, found - boxes.start, -1)
    detections.kind[rows] = classify(iou, is_same, ignored[rows], in_image).kind
    matched = match_greedily(np.where(ignored[rows, None], 0.0, iou))
    detections.any_box[rows] = np.where(matched >= 0, matched + boxes.start, -1)


def compute_overlaps(first: NDArray[np.float64], second: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the IoU of every pair of boxes, [A, B]. first, second: xywh."""
    no_crowd = np.zeros((1, len(second)), dtype=bool)
    iou: NDArray[np.float64] = compute_iou(first[:, None], second[None], no_crowd)
    return iou
