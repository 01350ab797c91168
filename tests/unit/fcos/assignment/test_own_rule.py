"""An assignment of the caller's: the same targets as ours for the same rule, and clear errors for what is none."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from fcos.assignment.fcos import assign_fcos
from fcos.assignment.own_rule import assign_by
from fcos.config.model_parts import AssignmentConfig
from fcos.errors import ConfigError
from fcos.geometry import compute_locations
from fcos.structures import NO_OBJECT, Targets

LOCATIONS = compute_locations(((4, 4), (2, 2)), (16, 32), (64, 64), "half_stride", torch.device("cpu"))


def smallest_box(boxes: Tensor, xy: Tensor, strides: Tensor) -> Tensor:
    """Assign each location of the finest level to the smallest of the boxes that it lies inside."""
    sides = torch.cat([xy[:, None] - boxes[:, :2], boxes[:, 2:] - xy[:, None]], dim=2)
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(1).expand(len(xy), -1)
    cost = areas.where((sides.min(2).values > 0) & (strides == 16)[:, None], torch.inf)
    least, index = cost.min(1)
    return index.where(least.isfinite(), NO_OBJECT)


def targets(*images: list[list[float]], padding: int = 1) -> Targets:
    """Boxes of each image, padded in front and behind, so that indices of boxes are not those of rows."""
    most = max(map(len, images)) + 2 * padding
    boxes, valid = torch.zeros(len(images), most, 4), torch.zeros(len(images), most, dtype=torch.bool)
    for row, image in enumerate(images):
        if image:
            boxes[row, padding : padding + len(image)] = torch.tensor(image)
            valid[row, padding : padding + len(image)] = True
    return Targets(boxes, torch.arange(most).expand(len(images), -1).clone(), valid)


GIVEN = targets([[2.0, 2.0, 60.0, 60.0], [10.0, 10.0, 30.0, 44.0]], [], [[1.0, 30.0, 63.0, 63.0]])


def test_the_same_rule_gives_the_same_targets_as_the_configured_one() -> None:
    setting = AssignmentConfig(ranges=((0, 1000), (1000, None)), center_sampling_radius=None)
    ours, own = assign_fcos(GIVEN, LOCATIONS, setting), assign_by(smallest_box)(GIVEN, LOCATIONS)
    assert 0 < int(own.positive.sum()) < own.positive.numel()
    for name in ("matched", "labels", "ltrb", "centerness"):
        assert torch.equal(getattr(own, name), getattr(ours, name)), name


def test_images_without_boxes_have_no_positive_and_the_rule_is_not_called() -> None:
    def never(boxes: Tensor, xy: Tensor, strides: Tensor) -> Tensor:
        raise AssertionError("there is no box")

    assignment = assign_by(never)(targets([], []), LOCATIONS)
    assert not assignment.positive.any()


def constant(value: float, dtype: torch.dtype = torch.long) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    return lambda boxes, xy, strides: torch.full((len(xy),), value, dtype=dtype)


@pytest.mark.parametrize(
    ("match", "message"),
    [
        (constant(0), "lies outside of its box"),
        (constant(2), "returns 2 to 2 for 2 boxes; give their indices, or -1"),
        (constant(-2), "returns -2 to -2"),
        (constant(0, torch.float), r"must return whole numbers, one for each of 20 locations, not torch.float32"),
        (lambda boxes, xy, strides: torch.zeros(3, dtype=torch.long), r"torch.int64 of \[3\]"),
        (lambda boxes, xy, strides: None, "not NoneType"),
    ],
)
def test_what_is_no_assignment_is_refused(match: Callable[[Tensor, Tensor, Tensor], Tensor], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        assign_by(match)(GIVEN, LOCATIONS)
