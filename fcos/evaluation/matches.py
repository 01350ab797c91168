"""Match detections to ground truth as COCO does, into arrays from which metrics follow for any weights of the images.

The matching is that of pycocotools' `COCOeval.evaluateImg`, in numpy for all images and classes at once; hotcoco
returns its own as a dict for each image and class, which takes seconds for 80 classes. This module loads no torch.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np
from jaxtyping import Bool, Float64, Int32, Int64

from fcos.annotations.annotations import Annotations
from fcos.annotations.coco_results import CocoResults
from fcos.evaluation.coco_settings import AREA_RANGES, IOU_THRESHOLDS, MAX_DETECTIONS

# A box is found at a threshold of 1 as well where its IoU is so much below (evaluateImg).
_LARGEST_THRESHOLD: Final = 1 - 1e-10
# Pairs of a detection and a box whose IoU is computed at a time.
_CHUNK: Final = 1 << 20


@dataclass(frozen=True)
class Matches:
    """Matched detections of an evaluation, class by class in COCO's order.

    Those of class c are rows `class_offsets[c]` to `class_offsets[c + 1]`, best score first, of equal scores the
    earlier image and in an image the earlier row first. `row` is its row among the results, `rank` counts the better
    ones of the same image and class. At each IoU threshold a detection is a true positive, ignored (by a crowd or its
    area), or else a false positive; `box` is the row among the annotations of the box that it takes, be it ignored, or
    -1. `positives` counts the boxes to find by class and image.
    """

    class_offsets: Int64[np.ndarray, " K_plus_1"]
    row: Int64[np.ndarray, " N"]
    image: Int64[np.ndarray, " N"]
    scores: Float64[np.ndarray, " N"]
    rank: Int64[np.ndarray, " N"]
    true_positive: Bool[np.ndarray, "T N"]
    ignored: Bool[np.ndarray, "T N"]
    box: Int32[np.ndarray, "T N"]
    positives: Int64[np.ndarray, "K I"]

    @property
    def num_classes(self) -> int:
        """Number of classes, also of those without boxes."""
        return len(self.positives)

    @property
    def num_images(self) -> int:
        """Number of images, also of those without boxes."""
        return int(self.positives.shape[1])


@dataclass(frozen=True)
class _Truth:
    """Boxes sorted by class and image (`group`), in a group the ignored ones last; `row` is that of the annotations."""

    row: Int64[np.ndarray, " G"]
    group: Int64[np.ndarray, " G"]
    xywh: Float64[np.ndarray, "G 4"]
    crowd: Bool[np.ndarray, " G"]
    ignored: Bool[np.ndarray, " G"]


@dataclass(frozen=True)
class _Pairs:
    """Pairs of a detection and a box of its group with an IoU of at least the lowest threshold."""

    detection: Int64[np.ndarray, " P"]
    box: Int64[np.ndarray, " P"]
    iou: Float64[np.ndarray, " P"]


def match_detections(
    annotations: Annotations, results: CocoResults, area_range: tuple[float, float] = AREA_RANGES[""]
) -> Matches:
    """Match the detections of an evaluation; boxes and unmatched detections outside of `area_range` are ignored."""
    images, classes = len(annotations), len(annotations.classes)
    truth = _sort_truth(annotations, area_range)
    order = np.lexsort((-results.scores, results.label))
    order = order[_rank_in_group(results.label[order] * images + results.image[order]) < MAX_DETECTIONS]
    image, label, xywh = results.image[order], results.label[order], results.xywh[order]
    group = label * images + image
    box = _assign(truth, group, _overlapping_pairs(truth, group, xywh))
    # What takes no box has -1, the last entry here.
    on_ignored = np.append(truth.ignored, False)[box]
    area = xywh[:, 2] * xywh[:, 3]
    counted = truth.group[~truth.ignored]
    return Matches(
        class_offsets=np.searchsorted(label, np.arange(classes + 1)).astype(np.int64),
        row=order,
        image=image,
        scores=results.scores[order],
        rank=_rank_in_group(group),
        true_positive=(box >= 0) & ~on_ignored,
        ignored=on_ignored | ((box < 0) & ((area < area_range[0]) | (area > area_range[1]))),
        box=np.append(truth.row, -1)[box].astype(np.int32),
        positives=np.bincount(counted, minlength=classes * images).astype(np.int64).reshape(classes, images),
    )


def _sort_truth(annotations: Annotations, area_range: tuple[float, float]) -> _Truth:
    image = np.repeat(np.arange(len(annotations)), np.diff(annotations.offsets))
    group = annotations.labels * len(annotations) + image
    ignored = find_ignored(annotations, area_range)
    order = np.lexsort((ignored, group))
    return _Truth(order, group[order], annotations.xywh[order], annotations.crowd[order], ignored[order])


def find_ignored(annotations: Annotations, area_range: tuple[float, float] = AREA_RANGES[""]) -> Bool[np.ndarray, " M"]:
    """Return which boxes need not be found: crowds, and those whose area is outside of a range."""
    ignored: Bool[np.ndarray, " M"] = (
        annotations.crowd | (annotations.areas < area_range[0]) | (annotations.areas > area_range[1])
    )
    return ignored


def _rank_in_group(group: Int64[np.ndarray, " N"]) -> Int64[np.ndarray, " N"]:
    """Return how many earlier entries each entry's group has."""
    order = np.argsort(group, kind="stable")
    first = np.searchsorted(group[order], group[order])
    rank = np.empty_like(group)
    rank[order] = np.arange(len(group)) - first
    return rank


