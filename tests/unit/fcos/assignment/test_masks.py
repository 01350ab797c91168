"""With positives=mask only locations on an object's mask are positive; checked box by box and location by location."""

import re
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from fcos.assignment.build import build_assign
from fcos.assignment.fcos import assign_fcos, fcos_candidates, match_fcos
from fcos.assignment.masks import pairs_on_mask
from fcos.build import build_oracle_targets
from fcos.config.inactive_keys import why_inactive
from fcos.config.model_parts import AssignmentConfig, PostprocessConfig
from fcos.config.parse import parse, set_value
from fcos.config.run import Config
from fcos.data.prepare import splits_with_masks
from fcos.device import to_device
from fcos.errors import ConfigError
from fcos.geometry import areas, compute_locations
from fcos.structures import NO_OBJECT, Batch, HeadOutputs, Targets
from fcos.studies.draw_assignment import assignment_picture
from tests.helpers.detections.pyramids import RANGES, fcos_rule
from tests.helpers.present import present

LOCATIONS = compute_locations(((12, 16), (6, 8), (3, 4)), (8, 16, 32), (96, 128), "half_stride", torch.device("cpu"))
SIDE = 8


def targets_of(*images: list[list[float]], masks: str = "random") -> Targets:
    most = max(1, *map(len, images))
    boxes, valid = torch.zeros(len(images), most, 4), torch.zeros(len(images), most, dtype=torch.bool)
    for row, image in enumerate(images):
        boxes[row, : len(image)], valid[row, : len(image)] = torch.tensor(image).view(-1, 4), True
    shape = (*valid.shape, SIDE, SIDE)
    generator = torch.Generator().manual_seed(sum(map(len, images)))
    masks_by_kind = {
        "random": torch.rand(shape, generator=generator) > 0.4,
        "whole": torch.ones(shape, dtype=torch.bool),
        "none": torch.zeros(shape, dtype=torch.bool),
    }
    return Targets(boxes, torch.arange(most).expand(valid.shape).clone(), valid, masks_by_kind[masks])


def match_box_by_box(targets: Targets, ends: Any, radius: float | None) -> Tensor:
    """Match each box alone without masks; at each location on a box's mask the smallest such box is taken."""
    assert targets.masks is not None
    matched = torch.full((len(targets.valid), len(LOCATIONS.xy)), NO_OBJECT)
    for image, valid in enumerate(targets.valid):
        area = areas(targets.boxes[image], "plain").tolist()
        # The smallest box comes last and overwrites the others, of equals the first.
        for box in sorted(valid.nonzero().flatten().tolist(), key=lambda m: (-area[m], -m)):
            part = slice(image, image + 1), slice(box, box + 1)
            single = Targets(targets.boxes[part], targets.labels[part], targets.valid[part])
            is_candidate = match_fcos(single, LOCATIONS, fcos_rule(ends, radius))[0] != NO_OBJECT
            x1, y1, x2, y2 = targets.boxes[image, box].tolist()
            for index in is_candidate.nonzero().flatten().tolist():
                x, y = LOCATIONS.xy[index].tolist()
                row, column = int((y - y1) / (y2 - y1) * SIDE), int((x - x1) / (x2 - x1) * SIDE)
                if targets.masks[image, box, row, column]:
                    matched[image, index] = box
    return matched


# Quarter pixels meet the borders of eight cells exactly, in float32 too.
coordinate = st.integers(-40, 400).map(lambda n: n / 4)
length = st.integers(0, 600).map(lambda n: n / 4)
box = st.tuples(coordinate, coordinate, length, length).map(lambda b: [b[0], b[1], b[0] + b[2], b[1] + b[3]])
images_of_boxes = st.lists(st.lists(box, max_size=6), min_size=1, max_size=3)
radii = st.sampled_from([None, 0.5, 1.5])


@settings(max_examples=40)
@given(images=images_of_boxes, ends=st.sampled_from(["closed", "open"]), radius=radii)
def test_positive_locations_lie_on_the_mask_of_their_box(images, ends, radius) -> None:
    targets = targets_of(*images)
    matched = match_fcos(targets, LOCATIONS, fcos_rule(ends, radius))
    torch.testing.assert_close(matched, match_box_by_box(targets, ends, radius))


