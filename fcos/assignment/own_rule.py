"""Target assignment by a function of the caller, which decides for one image at a time."""

from collections.abc import Callable
from typing import TypeAlias

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from fcos.assignment.build import Assign
from fcos.assignment.encode import encode_targets
from fcos.errors import ConfigError
from fcos.structures import NO_OBJECT, Assignment, HeadOutputs, Locations, Targets

# The rule of an image: boxes (M x 4, x1 y1 x2 y2, pixels of the network's input), locations (P x 2, x y) and their
# strides (P) -> the index of each location's box, -1 for none. It is not called for images without boxes.
Match: TypeAlias = Callable[[Tensor, Tensor, Tensor], Tensor]


def assign_by(match: Match) -> Assign:
    """Return the assignment of a batch by a rule.

    It raises ConfigError for what no assignment can be: another shape, a box that is not there, and a location outside
    of its box, from which no distances to the four sides could be learned.
    """

    def assign(targets: Targets, locations: Locations, outputs: HeadOutputs | None = None) -> Assignment:
        rows = [
            _match_image(match, boxes, valid, locations)
            for boxes, valid in zip(targets.boxes, targets.valid, strict=True)
        ]
        assignment = encode_targets(torch.stack(rows), targets, locations.xy)
        if bool((assignment.ltrb <= 0).any()):
            raise ConfigError("match: assigns a location that lies outside of its box, or on its border; give -1 there")
        return assignment

    return assign


def _match_image(
    match: Match, boxes: Float[Tensor, "M 4"], valid: Bool[Tensor, " M"], locations: Locations
) -> Int[Tensor, " P"]:
    number = int(valid.sum())
    empty = torch.full((len(locations.xy),), NO_OBJECT, device=boxes.device)
    if number == 0:
        return empty
    found = match(boxes[valid], locations.xy, locations.strides)
    if not isinstance(found, Tensor) or found.shape != empty.shape or found.is_floating_point():
        shape = f"{found.dtype} of {list(found.shape)}" if isinstance(found, Tensor) else type(found).__name__
        raise ConfigError(f"match: must return whole numbers, one for each of {len(empty)} locations, not {shape}")
    if int(found.min()) < NO_OBJECT or int(found.max()) >= number:
        raise ConfigError(
            f"match: returns {int(found.min())} to {int(found.max())} for {number} boxes; give their indices, or -1"
        )
    # Rows of padding among the boxes are none of the rule's.
    rows = valid.nonzero().squeeze(1)
    return torch.where(found == NO_OBJECT, empty, rows[found.long().clamp(min=0)])
