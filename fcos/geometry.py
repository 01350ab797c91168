"""Locations of a pyramid, ltrb distances, IoU and areas: pure functions in float32 or above."""

from dataclasses import replace
from functools import lru_cache
from typing import TypeVar

import numpy as np
import torch
from jaxtyping import Bool, Float, Num
from numpy.typing import NDArray
from torch import Tensor

from fcos.config.choices import BoxConvention, Placement
from fcos.structures import Locations

EPSILON = 1e-7


def iou_of_ltrb(
    predicted: Float[Tensor, "*N 4"], target: Float[Tensor, "*N 4"]
) -> tuple[Float[Tensor, "*N"], Float[Tensor, "*N"], Float[Tensor, "*N"]]:
    """Return IoU, union and area of the enclosing box of pairs of ltrb from the same location."""
    overlap = torch.minimum(predicted, target)
    enclosing = torch.maximum(predicted, target)
    # A side is negative where the location lies outside its box; disjoint boxes then have a negative overlap.
    left, top, right, bottom = overlap.unbind(-1)
    intersection = (left + right).clamp(min=0) * (top + bottom).clamp(min=0)
    union = _area(predicted) + _area(target) - intersection
    return intersection / (union + EPSILON), union, _area(enclosing)


def _area(ltrb: Tensor) -> Tensor:
    left, top, right, bottom = ltrb.unbind(-1)
    return (left + right) * (top + bottom)


IntOrArray = TypeVar("IntOrArray", int, NDArray[np.int64])


@lru_cache(maxsize=256)
def compute_locations(
    shapes: tuple[tuple[int, int], ...],
    strides: tuple[int, ...],
    image_size: tuple[int, int],
    kind: Placement,
    device: torch.device,
    *,
    anchors: tuple[tuple[float, float], ...] | None = None,
    targets: int = 1,
) -> Locations:
    """Compute all locations of a pyramid in pixels of the padded input, whose (height, width) is `image_size`.

    kind=half_stride: s // 2 + k * s, as in both papers. torchvision: the first location is at 0 and the step is
    image_size // grid, which differs from the stride where that does not divide the image; `strides` stay nominal. Each
    location is repeated for each of the `anchors`, (width, height) in strides, or `targets` times. Results are cached
    and shared: do not write to them.

    Raises ValueError where shapes and strides differ in number, and for anchors together with several targets.
    """
    if anchors is not None and targets > 1:
        raise ValueError(f"locations: {len(anchors)} anchors and {targets} targets; a location has one or the other")
    repeats = targets if anchors is None else len(anchors)
    origins, steps = _origins_and_steps(shapes, strides, image_size, kind)
    # A cached tensor made in inference mode could not be used in a later training step.
    with torch.inference_mode(False):
        grids = [_grid(shape, origin, step, device) for shape, origin, step in zip(shapes, origins, steps, strict=True)]
        strides_of_locations = _strides_of_locations(shapes, strides, device)
        # One row per location, its anchors in order.
        sizes = None if anchors is None else torch.tensor(anchors, device=device) * strides_of_locations[:, None, None]
        return Locations(
            xy=torch.cat(grids).repeat_interleave(repeats, dim=0),
            strides=strides_of_locations.repeat_interleave(repeats),
            shapes=tuple((rows, columns * repeats) for rows, columns in shapes),
            origins=origins,
            steps=steps,
            level_strides=strides,
            anchors=None if sizes is None else sizes.flatten(0, 1),
            targets=targets,
        )


def _origins_and_steps(
    shapes: tuple[tuple[int, int], ...], strides: tuple[int, ...], image_size: tuple[int, int], kind: Placement
) -> tuple[tuple[tuple[float, float], ...], tuple[tuple[float, float], ...]]:
    """Return the (x, y) of each level's first location, and the (x, y) steps between its locations."""
    if len(shapes) != len(strides):
        raise ValueError(f"locations: {len(shapes)} shapes for {len(strides)} strides; one stride for each level")
    height, width = image_size
    axes = [
        (origin_and_step(width, columns, stride, kind), origin_and_step(height, rows, stride, kind))
        for (rows, columns), stride in zip(shapes, strides, strict=True)
    ]
    return tuple((float(x[0]), float(y[0])) for x, y in axes), tuple((float(x[1]), float(y[1])) for x, y in axes)


def _strides_of_locations(
    shapes: tuple[tuple[int, int], ...], strides: tuple[int, ...], device: torch.device
) -> Float[Tensor, " P"]:
    """Return the nominal stride of each location of a pyramid."""
    nominal = [
        torch.full((rows * columns,), float(stride), device=device)
        for (rows, columns), stride in zip(shapes, strides, strict=True)
    ]
    return torch.cat(nominal)


