"""Locations, ltrb distances, center-ness and areas."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.image_list import ImageList

from fcos.geometry import areas, boxes_from_ltrb, centerness, compute_locations, ltrb_from_boxes

CPU = torch.device("cpu")

pixels = st.floats(-2000, 2000, width=32)
distances = st.floats(0, 4000, width=32)


def test_half_stride_locations_are_listed_row_by_row_finest_level_first() -> None:
    locations = compute_locations(((2, 3), (1, 2)), (8, 16), (16, 24), "half_stride", CPU)
    torch.testing.assert_close(
        locations.xy,
        torch.tensor([[4, 4], [12, 4], [20, 4], [4, 12], [12, 12], [20, 12], [8, 8], [24, 8]]).float(),
    )
    torch.testing.assert_close(locations.strides, torch.tensor([8.0] * 6 + [16.0] * 2))
    assert locations.origins == ((4.0, 4.0), (8.0, 8.0))
    assert locations.steps == ((8.0, 8.0), (16.0, 16.0))


@pytest.mark.parametrize("image_size", [(800, 1088), (512, 512), (96, 224)])
def test_torchvision_locations_are_the_centers_of_its_anchors(image_size: tuple[int, int]) -> None:
    strides = (8, 16, 32, 64, 128)
    shapes = tuple((-(-image_size[0] // stride), -(-image_size[1] // stride)) for stride in strides)
    locations = compute_locations(shapes, strides, image_size, "torchvision", CPU)

    generator = AnchorGenerator(tuple((stride,) for stride in strides), ((1.0,),) * len(strides))
    images = ImageList(torch.zeros(1, 3, *image_size), [image_size])
    (anchors,) = generator(images, [torch.zeros(1, 1, *shape) for shape in shapes])

    torch.testing.assert_close(locations.xy, (anchors[:, :2] + anchors[:, 2:]) / 2, rtol=0, atol=0)
    torch.testing.assert_close(locations.strides, anchors[:, 2] - anchors[:, 0], rtol=0, atol=0)


def test_torchvision_steps_differ_from_the_stride_where_the_image_does_not_divide() -> None:
    locations = compute_locations(((13, 17), (7, 9)), (64, 128), (800, 1088), "torchvision", CPU)
    assert locations.steps == ((64.0, 61.0), (120.0, 114.0))
    assert locations.level_strides == (64, 128)


def test_locations_are_cached() -> None:
    arguments = (((4, 4),), (8,), (32, 32), "half_stride", CPU)
    assert compute_locations(*arguments) is compute_locations(*arguments)


def test_locations_cached_in_inference_mode_can_be_trained_on() -> None:
    with torch.inference_mode():
        locations = compute_locations(((5, 7),), (8,), (40, 56), "half_stride", CPU)
    factor = torch.ones((), requires_grad=True)
    (locations.xy * factor).sum().backward()
    torch.testing.assert_close(factor.grad, locations.xy.sum())


def test_each_level_needs_a_stride() -> None:
    with pytest.raises(ValueError, match="2 shapes for 1 strides"):
        compute_locations(((4, 4), (2, 2)), (8,), (32, 32), "half_stride", CPU)


def test_anchors_and_several_targets_exclude_each_other() -> None:
    with pytest.raises(ValueError, match="1 anchors and 2 targets"):
        compute_locations(((1, 1),), (8,), (8, 8), "half_stride", torch.device("cpu"), anchors=((8.0, 8.0),), targets=2)


@given(st.lists(st.tuples(pixels, pixels, distances, distances, distances, distances), min_size=1, max_size=8))
def test_ltrb_from_boxes_inverts_boxes_from_ltrb(rows: list[tuple[float, ...]]) -> None:
    values = torch.tensor(rows)
    xy, ltrb = values[:, :2], values[:, 2:]
    boxes = boxes_from_ltrb(xy, ltrb)
    torch.testing.assert_close(ltrb_from_boxes(xy, boxes), ltrb, rtol=0, atol=1e-3)
    assert (boxes[:, 2:] >= boxes[:, :2]).all()


def test_ltrb_of_a_batch_equals_single_images() -> None:
    xy, boxes = torch.rand(6, 2) * 50, torch.rand(3, 6, 4) * 100
    batched = ltrb_from_boxes(xy, boxes)
    for image in range(3):
        torch.testing.assert_close(batched[image], ltrb_from_boxes(xy, boxes[image]), rtol=0, atol=0)


def test_no_locations_give_empty_results() -> None:
    assert ltrb_from_boxes(torch.zeros(0, 2), torch.zeros(2, 0, 4)).shape == (2, 0, 4)
    assert centerness(torch.zeros(2, 0, 4)).shape == (2, 0)
    assert areas(torch.zeros(0, 4), "plain").shape == (0,)


def test_half_precision_is_computed_in_float32() -> None:
    xy = torch.tensor([[1204.0, 4.0]])
    decoded = boxes_from_ltrb(xy, torch.tensor([[3.0, 1.0, 5.0, 2.0]], dtype=torch.bfloat16))
    torch.testing.assert_close(decoded, torch.tensor([[1201.0, 3.0, 1209.0, 6.0]]), rtol=0, atol=0)
    assert centerness(torch.ones(1, 4, dtype=torch.bfloat16)).dtype == torch.float32


@given(st.tuples(distances, distances, distances, distances))
def test_centerness_lies_in_the_unit_interval(ltrb: tuple[float, ...]) -> None:
    value = centerness(torch.tensor(ltrb))
    assert 0 <= value <= 1


@given(st.floats(2**-10, 4000, width=32), st.floats(2**-10, 4000, width=32))
def test_centerness_is_one_at_the_center(half_width: float, half_height: float) -> None:
    value = centerness(torch.tensor([half_width, half_height, half_width, half_height]))
    torch.testing.assert_close(value, torch.tensor(1.0))


@given(st.tuples(distances, distances, distances, distances))
def test_centerness_is_symmetric(ltrb: tuple[float, ...]) -> None:
    left, top, right, bottom = ltrb
    value = centerness(torch.tensor(ltrb))
    torch.testing.assert_close(centerness(torch.tensor([right, top, left, bottom])), value, rtol=0, atol=0)
    torch.testing.assert_close(centerness(torch.tensor([left, bottom, right, top])), value, rtol=0, atol=0)
    torch.testing.assert_close(centerness(torch.tensor([top, left, bottom, right])), value)


def test_centerness_equals_the_papers_formula() -> None:
    # sqrt(2/8 * 4/4)
    torch.testing.assert_close(centerness(torch.tensor([2.0, 4.0, 8.0, 4.0])), torch.tensor(0.5))


@pytest.mark.parametrize(
    "ltrb",
    [[0, 0, 0, 0], [0, 5, 10, 5], [-1, 5, 10, 5], [-1, -1, 10, 10], [-2, -2, -2, -2], [0, 0, 0, 3]],
)
def test_centerness_is_zero_on_edges_outside_and_in_empty_boxes(ltrb: list[float]) -> None:
    assert centerness(torch.tensor(ltrb, dtype=torch.float32)) == 0


def test_areas_count_end_pixels_only_if_inclusive() -> None:
    boxes = torch.tensor([[10.0, 20.0, 13.0, 24.0], [5.0, 5.0, 5.0, 5.0]])
    torch.testing.assert_close(areas(boxes, "plain"), torch.tensor([12.0, 0.0]))
    torch.testing.assert_close(areas(boxes, "inclusive"), torch.tensor([20.0, 1.0]))


@given(st.tuples(pixels, pixels, distances, distances))
def test_the_area_of_a_box_does_not_depend_on_the_order_of_its_axes(box: tuple[float, ...]) -> None:
    x, y, width, height = (torch.tensor(value) for value in box)
    boxes: Tensor = torch.stack((x, y, x + width, y + height))
    torch.testing.assert_close(areas(boxes, "plain"), areas(boxes[[1, 0, 3, 2]], "plain"))