def _overlapping_pairs(truth: _Truth, group: Int64[np.ndarray, " N"], xywh: Float64[np.ndarray, "N 4"]) -> _Pairs:
    """Return the pairs of detections and boxes that any threshold accepts."""
    first = np.searchsorted(truth.group, group)
    counts = np.searchsorted(truth.group, group, side="right") - first
    parts = [(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0))]
    for rows in _chunks(counts):
        detection = np.repeat(np.arange(rows.start, rows.stop), counts[rows])
        offset = np.arange(len(detection)) - np.repeat(np.cumsum(counts[rows]) - counts[rows], counts[rows])
        box = first[detection] + offset
        iou = compute_iou(xywh[detection], truth.xywh[box], truth.crowd[box])
        near = iou >= IOU_THRESHOLDS[0]
        parts.append((detection[near], box[near], iou[near]))
    return _Pairs(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def _chunks(counts: Int64[np.ndarray, " N"]) -> Iterator[slice]:
    """Yield slices of the detections with about _CHUNK pairs each."""
    number = np.cumsum(counts) // _CHUNK
    bounds = [0, *(np.flatnonzero(np.diff(number)) + 1).tolist(), len(counts)]
    return (slice(start, stop) for start, stop in pairwise(bounds))


def compute_iou(
    detected: Float64[np.ndarray, "*#P 4"], truth: Float64[np.ndarray, "*#P 4"], crowd: Bool[np.ndarray, "*#P"]
) -> Float64[np.ndarray, "*#P"]:
    """Return IoU, with a crowd the share of the detection that it covers; in pycocotools' order of operations.

    Boxes are xywh; leading axes are broadcast. 0 for pairs that do not overlap.
    """
    (x, y, w, h), (left, top, width, height) = np.moveaxis(detected, -1, 0), np.moveaxis(truth, -1, 0)
    overlap_w = np.minimum(w + x, width + left) - np.maximum(x, left)
    overlap_h = np.minimum(h + y, height + top) - np.maximum(y, top)
    overlap = np.where((overlap_w > 0) & (overlap_h > 0), overlap_w * overlap_h, 0.0)
    union = np.where(crowd, w * h, w * h + width * height - overlap)
    iou: Float64[np.ndarray, "*#P"] = np.divide(overlap, union, out=np.zeros_like(overlap), where=overlap > 0)
    return iou


def _assign(truth: _Truth, group: Int64[np.ndarray, " N"], pairs: _Pairs) -> Int64[np.ndarray, "T N"]:
    """Return the box among those of `truth` that each detection takes at each threshold, or -1.

    In a group a better detection chooses before a worse one: the box of the highest IoU that is not taken, of equal
    ones the last; an ignored box only without any other. A crowd may be taken many times. Round r has the r-th
    detection with a pair of every group, so that no two choose from the same boxes.
    """
    thresholds = np.minimum(IOU_THRESHOLDS, _LARGEST_THRESHOLD)[:, None]
    detections = np.unique(pairs.detection)
    turn = np.zeros(len(group), dtype=np.int64)
    turn[detections] = _rank_in_group(group[detections])
    keys = (-pairs.box, -pairs.iou, truth.ignored[pairs.box], pairs.detection, turn[pairs.detection])
    order = np.lexsort(keys)
    detection, box, iou = pairs.detection[order], pairs.box[order], pairs.iou[order]
    bounds = np.searchsorted(turn[detection], np.arange(turn.max(initial=-1) + 2))
    taken = np.zeros((len(thresholds), len(truth.group)), dtype=bool)
    taken_box = np.full((len(thresholds), len(group)), -1, dtype=np.int64)
    for start, stop in pairwise(bounds.tolist()):
        if start == stop:
            continue
        rows, boxes = detection[start:stop], box[start:stop]
        free = (iou[start:stop] >= thresholds) & (~taken[:, boxes] | truth.crowd[boxes])
        first_of_row = np.flatnonzero(np.diff(rows, prepend=-1))
        best = np.minimum.reduceat(np.where(free, np.arange(len(rows)), len(rows)), first_of_row, axis=1)
        at, which = np.nonzero(best < len(rows))
        chosen = boxes[best[at, which]]
        taken[at, chosen] = True
        taken_box[at, rows[first_of_row[which]]] = chosen
    return taken_box