@settings(max_examples=60)
@given(
    images=images_of_boxes,
    radius=radii,
    rule=st.sampled_from(["longest_offset", "longer_side", "sqrt_area", "fpn"]),
    tie_break=st.sampled_from(["smallest_area", "closest_center"]),
)
def test_masks_of_whole_boxes_change_nothing(images, radius, rule, tie_break) -> None:
    targets = targets_of(*images, masks="whole")
    matched, matched_without_masks = (
        match_fcos(case, LOCATIONS, fcos_rule(radius=radius, level_rule=rule, tie_break=tie_break))
        for case in (targets, replace(targets, masks=None))
    )
    assert torch.equal(matched, matched_without_masks)


@settings(max_examples=40)
@given(image=st.lists(box, min_size=1, max_size=6), radius=radii)
def test_candidate_pairs_on_masks_cover_the_positive_locations(image, radius) -> None:
    targets = targets_of(image)
    pairs = fcos_candidates(targets.boxes[0], LOCATIONS, RANGES, "closed", radius)
    keep = pairs_on_mask(present(targets.masks)[0], targets.boxes[0], LOCATIONS.xy, *pairs)
    is_candidate = torch.zeros(len(LOCATIONS.xy), dtype=torch.bool)
    is_candidate[pairs[1][keep]] = True
    assert torch.equal(match_fcos(targets, LOCATIONS, fcos_rule(radius=radius))[0] != NO_OBJECT, is_candidate)


