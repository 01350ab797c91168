"""The assignment is the paper's: checked against a plain matrix of all locations and boxes."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from fcos import assign as assign_module
from fcos.assign import assign
from fcos.geometry import areas, locations, ltrb_from_boxes
from fcos.structures import NO_OBJECT, Locations, Targets

CPU = torch.device("cpu")
RANGES = ((0.0, 32.0), (32.0, 64.0), (64.0, None))
STRIDES = (8, 16, 32)


def pyramid(height: int = 128, width: int = 160, kind: str = "half_stride", strides=STRIDES) -> Locations:
    shapes = tuple((-(-height // s), -(-width // s)) for s in strides)
    return locations(shapes, strides, (height, width), kind, CPU)


def targets_of(*images: list[list[float]], labels: list[list[int]] | None = None) -> Targets:
    most = max(1, *(len(boxes) for boxes in images))
    padded = torch.zeros(len(images), most, 4)
    valid = torch.zeros(len(images), most, dtype=torch.bool)
    classes = torch.zeros(len(images), most, dtype=torch.long)
    for row, boxes in enumerate(images):
        if boxes:
            padded[row, : len(boxes)] = torch.tensor(boxes)
            valid[row, : len(boxes)] = True
            classes[row, : len(boxes)] = torch.tensor(labels[row]) if labels else torch.arange(len(boxes))
    return Targets(padded, classes, valid)


def by_matrix(targets: Targets, places: Locations, ranges, ends, radius, corners="plain") -> Tensor:
    """Every location against every box, image by image, as the paper says it."""
    matched = []
    sizes = [rows * columns for rows, columns in places.shapes]
    low = torch.cat([torch.full((n,), r[0]) for n, r in zip(sizes, ranges, strict=True)])
    high = torch.cat([torch.full((n,), math.inf if r[1] is None else r[1]) for n, r in zip(sizes, ranges, strict=True)])
    for boxes, valid in zip(targets.boxes, targets.valid, strict=True):
        ltrb = torch.stack([ltrb_from_boxes(places.xy, box.expand(len(places.xy), 4)) for box in boxes], dim=1)
        admitted = (ltrb.amin(-1) > 0) & valid
        far = ltrb.amax(-1)
        if ends == "closed":
            admitted &= (far >= low[:, None]) & (far <= high[:, None])
        else:
            admitted &= (far > low[:, None]) & (far < high[:, None])
        if radius is not None:
            centers = (boxes[:, :2] + boxes[:, 2:]) / 2
            apart = (places.xy[:, None] - centers).abs().amax(-1)
            admitted &= apart < radius * places.strides[:, None]
        area = areas(boxes, corners).expand_as(admitted).masked_fill(~admitted, math.inf)
        smallest, index = area.min(1)
        matched.append(index.masked_fill(smallest.isinf(), NO_OBJECT))
    return torch.stack(matched)


# Quarter pixels are exact in float32, and meet range ends and locations exactly.
coordinate = st.integers(-40, 700).map(lambda n: n / 4)
box = st.tuples(coordinate, coordinate, st.integers(0, 600), st.integers(0, 600)).map(
    lambda b: [b[0], b[1], b[0] + b[2] / 4, b[1] + b[3] / 4]
)


@settings(max_examples=150, deadline=None)
@given(
    images=st.lists(st.lists(box, max_size=12), min_size=1, max_size=3),
    ends=st.sampled_from(["closed", "open"]),
    radius=st.sampled_from([None, 0.5, 1.0, 1.5, 2.5]),
    kind=st.sampled_from(["half_stride", "torchvision"]),
    size=st.sampled_from([(128, 160), (96, 128), (130, 70)]),
    corners=st.sampled_from(["plain", "inclusive"]),
)
def test_windows_find_what_the_whole_matrix_finds(images, ends, radius, kind, size, corners) -> None:
    places, targets = pyramid(*size, kind), targets_of(*images)
    found = assign(targets, places, ranges=RANGES, ends=ends, center_sampling_radius=radius, corners=corners)
    torch.testing.assert_close(found.matched, by_matrix(targets, places, RANGES, ends, radius, corners))


def test_windows_in_parts_find_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    places = pyramid()
    targets = targets_of([[10, 10, 90, 80], [12, 14, 60, 70], [0, 0, 160, 128], [30, 30, 50, 44]])
    whole = assign(targets, places, ranges=RANGES, ends="closed", center_sampling_radius=None)
    monkeypatch.setattr(assign_module, "CPU_BUDGET", 1)
    parts = assign(targets, places, ranges=RANGES, ends="closed", center_sampling_radius=None)
    torch.testing.assert_close(parts.matched, whole.matched)
    assert whole.positive.any()


def test_no_boxes_match_nothing() -> None:
    found = assign(targets_of([], []), pyramid(), ranges=RANGES, ends="closed", center_sampling_radius=1.5)
    assert not found.positive.any()
    assert (found.labels == NO_OBJECT).all()
    torch.testing.assert_close(found.ltrb, torch.ones_like(found.ltrb))
    assert found.centerness.sum() == 0


def test_a_batch_without_room_for_boxes_matches_nothing() -> None:
    empty = Targets(torch.zeros(2, 0, 4), torch.zeros(2, 0, dtype=torch.long), torch.zeros(2, 0, dtype=torch.bool))
    found = assign(empty, pyramid(), ranges=RANGES, ends="closed", center_sampling_radius=None)
    assert not found.positive.any()


def test_one_box_gives_targets_at_its_locations() -> None:
    places = pyramid()
    found = assign(
        targets_of([[10, 10, 30, 30]], labels=[[4]]),
        places,
        ranges=RANGES,
        ends="closed",
        center_sampling_radius=None,
    )
    index = found.positive[0].nonzero().flatten()
    inside = ((places.xy > 10) & (places.xy < 30)).all(1) & (places.strides == 8)
    torch.testing.assert_close(index, inside.nonzero().flatten())
    assert (found.labels[0, index] == 4).all()
    center = (places.xy == 20).all(1) & (places.strides == 8)
    torch.testing.assert_close(found.ltrb[0, center], torch.tensor([[10.0, 10, 10, 10]]))
    torch.testing.assert_close(found.centerness[0, center], torch.tensor([1.0]))


def test_the_smaller_box_wins_even_where_float32_could_not_tell_large_areas_apart() -> None:
    # 1e8 - area, as others compute it, is the same number for both: float32 steps by 8 there.
    large, small = [10.0, 10, 30, 30], [10.0, 10, 30, 29.75]
    for boxes, winner in (([large, small], 1), ([small, large], 0)):
        found = assign(targets_of(boxes), pyramid(), ranges=RANGES, ends="closed", center_sampling_radius=None)
        assert found.matched.max() == found.matched[found.positive].min() == winner


def test_equal_areas_go_to_the_first_box() -> None:
    boxes = [[10.0, 10, 30, 30]] * 3
    found = assign(targets_of(boxes), pyramid(), ranges=RANGES, ends="closed", center_sampling_radius=None)
    assert found.matched.max() == 0 and found.positive.any()


def test_a_location_at_the_end_of_a_range_is_in_both_levels_if_closed_and_in_none_if_open() -> None:
    # From (20, 20) the right edge is exactly 32 px away, from (24, 24) and (16, 16) as well by symmetry.
    places = pyramid()
    center = (places.xy == 20).all(1) & (places.strides == 8)
    targets = targets_of([[8, 8, 52, 52]])
    for ends, expected in (("closed", True), ("open", False)):
        found = assign(targets, places, ranges=RANGES, ends=ends, center_sampling_radius=None)
        assert bool(found.positive[0, center]) is expected


def test_a_batch_is_its_images() -> None:
    generator = torch.Generator().manual_seed(0)
    corner = torch.rand(3, 9, 2, generator=generator) * 100
    boxes = torch.cat((corner, corner + torch.rand(3, 9, 2, generator=generator) * 60), dim=-1)
    valid = torch.rand(3, 9, generator=generator) > 0.3
    targets = Targets(boxes, torch.arange(27).view(3, 9), valid)
    options = {"ranges": RANGES, "ends": "closed", "center_sampling_radius": 1.5}
    together = assign(targets, pyramid(), **options)
    for image in range(3):
        part = slice(image, image + 1)
        alone = assign(Targets(boxes[part], targets.labels[part], valid[part]), pyramid(), **options)
        torch.testing.assert_close(alone.matched, together.matched[part])
        torch.testing.assert_close(alone.ltrb, together.ltrb[part])
        torch.testing.assert_close(alone.labels, together.labels[part])


def test_any_number_of_levels() -> None:
    places = pyramid(strides=(16,))
    targets = targets_of([[10, 10, 90, 80], [12, 14, 60, 70]])
    found = assign(targets, places, ranges=((0.0, None),), ends="closed", center_sampling_radius=None)
    torch.testing.assert_close(found.matched, by_matrix(targets, places, ((0.0, None),), "closed", None))
