"""Detections of each image with their overlaps with its boxes."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torchvision.ops import box_iou

from fcos.annotations.annotations import Annotations
from fcos.structures import Detections


@dataclass(frozen=True)
class Overlaps:
    """One image: its N detections, the M boxes as annotated, and the IoU of every pair.

    `first_box` is the index of its first box among all annotations. `in_crowd` marks detections that lie at least half
    inside a crowd of their class, which COCO counts neither as true nor as false positives.
    """

    image_id: int
    detections: Detections
    first_box: int
    boxes: Float[Tensor, "M 4"]
    labels: Int[Tensor, " M"]
    crowd: Bool[Tensor, " M"]
    iou: Float[Tensor, "N M"]
    in_crowd: Bool[Tensor, " N"]

    @property
    def same_class(self) -> Bool[Tensor, "N M"]:
        return self.detections.labels[:, None] == self.labels


def compute_overlaps(annotations: Annotations, detections: Mapping[int, Detections]) -> Iterator[Overlaps]:
    """Yield the overlaps of every image; boxes in pixels of the original image."""
    xywh = torch.from_numpy(annotations.xywh)
    boxes = torch.cat([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]], dim=1)
    labels, crowd = torch.from_numpy(annotations.labels), torch.from_numpy(annotations.crowd)
    for index, image_id in enumerate(annotations.image_ids.tolist()):
        rows = slice(int(annotations.offsets[index]), int(annotations.offsets[index + 1]))
        image_detections = detections[image_id]
        predicted = image_detections.boxes.to(boxes.dtype)
        # Of two boxes of zero size it is 0 / 0.
        iou = box_iou(predicted, boxes[rows]).nan_to_num(nan=0.0)
        in_crowd = _fraction_inside(predicted, boxes[rows]) >= 0.5
        in_crowd &= crowd[rows] & (image_detections.labels[:, None] == labels[rows])
        yield Overlaps(
            image_id, image_detections, rows.start, boxes[rows], labels[rows], crowd[rows],
            iou.where(~crowd[rows], 0.0), in_crowd.any(1),
        )  # fmt: skip


def _fraction_inside(boxes: Float[Tensor, "N 4"], others: Float[Tensor, "M 4"]) -> Float[Tensor, "N M"]:
    """Return the fraction of each box's area inside each of the others."""
    top_left = torch.maximum(boxes[:, None, :2], others[:, :2])
    bottom_right = torch.minimum(boxes[:, None, 2:], others[:, 2:])
    intersection = (bottom_right - top_left).clamp(min=0).prod(-1)
    return intersection / (boxes[:, 2:] - boxes[:, :2]).prod(-1).clamp(min=1e-9)[:, None]