def test_one_box_is_positive_on_its_mask_only() -> None:
    targets = targets_of([[8.0, 8, 40, 40]], masks="none")
    present(targets.masks)[0, 0, :, : SIDE // 2] = True
    assignment = assign_fcos(targets, LOCATIONS, fcos_rule())
    on_mask = (
        (LOCATIONS.xy[:, 0] > 8) & (LOCATIONS.xy[:, 0] < 24) & (LOCATIONS.xy[:, 1] > 8) & (LOCATIONS.xy[:, 1] < 40)
    )
    assert torch.equal(assignment.positive[0], on_mask & (LOCATIONS.strides == 8))
    # Distances are still those to the box's sides.
    here = (LOCATIONS.xy == torch.tensor([12.0, 12.0])).all(1) & (LOCATIONS.strides == 8)
    torch.testing.assert_close(assignment.ltrb[0, here], torch.tensor([[4.0, 4, 28, 28]]))


def test_locations_off_one_mask_go_to_the_next_box() -> None:
    twice = [[8.0, 8, 40, 40]] * 2
    targets = targets_of(twice, masks="whole")
    present(targets.masks)[0, 0, : SIDE // 2] = False
    matched = match_fcos(targets, LOCATIONS, fcos_rule())[0]
    upper = LOCATIONS.xy[:, 1] < 24
    assert set(matched[upper].tolist()) == {NO_OBJECT, 1} and set(matched[~upper].tolist()) == {NO_OBJECT, 0}


def test_center_sampling_and_masks_combine() -> None:
    targets = targets_of([[0.0, 0, 64, 64]], masks="whole")
    present(targets.masks)[0, 0, :, : SIDE // 2] = False
    near, mask, both = (
        assign_fcos(each, LOCATIONS, fcos_rule(radius=radius)).positive
        for each, radius in ((replace(targets, masks=None), 1.5), (targets, None), (targets, 1.5))
    )
    assert torch.equal(both, near & mask)
    assert both.any() and near.sum() > both.sum() < mask.sum()


def test_an_object_without_locations_on_its_mask_is_unassigned() -> None:
    targets = targets_of([[8.0, 8, 40, 40], [60, 20, 90, 70]], masks="none")
    assert not assign_fcos(targets, LOCATIONS, fcos_rule()).positive.any()


@pytest.mark.parametrize("boxes", [0, 3])
def test_no_boxes_match_nothing(boxes: int) -> None:
    nothing = Targets(
        torch.zeros(2, boxes, 4), torch.zeros(2, boxes).long(), torch.zeros(2, boxes).bool(),
        torch.ones(2, boxes, SIDE, SIDE).bool(),
    )  # fmt: skip
    assert not assign_fcos(nothing, LOCATIONS, fcos_rule()).positive.any()


def test_batch_equals_single_images() -> None:
    images: list[list[list[float]]] = [[[8.0, 8, 40, 40], [20.0, 12, 90, 70]], [[3.0, 3, 100, 90]], []]
    targets = targets_of(*images)
    batched = assign_fcos(targets, LOCATIONS, fcos_rule(radius=1.5))
    for image in range(3):
        single = Targets(*(column[image : image + 1] for column in vars(targets).values()))
        single_assignment = assign_fcos(single, LOCATIONS, fcos_rule(radius=1.5))
        assert torch.equal(single_assignment.matched, batched.matched[image : image + 1])
        assert torch.equal(single_assignment.ltrb, batched.ltrb[image : image + 1])


def test_to_device_moves_masks() -> None:
    moved = to_device(targets_of([[8.0, 8, 40, 40]]), torch.device("meta"))
    assert present(moved.masks).device.type == moved.boxes.device.type == "meta"
    assert to_device(replace(moved, masks=None), torch.device("meta")).masks is None


def with_masks(values: dict[str, Any], **changes: Any) -> Config:
    for key, value in {"positives": "mask", **changes}.items():
        values = set_value(values, f"model.assignment.{key}", value)
    return parse(Config, values)


def test_only_kind_fcos_uses_masks(tiny_values: dict[str, Any]) -> None:
    assert not parse(Config, tiny_values).model.assignment.by_masks
    assert with_masks(tiny_values).model.assignment.by_masks
    other = with_masks(tiny_values, kind="atss")
    assert not other.model.assignment.by_masks
    assert why_inactive(other, "model.assignment.positives") == "model.assignment.kind=atss"
    with pytest.raises(ConfigError, match=r"model\.assignment\.positives='masks'.*'mask'"):
        with_masks(tiny_values, positives="masks")


@pytest.mark.parametrize(
    ("rule", "training", "evaluation"),
    [
        ({}, ("train",), ()),
        ({"analyses": ["errors"]}, ("train",), ()),
        ({"analyses": ["ambiguous"]}, ("train", "val"), ("val",)),
        ({"oracle": "box"}, ("train", "val"), ("val",)),
    ],
)
def test_masks_are_read_for_the_splits_that_use_them(rule: dict[str, Any], training: Any, evaluation: Any) -> None:
    configs = [PostprocessConfig(), PostprocessConfig(**rule)]
    assignment = AssignmentConfig(ranges=((0, None),), positives="mask")
    assert splits_with_masks(assignment, configs, training=True) == training
    assert splits_with_masks(assignment, configs, training=False) == evaluation
    without_masks = AssignmentConfig(ranges=((0, None),))
    assert splits_with_masks(without_masks, configs, training=True) == ()


def test_the_assignment_picture_shows_locations_on_masks(tiny_values: dict[str, Any]) -> None:
    values = set_value(tiny_values, "model.assignment.center_sampling_radius", None)
    (inside_picture, inside_lines), (mask_picture, mask_lines) = (
        assignment_picture(config, "val", None) for config in (parse(Config, values), with_masks(values))
    )
    positives = [int(present(re.search(r"(\d+) positive", lines[0]))[1]) for lines in (inside_lines, mask_lines)]
    assert 0 < positives[1] < positives[0]
    assert mask_picture.size == inside_picture.size and mask_picture.tobytes() != inside_picture.tobytes()


def test_missing_masks_raise_an_assertion(tiny_values: dict[str, Any]) -> None:
    assign = build_assign(with_masks(tiny_values).model)
    with pytest.raises(AssertionError, match="assignment by masks needs targets with masks"):
        assign(replace(targets_of([[8.0, 8, 40, 40]]), masks=None), LOCATIONS)


def test_ambiguity_counts_candidates_on_masks(tiny_values: dict[str, Any]) -> None:
    values = set_value(tiny_values, "model.postprocess.analyses", ["ambiguous"])
    values = set_value(
        set_value(values, "model.levels", [3, 4, 5]), "model.assignment.ranges", [list(r) for r in RANGES]
    )
    config = with_masks(values, center_sampling_radius=None).model
    twice = targets_of([[8.0, 8, 40, 40]] * 2, masks="whole")
    present(twice.masks)[0, 0, : SIDE // 2] = False
    outputs = HeadOutputs((), torch.zeros(1, 0, 4), None, LOCATIONS.shapes)
    size = torch.tensor([[96, 128]])
    batch = Batch(torch.zeros(1, 3, 96, 128, dtype=torch.uint8), size, size, twice, (1,), ("a",))
    oracle_targets = build_oracle_targets(config, [config.postprocess])(batch, LOCATIONS, outputs)
    ambiguity = present(oracle_targets.ambiguity)
    ambiguous = ambiguity[0] == ambiguity.max()
    assert ambiguous.any() and (LOCATIONS.xy[ambiguous, 1] > 24).all()
