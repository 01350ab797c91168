"""FCOS's assignment equals the papers' definition, evaluated on the whole matrix of locations and boxes."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from fcos.assignment import fcos as fcos_module
from fcos.assignment.fcos import assign_fcos, match_fcos
from fcos.assignment.level_rules import fpn_ranges
from fcos.config.choices import Ends, LevelRule, TieBreak
from fcos.geometry import areas, ltrb_from_boxes
from fcos.structures import NO_OBJECT, Locations, Targets
from tests.helpers.detections.pyramids import RANGES, box, fcos_rule, in_range, pyramid, targets_of


def by_matrix(targets: Targets, locations: Locations, ranges, ends, radius, box_convention="plain",
              rule="longest_offset", tie_break="smallest_area") -> Tensor:  # fmt: skip
    """Match every location with every box, image by image, by the papers' definition."""
    matched = []
    sizes = [rows * columns for rows, columns in locations.shapes]
    low = torch.cat([torch.full((n,), r[0]) for n, r in zip(sizes, ranges, strict=True)])
    high = torch.cat([torch.full((n,), math.inf if r[1] is None else r[1]) for n, r in zip(sizes, ranges, strict=True)])
    for boxes, valid in zip(targets.boxes, targets.valid, strict=True):
        ltrb = torch.stack([ltrb_from_boxes(locations.xy, box.expand(len(locations.xy), 4)) for box in boxes], dim=1)
        is_candidate = (ltrb.amin(-1) > 0) & valid
        is_candidate &= in_range(rule, ltrb.amax(-1), boxes, low, high, ends)
        if radius is not None:
            centers = (boxes[:, :2] + boxes[:, 2:]) / 2
            distance = (locations.xy[:, None] - centers).abs().amax(-1)
            is_candidate &= distance < radius * locations.strides[:, None]
        if tie_break == "smallest_area":
            order = areas(boxes, box_convention).expand_as(is_candidate)
        else:
            order = (locations.xy[:, None] - (boxes[:, :2] + boxes[:, 2:]) / 2).square().sum(-1)
        smallest, index = order.masked_fill(~is_candidate, math.inf).min(1)
        matched.append(index.masked_fill(smallest.isinf(), NO_OBJECT))
    return torch.stack(matched)


# Boxes in quarter pixels are exact in float32, and meet range ends and locations exactly.
@settings(max_examples=150)
@given(
    images=st.lists(st.lists(box, max_size=12), min_size=1, max_size=3),
    ends=st.sampled_from(["closed", "open"]),
    radius=st.sampled_from([None, 0.5, 1.0, 1.5, 2.5]),
    kind=st.sampled_from(["half_stride", "torchvision"]),
    size=st.sampled_from([(128, 160), (96, 128), (130, 70)]),
    box_convention=st.sampled_from(["plain", "inclusive"]),
)
def test_windows_match_like_the_whole_matrix(images, ends, radius, kind, size: tuple[int, int], box_convention) -> None:
    locations, targets = pyramid(*size, kind), targets_of(*images)
    assignment = assign_fcos(targets, locations, fcos_rule(ends, radius, corners=box_convention))
    torch.testing.assert_close(assignment.matched, by_matrix(targets, locations, RANGES, ends, radius, box_convention))


@settings(max_examples=100)
@given(
    images=st.lists(st.lists(box, max_size=8), min_size=1, max_size=2),
    ends=st.sampled_from(["closed", "open"]),
    radius=st.sampled_from([None, 0.5, 1.5]),
    level_rule=st.sampled_from(["longest_offset", "longer_side", "sqrt_area"]),
    tie_break=st.sampled_from(["smallest_area", "closest_center"]),
)
def test_other_level_rules_and_tie_breaks_match_like_the_whole_matrix(
    images, ends, radius, level_rule, tie_break
) -> None:
    locations, targets = pyramid(), targets_of(*images)
    matched = match_fcos(targets, locations, fcos_rule(ends, radius, level_rule=level_rule, tie_break=tie_break))
    expected = by_matrix(targets, locations, RANGES, ends, radius, "plain", level_rule, tie_break)
    torch.testing.assert_close(matched, expected)