def unique_locations(locations: Locations) -> Locations:
    """Return the locations without the repetition for several targets."""
    if locations.targets == 1:
        return locations
    unique = slice(None, None, locations.targets)
    shapes = tuple((rows, columns // locations.targets) for rows, columns in locations.shapes)
    return replace(locations, xy=locations.xy[unique], strides=locations.strides[unique], shapes=shapes, targets=1)


def origin_and_step(
    side: IntOrArray, count: IntOrArray, stride: int, kind: Placement
) -> tuple[int | IntOrArray, int | IntOrArray]:
    """Return the position of the first of `count` locations on an axis, and the step between them.

    The axis has `side` pixels; see `compute_locations`.
    """
    return (stride // 2, stride) if kind == "half_stride" else (0, side // count)


def _grid(
    shape: tuple[int, int], origin: tuple[float, float], step: tuple[float, float], device: torch.device
) -> Float[Tensor, "N 2"]:
    rows, columns = shape
    x = torch.arange(columns, dtype=torch.float32, device=device) * step[0] + origin[0]
    y = torch.arange(rows, dtype=torch.float32, device=device) * step[1] + origin[1]
    return torch.cartesian_prod(y, x).flip(-1)


def ltrb_from_boxes(xy: Num[Tensor, "P 2"], boxes: Num[Tensor, "*batch P 4"]) -> Float[Tensor, "*batch P 4"]:
    """Return signed distances from each location to the sides of its xyxy box, in pixels (v1 eq. 1)."""
    xy, boxes = _full_precision(xy), _full_precision(boxes)
    return torch.cat((xy - boxes[..., :2], boxes[..., 2:] - xy), dim=-1)


def boxes_from_ltrb(xy: Num[Tensor, "P 2"], ltrb: Num[Tensor, "*batch P 4"]) -> Float[Tensor, "*batch P 4"]:
    """Return the xyxy box at the given distances, in pixels, around each location."""
    xy, ltrb = _full_precision(xy), _full_precision(ltrb)
    return torch.cat((xy - ltrb[..., :2], xy + ltrb[..., 2:]), dim=-1)


def strictly_inside(xy: Num[Tensor, "*#batch 2"], boxes: Num[Tensor, "*#batch 4"]) -> Bool[Tensor, "*#batch"]:
    """Return whether each location lies inside its xyxy box and not on an edge."""
    return ((xy > boxes[..., :2]) & (xy < boxes[..., 2:])).all(-1)


def centerness(ltrb: Num[Tensor, "*batch 4"]) -> Float[Tensor, "*batch"]:
    """Compute the center-ness of ltrb distances (v1 eq. 3).

    It is zero on edges, outside and in empty boxes.
    """
    left, top, right, bottom = _full_precision(ltrb).clamp(min=0).unbind(-1)
    horizontal = _min_over_max(left, right)
    vertical = _min_over_max(top, bottom)
    return torch.sqrt(horizontal * vertical)


def _min_over_max(one: Tensor, other: Tensor) -> Tensor:
    longer = torch.maximum(one, other)
    return torch.minimum(one, other) / longer.clamp(min=torch.finfo(longer.dtype).tiny)


def ious(one: Float[Tensor, "*#batch 4"], other: Float[Tensor, "*#batch 4"]) -> Float[Tensor, "*#batch"]:
    """Compute the IoU of pairs of xyxy boxes, any of which may be empty."""
    top_left = torch.maximum(one[..., :2], other[..., :2])
    bottom_right = torch.minimum(one[..., 2:], other[..., 2:])
    width, height = (bottom_right - top_left).clamp(min=0).unbind(-1)
    intersection = width * height
    union = areas(one, "plain") + areas(other, "plain") - intersection
    return intersection / union.clamp(min=torch.finfo(union.dtype).tiny)


def areas(boxes: Num[Tensor, "*batch 4"], box_convention: BoxConvention) -> Float[Tensor, "*batch"]:
    """Compute areas of xyxy boxes; box_convention=inclusive counts both end pixels (v1's code)."""
    boxes = _full_precision(boxes)
    extra = 1.0 if box_convention == "inclusive" else 0.0
    width, height = (boxes[..., 2:] - boxes[..., :2] + extra).unbind(-1)
    return width * height


def _full_precision(values: Tensor) -> Tensor:
    return values.to(torch.promote_types(values.dtype, torch.float32))
