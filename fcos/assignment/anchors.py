"""The anchors of a location, for assignments by overlap and for regression that starts from a box."""

import torch
from jaxtyping import Float
from torch import Tensor

from fcos.structures import Locations

# ATSS's one square (section 3.1), and RetinaNet's nine: three sizes times three ratios of height to width.
ONE = ((8.0, 8.0),)
NINE = tuple(
    (4 * 2 ** (octave / 3) / ratio**0.5, 4 * 2 ** (octave / 3) * ratio**0.5)
    for ratio in (0.5, 1.0, 2.0)
    for octave in range(3)
)


def sizes_in_strides(per_location: int) -> tuple[tuple[float, float], ...]:
    """Width and height of the anchors of every location, in strides of its level."""
    return ONE if per_location == 1 else NINE


def anchors_of(places: Locations) -> Float[Tensor, "P 4"]:
    """The anchor of each location, xyxy pixels."""
    half = (places.strides * (ONE[0][0] / 2))[:, None] if places.anchors is None else places.anchors / 2
    return torch.cat((places.xy - half, places.xy + half), dim=-1)
