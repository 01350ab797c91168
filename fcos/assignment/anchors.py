"""Anchor boxes of locations, for assignment by overlap and for regression relative to an anchor."""

import torch
from jaxtyping import Float
from torch import Tensor

from fcos.structures import Locations

# (width, height) in strides: the one square of ATSS (section 3.1), and the nine anchors of RetinaNet, three sizes
# times three aspect ratios (height / width).
ATSS_ANCHORS = ((8.0, 8.0),)
RETINANET_ANCHORS = tuple(
    (4 * 2 ** (octave / 3) / ratio**0.5, 4 * 2 ** (octave / 3) * ratio**0.5)
    for ratio in (0.5, 1.0, 2.0)
    for octave in range(3)
)


def anchor_sizes(per_location: int) -> tuple[tuple[float, float], ...]:
    """Return (width, height) of a location's anchors, in strides of its level."""
    return ATSS_ANCHORS if per_location == 1 else RETINANET_ANCHORS


def anchor_boxes(locations: Locations) -> Float[Tensor, "P 4"]:
    """Return the anchor of each location as an xyxy box in pixels."""
    half_size = (
        (locations.strides * (ATSS_ANCHORS[0][0] / 2))[:, None] if locations.anchors is None else locations.anchors / 2
    )
    return torch.cat((locations.xy - half_size, locations.xy + half_size), dim=-1)
