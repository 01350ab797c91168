"""Locations that lie on an object's own mask, which is a bitmap in the frame of its box."""

from jaxtyping import Bool, Float, Int
from torch import Tensor

# Sides below this many pixels hold no location; padding has none at all.
LEAST_SIDE = 1e-6


def on_mask(
    masks: Bool[Tensor, "B N S S"],
    owners: Int[Tensor, "B M"],
    boxes: Float[Tensor, "B M 4"],
    xy: Float[Tensor, "P 2"],
    index: Int[Tensor, "B M L rows columns"],
) -> Bool[Tensor, "B M L rows columns"]:
    """Whether the location at each window position lies on the mask of the window's box.

    `owners` are positions among the masks, `boxes` (xyxy) those that belong to them. Positions outside of a box get the
    nearest cell of its bitmap, so the caller asks whether they lie inside.
    """
    side = masks.shape[-1]
    # A window is a part of a grid: x is that of the column, y that of the row.
    column = _cell(xy[:, 0][index[..., 0, :]], boxes[..., 0, None, None], boxes[..., 2, None, None], side)
    row = _cell(xy[:, 1][index[..., :, 0]], boxes[..., 1, None, None], boxes[..., 3, None, None], side)
    place = (owners[..., None, None] * side + row)[..., :, None] * side + column[..., None, :]
    return masks.flatten(1).gather(1, place.flatten(1)).view_as(place)


def pairs_on_mask(
    masks: Bool[Tensor, "M S S"],
    boxes: Float[Tensor, "M 4"],
    xy: Float[Tensor, "P 2"],
    box: Int[Tensor, " K"],
    place: Int[Tensor, " K"],
) -> Bool[Tensor, " K"]:
    """Whether the location of each pair (box, location) of `fcos.assignment.fcos.claims` lies on the box's mask."""
    (x, y), (x1, y1, x2, y2) = xy[place].unbind(1), boxes[box].unbind(1)
    side = masks.shape[-1]
    return masks[box, _cell(y, y1, y2, side), _cell(x, x1, x2, side)]


def _cell(position: Tensor, near: Tensor, far: Tensor, side: int) -> Tensor:
    share = (position - near) / (far - near).clamp(min=LEAST_SIDE)
    return (share * side).floor().clamp(0, side - 1).long()
