"""Why a box is answered for by no location."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float64, Int64
from numpy.typing import NDArray

from fcos.config.model_parts import AssignmentConfig
from fcos.coverage.boxes import InputBoxes
from fcos.coverage.counts import PADDING, Owners
from fcos.data.coco_file import CocoFile
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
    """Boxes and the reasons, in columns; xyxy in pixels of the network's input, or as annotated where it stays out."""

    ids: Int64[np.ndarray, " K"]
    image_ids: Int64[np.ndarray, " K"]
    labels: Int64[np.ndarray, " K"]
    # Positions in REASONS.
    reasons: Int64[np.ndarray, " K"]
    xyxy: Float64[np.ndarray, "K 4"]

    @classmethod
    def together(cls, parts: Sequence["Unrecalled"]) -> "Unrecalled":
        """All rows of one part or more, in order of image and annotation."""
        columns = [np.concatenate([getattr(part, item.name) for part in parts]) for item in fields(cls)]
        order = np.lexsort((columns[0], columns[1]))
        return cls(*(column[order] for column in columns))

    def by_reason(self) -> dict[str, int]:
        """How many boxes each reason has, where it has any."""
        counts = np.bincount(self.reasons, minlength=len(REASONS)).tolist()
        return {reason: number for reason, number in zip(REASONS, counts, strict=True) if number}

    def write(self, path: Path, classes: tuple[str, ...]) -> None:
        """A CSV file under COLUMNS, a line for each box."""
        columns = (self.ids.tolist(), self.image_ids.tolist(), self.labels.tolist(), self.reasons.tolist())
        with path.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(COLUMNS)
            for number, image, label, reason, corners in zip(*columns, self.xyxy, strict=True):
                writer.writerow([number, image, classes[label], REASONS[reason], *(f"{side:.2f}" for side in corners)])


def explain(part: InputBoxes, owners: Owners, strides: tuple[int, ...], assignment: AssignmentConfig) -> Unrecalled:
    """The boxes of a part that own no location.

    Lost: the box claims locations, all of them smaller boxes'. No location on its mask: it would claim some, were its
    whole box its mask. Of the others, on the levels whose range some location in the box (and near enough to its
    center) could meet if locations lay everywhere: too small where no such level has one, out of every range where one
    has, or where there is no such level.
    """
    missing = np.flatnonzero(~owners.recalled)
    boxes = part.boxes[missing]
    sizes = part.sizes[part.image[missing]]
    meets, holds = np.zeros(len(missing), dtype=bool), np.zeros(len(missing), dtype=bool)
    for level, stride in enumerate(strides):
        eligible = _could_meet(boxes, stride, level, assignment)
        meets |= eligible
        holds |= eligible & _holds_location(boxes, sizes, stride, assignment)
    reasons = np.where(holds | ~meets, REASONS.index(OUT_OF_RANGE), REASONS.index(TOO_SMALL))
    reasons = np.where(owners.reaches[missing], REASONS.index(OFF_MASK), reasons)
    return _rows(part, missing, np.where(owners.claims[missing], REASONS.index(LOST), reasons))


def without_anchor(part: InputBoxes, recalled: Bool[np.ndarray, " M"]) -> Unrecalled:
    """The boxes of a part that no anchor belongs to."""
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


def _could_meet(
    boxes: NDArray[np.float32], stride: int, level: int, assignment: AssignmentConfig
) -> Bool[np.ndarray, " m"]:
    """Whether max(l, t, r, b) of some point in each box, and within the sampling radius, lies in a level's range."""
    low, high = assignment.ranges[level]
    half = (boxes[:, 2:] - boxes[:, :2]).max(axis=1, initial=0) / 2
    under = True if high is None else (half <= high if assignment.ends == "closed" else half < high)
    if assignment.kind == "center":
        return np.asarray(under & (half >= low if assignment.ends == "closed" else half > low))
    # The center has the least; it grows towards the edge, or as far as the radius reaches, without getting there.
    radius = np.inf if assignment.center_sampling_radius is None else assignment.center_sampling_radius * stride
    found: Bool[np.ndarray, " m"] = (half + np.minimum(half, radius) > low) & under
    return found


def _holds_location(
    boxes: NDArray[np.float32], sizes: NDArray[np.int64], stride: int, assignment: AssignmentConfig
) -> Bool[np.ndarray, " m"]:
    """Whether a location of one level lies in each box, and within the sampling radius, whatever the range.

    sizes: (height, width) of each box's image.
    """
    padded = (-(-sizes // PADDING) * PADDING)[:, ::-1]
    count = -(-padded // stride)
    origin, step = origin_and_step(padded, count, stride, assignment.locations)
    radius = np.inf
    if assignment.center_sampling_radius is not None and assignment.kind == "fcos":
        radius = assignment.center_sampling_radius * stride
    center = (boxes[:, :2] + boxes[:, 2:]) / 2
    # One of the locations next to the center is in the box in each axis, or none is.
    index = np.floor((center - origin) / step) + np.arange(-1, 3)[:, None, None]
    place = (origin + index.clip(0, count - 1) * step).astype(np.float32)
    inside = (place > boxes[:, :2]) & (place < boxes[:, 2:]) & (np.abs(place - center) < radius)
    found: Bool[np.ndarray, " m"] = np.asarray(np.asarray(inside.any(axis=0)).all(axis=1))
    return found


def left_out(file: CocoFile, used: InputBoxes, kept_images: NDArray[np.int64]) -> Unrecalled:
    """The boxes of a file that training never sees, crowds aside."""
    of_image = np.isin(file.image_ids[file.image], kept_images)
    rows = np.flatnonzero(~file.crowd & of_image & ~np.isin(file.ids, used.ids))
    height, width = file.sizes[file.image[rows]].T
    x, y, w, h = file.xywh[rows].T
    away = (w > 0) & (h > 0) & ((x >= width) | (y >= height) | (x + w <= 0) | (y + h <= 0))
    return Unrecalled(
        ids=file.ids[rows],
        image_ids=file.image_ids[file.image[rows]],
        labels=file.label[rows],
        reasons=np.where(away, REASONS.index(OUTSIDE), REASONS.index(EMPTY)),
        xyxy=np.stack([x, y, x + w, y + h], axis=1),
    )
