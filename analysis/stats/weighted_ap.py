"""COCO's average precision of one evaluation under many weightings of its images, exact for each.

A weighting counts how often each image occurs, as in a bootstrap sample of the images. The result is that of an
evaluation with these copies, whose detections and boxes are matched image by image as before. Of two detections of one
image and class with equal scores the copies of the first come before those of the second.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from fcos.evaluation.coco_settings import RECALL_THRESHOLDS
from fcos.evaluation.matches import Matches

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Weights = NDArray[np.integer[Any]]

# Numbers of a work array, so that a few of them stay in a processor's cache.
_WORK_SIZE = 1 << 17
# pycocotools adds it to denominators, which may be zero.
_EPSILON = np.spacing(1)


def compute_weighted_ap(matches: Matches, weights: Weights) -> Floats:
    """Return the AP of each IoU threshold, class and weighting: (T, K, B); NaN for classes without boxes.

    weights: (images, B), how often each image occurs in each weighting.
    """
    assert weights.shape[0] == matches.num_images, "weights of other images"
    ap = np.empty((len(matches.true_positive), matches.num_classes, weights.shape[1]))
    # In 64 bits, at once for all classes: weights may be of fewer.
    for label, num_boxes in enumerate(matches.positives @ weights):
        steps = _find_steps(matches, label)
        for columns in _split_columns(weights.shape[1], max(steps.num_steps, int(num_boxes.max(initial=0)))):
            of_columns = weights[:, columns].astype(np.float64)
            ap[:, label, columns] = _compute_class_ap(steps, of_columns, num_boxes[columns])
    return ap


def compute_weighted_recall(matches: Matches, weights: Weights, limit: int) -> Floats:
    """Return the recall of each IoU threshold, class and weighting: (T, K, B); NaN for classes without boxes.

    weights: see compute_weighted_ap. limit: so many detections of an image and a class count, the best ones.
    """
    found = np.zeros((len(matches.true_positive), *matches.positives.shape), dtype=np.int64)
    label = np.repeat(np.arange(matches.num_classes), np.diff(matches.class_offsets))
    threshold, row = np.nonzero(matches.true_positive & (matches.rank < limit))
    np.add.at(found, (threshold, label[row], matches.image[row]), 1)
    with np.errstate(invalid="ignore"):
        recall: Floats = (found @ weights) / (matches.positives @ weights)
    return recall


@dataclass(frozen=True)
class _Threshold:
    """True positives of a class at an IoU threshold, with their images and steps.

    extra_image: images of the detections that count at this threshold and not at all of them. num_extra: how many of
    these come before each true positive.
    """

    image: Integers
    step: Integers
    extra_image: Integers
    num_extra: Integers


@dataclass(frozen=True)
class _Steps:
    """Detections of a class up to each true positive, which are all that precision and recall need.

    A step is a detection that is a true positive at some IoU threshold, with the others since the step before.
    counted: (steps, images), detections of a step that count at all thresholds.
    """

    counted: csr_array
    thresholds: tuple[_Threshold, ...]

    @property
    def num_steps(self) -> int:
        """Number of steps."""
        return int(self.counted.shape[0])


def _find_steps(matches: Matches, label: int) -> _Steps:
    rows = slice(*matches.class_offsets[label : label + 2].tolist())
    image, positive, ignored = matches.image[rows], matches.true_positive[:, rows], matches.ignored[:, rows]
    last_rows = np.flatnonzero(positive.any(axis=0))
    step = np.searchsorted(last_rows, np.arange(len(image)))
    # What follows the last true positive changes nothing.
    counted = ~ignored.any(axis=0) & (step < len(last_rows))
    varies = ignored.any(axis=0) & ~ignored.all(axis=0)
    thresholds = []
    for positive_here, ignored_here in zip(positive, ignored, strict=True):
        row, extra = np.flatnonzero(positive_here), np.flatnonzero(varies & ~ignored_here)
        num_extra = np.searchsorted(extra, row, side="right")
        thresholds.append(_Threshold(image[row], step[row], image[extra], num_extra))
    entries = (np.ones(int(counted.sum())), (step[counted], image[counted]))
    shape = (len(last_rows), matches.num_images)
    return _Steps(csr_array(entries, shape=shape), tuple(thresholds))


def _split_columns(num_columns: int, num_rows: int) -> Iterator[slice]:
    width = max(16, _WORK_SIZE // max(num_rows, 1))
    return (slice(start, start + width) for start in range(0, num_columns, width))


def _compute_class_ap(steps: _Steps, weights: Floats, num_boxes: Integers) -> Floats:
    """Return the AP of a class at each IoU threshold: (T, B). weights: (images, B). num_boxes: (B)."""
    reached = _count_recalls(num_boxes)
    first_entry = np.arange(len(num_boxes)) * reached.shape[1]
    detections = np.cumsum(steps.counted @ weights, axis=0)
    # New arrays of this size would take longer to get than to fill.
    work = np.empty((4, steps.num_steps, len(num_boxes)))
    ap = np.zeros((len(steps.thresholds), len(num_boxes)))
    for index, threshold in enumerate(steps.thresholds):
        if not len(threshold.step):
            continue
        drawn, found, counted, precision = work[:, : len(threshold.step)]
        np.take(weights, threshold.image, axis=0, out=drawn, mode="clip")
        np.cumsum(drawn, axis=0, out=found)
        np.take(detections, threshold.step, axis=0, out=counted, mode="clip")
        if len(threshold.extra_image):
            extra = np.cumsum(weights[threshold.extra_image], axis=0)
            counted += np.concatenate([np.zeros_like(extra[:1]), extra])[threshold.num_extra]
        counted += _EPSILON
        np.divide(found, counted, out=precision)
        # Precision at a recall is the largest at this or a higher one.
        envelope = np.maximum.accumulate(precision[::-1], axis=0, out=drawn)[::-1]
        found += first_entry
        recalls = reached.take(found.astype(np.int64), mode="clip")
        recalls[1:] -= recalls[:-1].copy()
        ap[index] = np.einsum("sb,sb->b", envelope, recalls)
    ap /= len(RECALL_THRESHOLDS)
    ap[:, num_boxes == 0] = np.nan
    return ap


def _count_recalls(num_boxes: Integers) -> Floats:
    """Return for each weighting how many recall thresholds are reached with 0, 1, 2, ... boxes found.

    num_boxes: (B). Returns (B, largest + 1). Recall is compared as a quotient of floats, as pycocotools does.
    """
    boxes = np.maximum(num_boxes, 1)[:, None]
    needed = np.ceil(RECALL_THRESHOLDS * boxes)
    # The product is rounded, so that the fewest may be one more or less.
    needed -= (needed - 1) / boxes >= RECALL_THRESHOLDS
    needed += needed / boxes < RECALL_THRESHOLDS
    width = int(boxes.max(initial=1)) + 1
    entries = (np.arange(len(boxes))[:, None] * width + needed.astype(np.int64)).ravel()
    reached: Floats = np.bincount(entries, minlength=len(boxes) * width).reshape(-1, width).cumsum(axis=1, dtype=float)
    return reached
