"""Encode the training targets of each location from the box assigned to it."""

from collections.abc import Callable
from functools import lru_cache

import torch
from jaxtyping import Float, Int
from torch import Tensor

from fcos.geometry import centerness, ltrb_from_boxes
from fcos.structures import NO_OBJECT, Assignment, Targets


def encode_targets(
    matched: Int[Tensor, "B P"], targets: Targets, xy: Float[Tensor, "P 2"], *, compiled: bool = False
) -> Assignment:
    """Compute labels, ltrb distances (pixels) and center-ness of each location from its matched box."""
    return (_compiled_encode() if compiled else _encode)(matched, targets, xy)


def _encode(matched: Int[Tensor, "B P"], targets: Targets, xy: Float[Tensor, "P 2"]) -> Assignment:
    positive = matched != NO_OBJECT
    if targets.boxes.shape[1] == 0:
        ltrb = targets.boxes.new_ones((*matched.shape, 4))
        return Assignment(matched, matched, ltrb, ltrb.new_zeros(matched.shape))
    index = matched.clamp(min=0)
    labels = targets.labels.gather(1, index).where(positive, NO_OBJECT)
    boxes = targets.boxes.gather(1, index[..., None].expand(-1, -1, 4))
    ltrb = ltrb_from_boxes(xy, boxes).where(positive[..., None], 1.0)
    return Assignment(matched, labels, ltrb, centerness(ltrb).where(positive, 0.0))


@lru_cache(maxsize=1)
def _compiled_encode() -> Callable[..., Assignment]:
    return torch.compile(_encode)