@settings(max_examples=60)
@given(images=st.lists(st.lists(box, max_size=8), min_size=1, max_size=2), radius=st.sampled_from([None, 1.5]))
def test_fpn_rule_assigns_each_box_to_one_level(images, radius) -> None:
    """The level is floor(k0 + log2(sqrt(area) / 224)), clamped to the levels there are."""
    locations, targets = pyramid(), targets_of(*images)
    matched = match_fcos(targets, locations, fcos_rule("open", radius, level_rule="fpn"))
    width, height = (targets.boxes[..., 2:] - targets.boxes[..., :2]).unbind(-1)
    level = torch.floor(5 + torch.log2((width * height).sqrt().clamp(min=1e-6) / 224)).clamp(3, 5)
    expected = torch.full_like(matched, NO_OBJECT)
    for number, stride in ((3, 8), (4, 16), (5, 32)):
        on_level = Targets(targets.boxes, targets.labels, targets.valid & (level == number))
        matched_on_level = by_matrix(on_level, locations, ((0.0, None),) * 3, "open", radius)
        expected = torch.where(locations.strides == stride, matched_on_level, expected)
    torch.testing.assert_close(matched, expected)


def test_fpn_ranges_equal_the_papers() -> None:
    assert fpn_ranges((8, 16, 32, 64, 128)) == ((0, 112), (112, 224), (224, 448), (448, 896), (896, None))


def test_closest_center_wins_and_the_first_of_equals() -> None:
    locations = pyramid()
    # Both boxes hold (20, 20); the center of the larger one is closer.
    small, large = [12.0, 12, 34, 34], [4.0, 4, 37, 37]
    here = (locations.xy == 20).all(1) & (locations.strides == 8)
    for boxes, winner in (([small, large], 1), ([large, small], 0), ([large, large], 0)):
        matched = match_fcos(targets_of(boxes), locations, fcos_rule(tie_break="closest_center"))
        assert matched[0, here] == winner


def test_random_tie_break_picks_any_candidate() -> None:
    torch.manual_seed(0)
    locations, targets = pyramid(), targets_of([[10.0, 10, 30, 30], [11.0, 11, 29, 29]])
    positive = by_matrix(targets, locations, RANGES, "closed", None) != NO_OBJECT
    draws = [match_fcos(targets, locations, fcos_rule(tie_break="random")) for _ in range(20)]
    assert all(torch.equal(each != NO_OBJECT, positive) for each in draws)
    assert {int(each.max()) for each in draws} == {0, 1}


@pytest.mark.parametrize("level_rule", ["longest_offset", "longer_side", "sqrt_area", "fpn"])
@pytest.mark.parametrize("tie_break", ["smallest_area", "closest_center", "random"])
def test_no_boxes_match_nothing_under_any_rule(level_rule: LevelRule, tie_break: TieBreak) -> None:
    empty = Targets(torch.zeros(2, 0, 4), torch.zeros(2, 0, dtype=torch.long), torch.zeros(2, 0, dtype=torch.bool))
    for targets in (empty, targets_of([], [])):
        config = fcos_rule(level_rule=level_rule, tie_break=tie_break)
        assert (match_fcos(targets, pyramid(), config) == NO_OBJECT).all()


def test_matching_in_small_chunks_equals_matching_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    locations = pyramid()
    targets = targets_of([[10, 10, 90, 80], [12, 14, 60, 70], [0, 0, 160, 128], [30, 30, 50, 44]])
    whole = assign_fcos(targets, locations, fcos_rule())
    monkeypatch.setattr(fcos_module, "CPU_BUDGET", 1)
    parts = assign_fcos(targets, locations, fcos_rule())
    torch.testing.assert_close(parts.matched, whole.matched)
    assert whole.positive.any()


def test_no_boxes_match_nothing() -> None:
    assignment = assign_fcos(targets_of([], []), pyramid(), fcos_rule(radius=1.5))
    assert not assignment.positive.any()
    assert (assignment.labels == NO_OBJECT).all()
    torch.testing.assert_close(assignment.ltrb, torch.ones_like(assignment.ltrb))
    assert assignment.centerness.sum() == 0


