"""The assignment is the paper's: checked against a plain matrix of all locations and boxes."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from fcos.assignment import fcos as assign_module
from fcos.assignment.fcos import assign, match
from fcos.assignment.level_rules import fpn_ranges
from fcos.geometry import areas, ltrb_from_boxes
from fcos.structures import NO_OBJECT, Locations, Targets
from tests.helpers.pyramids import RANGES, box, in_range, pyramid, targets_of


def by_matrix(targets: Targets, places: Locations, ranges, ends, radius, box_convention="plain", rule="longest_offset",
              tie_break="smallest_area") -> Tensor:  # fmt: skip
    """Every location against every box, image by image, as the paper says it."""
    matched = []
    sizes = [rows * columns for rows, columns in places.shapes]
    low = torch.cat([torch.full((n,), r[0]) for n, r in zip(sizes, ranges, strict=True)])
    high = torch.cat([torch.full((n,), math.inf if r[1] is None else r[1]) for n, r in zip(sizes, ranges, strict=True)])
    for boxes, valid in zip(targets.boxes, targets.valid, strict=True):
        ltrb = torch.stack([ltrb_from_boxes(places.xy, box.expand(len(places.xy), 4)) for box in boxes], dim=1)
        admitted = (ltrb.amin(-1) > 0) & valid
        admitted &= in_range(rule, ltrb.amax(-1), boxes, low, high, ends)
        if radius is not None:
            centers = (boxes[:, :2] + boxes[:, 2:]) / 2
            apart = (places.xy[:, None] - centers).abs().amax(-1)
            admitted &= apart < radius * places.strides[:, None]
        if tie_break == "smallest_area":
            order = areas(boxes, box_convention).expand_as(admitted)
        else:
            order = (places.xy[:, None] - (boxes[:, :2] + boxes[:, 2:]) / 2).square().sum(-1)
        smallest, index = order.masked_fill(~admitted, math.inf).min(1)
        matched.append(index.masked_fill(smallest.isinf(), NO_OBJECT))
    return torch.stack(matched)


# Quarter pixels are exact in float32, and meet range ends and locations exactly.


@settings(max_examples=150)
@given(
    images=st.lists(st.lists(box, max_size=12), min_size=1, max_size=3),
    ends=st.sampled_from(["closed", "open"]),
    radius=st.sampled_from([None, 0.5, 1.0, 1.5, 2.5]),
    kind=st.sampled_from(["half_stride", "torchvision"]),
    size=st.sampled_from([(128, 160), (96, 128), (130, 70)]),
    box_convention=st.sampled_from(["plain", "inclusive"]),
)
def test_windows_find_what_the_whole_matrix_finds(images, ends, radius, kind, size, box_convention) -> None:
    places, targets = pyramid(*size, kind), targets_of(*images)
    found = assign(
        targets, places, ranges=RANGES, ends=ends, center_sampling_radius=radius, box_convention=box_convention
    )
    torch.testing.assert_close(found.matched, by_matrix(targets, places, RANGES, ends, radius, box_convention))


@settings(max_examples=100)
@given(
    images=st.lists(st.lists(box, max_size=8), min_size=1, max_size=2),
    ends=st.sampled_from(["closed", "open"]),
    radius=st.sampled_from([None, 0.5, 1.5]),
    rule=st.sampled_from(["longest_offset", "longer_side", "sqrt_area"]),
    tie_break=st.sampled_from(["smallest_area", "closest_center"]),
)
def test_other_rules_find_what_the_whole_matrix_finds(images, ends, radius, rule, tie_break) -> None:
    places, targets = pyramid(), targets_of(*images)
    found = match(targets, places, RANGES, ends, radius, "plain", rule, tie_break)
    torch.testing.assert_close(found, by_matrix(targets, places, RANGES, ends, radius, "plain", rule, tie_break))


@settings(max_examples=60)
@given(images=st.lists(st.lists(box, max_size=8), min_size=1, max_size=2), radius=st.sampled_from([None, 1.5]))
def test_fpns_rule_gives_each_box_one_level(images, radius) -> None:
    """floor(k0 + log2(sqrt(area) / 224)), held to the levels there are; radius and inside as ever."""
    places, targets = pyramid(), targets_of(*images)
    found = match(targets, places, RANGES, "open", radius, "plain", "fpn")
    width, height = (targets.boxes[..., 2:] - targets.boxes[..., :2]).unbind(-1)
    level = torch.floor(5 + torch.log2((width * height).sqrt().clamp(min=1e-6) / 224)).clamp(3, 5)
    alone = torch.full_like(found, NO_OBJECT)
    for number, stride in ((3, 8), (4, 16), (5, 32)):
        here = Targets(targets.boxes, targets.labels, targets.valid & (level == number))
        of_level = by_matrix(here, places, ((0.0, None),) * 3, "open", radius)
        alone = torch.where(places.strides == stride, of_level, alone)
    torch.testing.assert_close(found, alone)


def test_fpns_sizes_are_those_of_its_paper() -> None:
    assert fpn_ranges((8, 16, 32, 64, 128)) == ((0, 112), (112, 224), (224, 448), (448, 896), (896, None))


def test_the_closest_center_wins_and_of_equals_the_first() -> None:
    places = pyramid()
    # Both hold (20, 20); the center of the larger one is closer.
    small, large = [12.0, 12, 34, 34], [4.0, 4, 37, 37]
    here = (places.xy == 20).all(1) & (places.strides == 8)
    for boxes, winner in (([small, large], 1), ([large, small], 0), ([large, large], 0)):
        found = match(targets_of(boxes), places, RANGES, "closed", None, "plain", "longest_offset", "closest_center")
        assert found[0, here] == winner


def test_a_random_box_of_those_that_claim_a_location_wins() -> None:
    torch.manual_seed(0)
    places, targets = pyramid(), targets_of([[10.0, 10, 30, 30], [11.0, 11, 29, 29]])
    both = by_matrix(targets, places, RANGES, "closed", None) != NO_OBJECT
    winners = [match(targets, places, RANGES, "closed", None, "plain", "longest_offset", "random") for _ in range(20)]
    assert all(torch.equal(each != NO_OBJECT, both) for each in winners)
    assert {int(each.max()) for each in winners} == {0, 1}


@pytest.mark.parametrize("rule", ["longest_offset", "longer_side", "sqrt_area", "fpn"])
@pytest.mark.parametrize("tie_break", ["smallest_area", "closest_center", "random"])
def test_no_rule_makes_anything_of_no_boxes(rule: str, tie_break: str) -> None:
    empty = Targets(torch.zeros(2, 0, 4), torch.zeros(2, 0, dtype=torch.long), torch.zeros(2, 0, dtype=torch.bool))
    for targets in (empty, targets_of([], [])):
        assert (match(targets, pyramid(), RANGES, "closed", None, "plain", rule, tie_break) == NO_OBJECT).all()


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


@pytest.mark.parametrize(
    "rules",
    [
        {},
        {"level_rule": "longer_side"},
        {"level_rule": "sqrt_area"},
        {"level_rule": "fpn"},
        {"tie_break": "closest_center"},
    ],
)
def test_a_batch_is_its_images(rules: dict[str, str]) -> None:
    generator = torch.Generator().manual_seed(0)
    corner = torch.rand(3, 9, 2, generator=generator) * 100
    boxes = torch.cat((corner, corner + torch.rand(3, 9, 2, generator=generator) * 60), dim=-1)
    valid = torch.rand(3, 9, generator=generator) > 0.3
    targets = Targets(boxes, torch.arange(27).view(3, 9), valid)
    options = {"ranges": RANGES, "ends": "closed", "center_sampling_radius": 1.5, **rules}
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
