"""Test whether locations lie on an object's mask, which is a bitmap in the frame of its box."""

from jaxtyping import Bool, Float, Int
from torch import Tensor

# Avoids a division by zero in pixels; sides this short hold no location, and padded boxes have no area.
MIN_SIDE = 1e-6


def on_mask(
    masks: Bool[Tensor, "B N S S"],
    indices: Int[Tensor, "B M"],
    boxes: Float[Tensor, "B M 4"],
    xy: Float[Tensor, "P 2"],
    index: Int[Tensor, "B M L rows columns"],
) -> Bool[Tensor, "B M L rows columns"]:
    """Return whether the location at each window position lies on the mask of the window's box.

    `indices` are the positions of the boxes (xyxy) among the masks. Positions outside the box get the nearest cell of
    its bitmap, so the caller has to test whether they lie inside.
    """
    side = masks.shape[-1]
    # A window is part of a grid: x depends on the column alone, y on the row alone.
    column = _cell(xy[:, 0][index[..., 0, :]], boxes[..., 0, None, None], boxes[..., 2, None, None], side)
    row = _cell(xy[:, 1][index[..., :, 0]], boxes[..., 1, None, None], boxes[..., 3, None, None], side)
    cell = (indices[..., None, None] * side + row)[..., :, None] * side + column[..., None, :]
    return masks.flatten(1).gather(1, cell.flatten(1)).view_as(cell)


def pairs_on_mask(
    masks: Bool[Tensor, "M S S"],
    boxes: Float[Tensor, "M 4"],
    xy: Float[Tensor, "P 2"],
    box: Int[Tensor, " K"],
    location: Int[Tensor, " K"],
) -> Bool[Tensor, " K"]:
    """Return whether the location of each candidate pair (see `fcos_candidates`) lies on the box's mask."""
    (x, y), (x1, y1, x2, y2) = xy[location].unbind(1), boxes[box].unbind(1)
    side = masks.shape[-1]
    return masks[box, _cell(y, y1, y2, side), _cell(x, x1, x2, side)]


def _cell(position: Tensor, start: Tensor, end: Tensor, side: int) -> Tensor:
    fraction = (position - start) / (end - start).clamp(min=MIN_SIDE)
    return (fraction * side).floor().clamp(0, side - 1).long()