def test_a_batch_padded_to_zero_boxes_matches_nothing() -> None:
    empty = Targets(torch.zeros(2, 0, 4), torch.zeros(2, 0, dtype=torch.long), torch.zeros(2, 0, dtype=torch.bool))
    assignment = assign_fcos(empty, pyramid(), fcos_rule())
    assert not assignment.positive.any()


def test_one_box_gives_targets_at_its_locations() -> None:
    locations = pyramid()
    assignment = assign_fcos(targets_of([[10, 10, 30, 30]], labels=[[4]]), locations, fcos_rule())
    index = assignment.positive[0].nonzero().flatten()
    inside = ((locations.xy > 10) & (locations.xy < 30)).all(1) & (locations.strides == 8)
    torch.testing.assert_close(index, inside.nonzero().flatten())
    assert (assignment.labels[0, index] == 4).all()
    center = (locations.xy == 20).all(1) & (locations.strides == 8)
    torch.testing.assert_close(assignment.ltrb[0, center], torch.tensor([[10.0, 10, 10, 10]]))
    torch.testing.assert_close(assignment.centerness[0, center], torch.tensor([1.0]))


def test_the_smaller_box_wins_where_large_areas_are_equal_in_float32() -> None:
    # 1e8 - area, as other implementations compute it, is equal for both: float32 steps by 8 there.
    large, small = [10.0, 10, 30, 30], [10.0, 10, 30, 29.75]
    for boxes, winner in (([large, small], 1), ([small, large], 0)):
        assignment = assign_fcos(targets_of(boxes), pyramid(), fcos_rule())
        assert assignment.matched.max() == assignment.matched[assignment.positive].min() == winner


def test_equal_areas_go_to_the_first_box() -> None:
    boxes = [[10.0, 10, 30, 30]] * 3
    assignment = assign_fcos(targets_of(boxes), pyramid(), fcos_rule())
    assert assignment.matched.max() == 0 and assignment.positive.any()


def test_a_location_at_the_end_of_a_range_is_in_both_levels_if_closed_and_in_none_if_open() -> None:
    # From (20, 20) the right edge is exactly 32 px away, from (24, 24) and (16, 16) as well by symmetry.
    locations = pyramid()
    center = (locations.xy == 20).all(1) & (locations.strides == 8)
    targets = targets_of([[8, 8, 52, 52]])
    positive: dict[Ends, bool] = {"closed": True, "open": False}
    for ends, expected in positive.items():
        assignment = assign_fcos(targets, locations, fcos_rule(ends))
        assert bool(assignment.positive[0, center]) is expected


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
def test_batch_equals_single_images(rules: dict[str, str]) -> None:
    generator = torch.Generator().manual_seed(0)
    corner = torch.rand(3, 9, 2, generator=generator) * 100
    boxes = torch.cat((corner, corner + torch.rand(3, 9, 2, generator=generator) * 60), dim=-1)
    valid = torch.rand(3, 9, generator=generator) > 0.3
    targets = Targets(boxes, torch.arange(27).view(3, 9), valid)
    config = fcos_rule(radius=1.5, **rules)
    batched = assign_fcos(targets, pyramid(), config)
    for image in range(3):
        part = slice(image, image + 1)
        single = assign_fcos(Targets(boxes[part], targets.labels[part], valid[part]), pyramid(), config)
        torch.testing.assert_close(single.matched, batched.matched[part])
        torch.testing.assert_close(single.ltrb, batched.ltrb[part])
        torch.testing.assert_close(single.labels, batched.labels[part])


def test_a_single_level_works() -> None:
    locations = pyramid(strides=(16,))
    targets = targets_of([[10, 10, 90, 80], [12, 14, 60, 70]])
    assignment = assign_fcos(targets, locations, fcos_rule(ranges=((0.0, None),)))
    torch.testing.assert_close(assignment.matched, by_matrix(targets, locations, ((0.0, None),), "closed", None))
