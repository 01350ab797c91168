"""The reasons why boxes have no assigned location."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float64, Int64
from numpy.typing import NDArray

from fcos.annotations.coco_file import CocoFile
from fcos.config.choices import Crowds
from fcos.config.model_parts import AssignmentConfig
from fcos.coverage.boxes import InputBoxes
from fcos.coverage.counts import PADDING, BoxRecall
from fcos.geometry import origin_and_step

OUTSIDE = "outside the image"
EMPTY = "without area"
TOO_SMALL = "too small for the grid"
OUT_OF_RANGE = "out of every range"
LOST = "lost to smaller boxes"
NO_ANCHOR = "no anchor"
OFF_MASK = "no location on its mask"
REASONS = (OUTSIDE, EMPTY, TOO_SMALL, OUT_OF_RANGE, LOST, NO_ANCHOR, OFF_MASK)
COLUMNS = ("annotation_id", "image_id", "category", "reason", "x1", "y1", "x2", "y2")


@dataclass(frozen=True)
class Unrecalled:
    """Boxes without a location and the reasons, in columns.

    xyxy is in pixels of the network's input, or as annotated for boxes that training excludes.
    """

    ids: Int64[np.ndarray, " K"]
    image_ids: Int64[np.ndarray, " K"]
    labels: Int64[np.ndarray, " K"]
    # Indices in REASONS.
    reasons: Int64[np.ndarray, " K"]
    xyxy: Float64[np.ndarray, "K 4"]

    @classmethod
    def merge(cls, parts: Sequence["Unrecalled"]) -> "Unrecalled":
        """Merge at least one part, sorted by image and annotation."""
        columns = [np.concatenate([getattr(part, item.name) for part in parts]) for item in fields(cls)]
        order = np.lexsort((columns[0], columns[1]))
        return cls(*(column[order] for column in columns))

    def by_reason(self) -> dict[str, int]:
        """Return the number of boxes per reason, for reasons that occur."""
        counts = np.bincount(self.reasons, minlength=len(REASONS)).tolist()
        return {reason: count for reason, count in zip(REASONS, counts, strict=True) if count}

    def write(self, path: Path, classes: tuple[str, ...]) -> None:
        """Write a CSV file with the header COLUMNS and a line per box."""
        columns = (self.ids.tolist(), self.image_ids.tolist(), self.labels.tolist(), self.reasons.tolist())
        with path.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(COLUMNS)
            for count, image, label, reason, xyxy in zip(*columns, self.xyxy, strict=True):
                writer.writerow([count, image, classes[label], REASONS[reason], *(f"{side:.2f}" for side in xyxy)])


def explain_unrecalled(
    part: InputBoxes, recall: BoxRecall, strides: tuple[int, ...], assignment: AssignmentConfig
) -> Unrecalled:
    """Return the boxes of a part without an assigned location, with their reasons.

    LOST: the box has candidate locations, all assigned to smaller boxes. OFF_MASK: it would have candidates if its mask
    were ignored. The other boxes depend on the levels whose range some point in the box (and near enough to its center)
    could meet: TOO_SMALL where none of these levels has a location there; OUT_OF_RANGE where one has, or where there is
    no such level.
    """
    missing = np.flatnonzero(~recall.recalled)
    boxes = part.boxes[missing]
    sizes = part.sizes[part.image[missing]]
    is_possible, has_location = np.zeros(len(missing), dtype=bool), np.zeros(len(missing), dtype=bool)
    for level, stride in enumerate(strides):
        eligible = _can_be_in_range(boxes, stride, level, assignment)
        is_possible |= eligible
        has_location |= eligible & _contains_location(boxes, sizes, stride, assignment)
    reasons = np.where(has_location | ~is_possible, REASONS.index(OUT_OF_RANGE), REASONS.index(TOO_SMALL))
    reasons = np.where(recall.has_candidates_in_box[missing], REASONS.index(OFF_MASK), reasons)
    return _rows(part, missing, np.where(recall.has_candidates[missing], REASONS.index(LOST), reasons))


def without_anchor(part: InputBoxes, recalled: Bool[np.ndarray, " M"]) -> Unrecalled:
    """Return the boxes of a part without an anchor."""
    missing = np.flatnonzero(~recalled)
    return _rows(part, missing, np.full(len(missing), REASONS.index(NO_ANCHOR)))


def _rows(part: InputBoxes, missing: NDArray[np.int64], reasons: NDArray[np.int64]) -> Unrecalled:
    return Unrecalled(
        ids=part.ids[missing],
        image_ids=part.image_ids[part.image[missing]],
        labels=part.labels[missing],
        reasons=reasons,
        xyxy=part.boxes[missing].astype(np.float64),
    )


def _can_be_in_range(
    boxes: NDArray[np.float32], stride: int, level: int, assignment: AssignmentConfig
) -> Bool[np.ndarray, " m"]:
    """Return whether some point in each box, within the sampling radius, meets a level's range.

    The range holds max(l, t, r, b) of the point.
    """
    low, high = assignment.ranges[level]
    half = (boxes[:, 2:] - boxes[:, :2]).max(axis=1, initial=0) / 2
    under = True if high is None else (half <= high if assignment.ends == "closed" else half < high)
    if assignment.kind == "center":
        return np.asarray(under & (half >= low if assignment.ends == "closed" else half > low))
    # The minimum is at the center; the supremum is at the edge of the box or of the radius, and is not attained.
    radius = np.inf if assignment.center_sampling_radius is None else assignment.center_sampling_radius * stride
    result: Bool[np.ndarray, " m"] = (half + np.minimum(half, radius) > low) & under
    return result


def _contains_location(
    boxes: NDArray[np.float32], sizes: NDArray[np.int64], stride: int, assignment: AssignmentConfig
) -> Bool[np.ndarray, " m"]:
    """Return whether a location of one level lies in each box and within the sampling radius, whatever the range.

    sizes: (height, width) of each box's image.
    """
    padded = (-(-sizes // PADDING) * PADDING)[:, ::-1]
    count = -(-padded // stride)
    origin, step = origin_and_step(padded, count, stride, assignment.locations)
    radius = np.inf
    if assignment.center_sampling_radius is not None and assignment.kind == "fcos":
        radius = assignment.center_sampling_radius * stride
    center = (boxes[:, :2] + boxes[:, 2:]) / 2
    # If any location is in the box in an axis, then one next to its center is.
    index = np.floor((center - origin) / step) + np.arange(-1, 3)[:, None, None]
    position = (origin + index.clip(0, count - 1) * step).astype(np.float32)
    inside = (position > boxes[:, :2]) & (position < boxes[:, 2:]) & (np.abs(position - center) < radius)
    result: Bool[np.ndarray, " m"] = np.asarray(np.asarray(inside.any(axis=0)).all(axis=1))
    return result


def excluded_boxes(
    file: CocoFile, boxes: InputBoxes, image_ids: NDArray[np.int64], crowds: Crowds = "ignore"
) -> Unrecalled:
    """Return the boxes of a file that training excludes, but for crowds that are ignored."""
    is_kept = np.isin(file.image_ids[file.image], image_ids) & ~(file.crowd & (crowds == "ignore"))
    rows = np.flatnonzero(is_kept & ~np.isin(file.ids, boxes.ids))
    height, width = file.sizes[file.image[rows]].T
    x, y, w, h = file.xywh[rows].T
    is_outside = (w > 0) & (h > 0) & ((x >= width) | (y >= height) | (x + w <= 0) | (y + h <= 0))
    return Unrecalled(
        ids=file.ids[rows],
        image_ids=file.image_ids[file.image[rows]],
        labels=file.label[rows],
        reasons=np.where(is_outside, REASONS.index(OUTSIDE), REASONS.index(EMPTY)),
        xyxy=np.stack([x, y, x + w, y + h], axis=1),
    )
