"""Detections of each image beside its boxes."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torchvision.ops import box_iou

from fcos.data.annotations import Annotations
from fcos.structures import Detections


@dataclass(frozen=True)
class Overlaps:
    """One image: its N detections, the M boxes as annotated, and the IoU of every pair.

    `first` is the place of its first box among all of the annotations. `excused` marks detections that lie for half
    of their area in a crowd of their class, which COCO counts neither as found nor as false.
    """

    image_id: int
    found: Detections
    first: int
    boxes: Float[Tensor, "M 4"]
    labels: Int[Tensor, " M"]
    crowd: Bool[Tensor, " M"]
    iou: Float[Tensor, "N M"]
    excused: Bool[Tensor, " N"]

    @property
    def same_class(self) -> Bool[Tensor, "N M"]:
        return self.found.labels[:, None] == self.labels


def overlaps(annotations: Annotations, detections: Mapping[int, Detections]) -> Iterator[Overlaps]:
    """Every image in turn; boxes in pixels of the original image."""
    xywh = torch.from_numpy(annotations.xywh)
    boxes = torch.cat([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]], dim=1)
    labels, crowd = torch.from_numpy(annotations.labels), torch.from_numpy(annotations.crowd)
    for place, image_id in enumerate(annotations.image_ids.tolist()):
        rows = slice(int(annotations.offsets[place]), int(annotations.offsets[place + 1]))
        found = detections[image_id]
        own = found.boxes.to(boxes.dtype)
        iou = box_iou(own, boxes[rows])
        excused = _inside(own, boxes[rows]) >= 0.5
        excused &= crowd[rows] & (found.labels[:, None] == labels[rows])
        yield Overlaps(
            image_id, found, rows.start, boxes[rows], labels[rows], crowd[rows],
            iou.where(~crowd[rows], 0.0), excused.any(1),
        )  # fmt: skip


def _inside(boxes: Float[Tensor, "N 4"], others: Float[Tensor, "M 4"]) -> Float[Tensor, "N M"]:
    """The share of each box's area that lies in each of the others."""
    low = torch.maximum(boxes[:, None, :2], others[:, :2])
    high = torch.minimum(boxes[:, None, 2:], others[:, 2:])
    common = (high - low).clamp(min=0).prod(-1)
    return common / (boxes[:, 2:] - boxes[:, :2]).prod(-1).clamp(min=1e-9)[:, None]
