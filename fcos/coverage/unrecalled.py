"""Why a box is answered for by no location."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool

from fcos.config import AssignmentConfig
from fcos.coverage.boxes import InputBoxes
from fcos.coverage.counts import Owners, grid_of_largest
from fcos.data.coco_file import CocoFile

OUTSIDE = "outside the image"
EMPTY = "without area"
TOO_SMALL = "too small for the grid"
OUT_OF_RANGE = "out of every range"
LOST = "lost to smaller boxes"
NO_ANCHOR = "no anchor"
COLUMNS = ("annotation_id", "image_id", "category", "reason", "x1", "y1", "x2", "y2")


@dataclass(frozen=True)
class Unrecalled:
    """One box and the reason; xyxy in pixels of the network's input, or as annotated where it never gets there."""

    annotation_id: int
    image_id: int
    label: int
    reason: str
    xyxy: tuple[float, float, float, float]

    def row(self, classes: tuple[str, ...]) -> list[Any]:
        """The row of a table under COLUMNS."""
        corners = [f"{side:.2f}" for side in self.xyxy]
        return [self.annotation_id, self.image_id, classes[self.label], self.reason, *corners]


def explain(
    part: InputBoxes, owners: Owners, strides: tuple[int, ...], assignment: AssignmentConfig
) -> list[Unrecalled]:
    """The boxes of a part that own no location.

    Too small: on every level whose range meets the box's longest side, no location lies in the box (or near enough
    to its center). Out of every range: one does, and its max(l, t, r, b) fits no level.
    """
    missing = np.flatnonzero(~owners.recalled)
    boxes = part.boxes[missing]
    longest = (boxes[:, 2:] - boxes[:, :2]).max(axis=1, initial=0)
    meets, inside = np.zeros(len(missing), dtype=bool), np.zeros(len(missing), dtype=bool)
    for stride, (low, high) in zip(strides, assignment.ranges, strict=True):
        eligible = (longest > low) & (True if high is None else longest / 2 <= high)
        meets |= eligible
        inside |= eligible & _holds_location(part, missing, stride, assignment)
    reasons = np.where(inside | ~meets, OUT_OF_RANGE, TOO_SMALL)
    return _rows(part, missing, np.where(owners.claims[missing], LOST, reasons))


def without_anchor(part: InputBoxes, recalled: Bool[np.ndarray, " M"]) -> list[Unrecalled]:
    """The boxes of a part that no anchor belongs to."""
    missing = np.flatnonzero(~recalled)
    return _rows(part, missing, np.full(len(missing), NO_ANCHOR))


def _rows(part: InputBoxes, missing: Any, reasons: Any) -> list[Unrecalled]:
    image = part.image_ids[part.image[missing]]
    return [
        Unrecalled(
            int(part.ids[row]), int(image_id), int(part.labels[row]), str(reason), tuple(part.boxes[row].tolist())
        )
        for row, image_id, reason in zip(missing, image, reasons, strict=True)
    ]


def _holds_location(part: InputBoxes, rows: Any, stride: int, assignment: AssignmentConfig) -> Bool[np.ndarray, " m"]:
    """Whether a location of one level lies in each box, and within the sampling radius, whatever the range."""
    places = grid_of_largest(part, (stride,), assignment.locations)
    found = np.zeros(len(rows), dtype=bool)
    first = torch.tensor([places.origins[0]])
    step = torch.tensor([places.steps[0]])
    boxes = torch.from_numpy(part.boxes[rows])
    center = (boxes[:, :2] + boxes[:, 2:]) / 2
    # Of all locations the nearest to the center in each axis is inside, or none is.
    nearest = first + ((center - first) / step).round().clamp(min=0) * step
    inside = (nearest > boxes[:, :2]) & (nearest < boxes[:, 2:])
    if assignment.center_sampling_radius is not None:
        inside &= (nearest - center).abs() < assignment.center_sampling_radius * stride
    found[:] = inside.all(dim=1).numpy()
    return found


def left_out(file: CocoFile, used: InputBoxes, kept_images: Any) -> list[Unrecalled]:
    """The boxes of a file that training never sees, crowds aside."""
    of_image = np.isin(file.image_ids[file.image], kept_images)
    rows = np.flatnonzero(~file.crowd & of_image & ~np.isin(file.ids, used.ids))
    height, width = file.sizes[file.image].T
    x, y, w, h = file.xywh.T
    away = (w > 0) & (h > 0) & ((x >= width) | (y >= height) | (x + w <= 0) | (y + h <= 0))
    return [
        Unrecalled(
            int(file.ids[row]),
            int(file.image_ids[file.image[row]]),
            int(file.label[row]),
            OUTSIDE if away[row] else EMPTY,
            (float(x[row]), float(y[row]), float(x[row] + w[row]), float(y[row] + h[row])),
        )
        for row in rows
    ]
