"""Only locations on an object's own mask answer for it: held against each box on its own, location by location."""

import re
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from fcos.assignment.build import build_assign
from fcos.assignment.fcos import assign, claims, match
from fcos.assignment.masks import pairs_on_mask
from fcos.build import build_truth
from fcos.config.inactive_keys import why_dead
from fcos.config.model_parts import AssignmentConfig, PostprocessConfig
from fcos.config.parse import parse, set_value
from fcos.config.run import Config
from fcos.data.prepare import splits_with_masks
from fcos.device import to_device
from fcos.errors import ConfigError
from fcos.geometry import areas, compute_locations
from fcos.structures import NO_OBJECT, Batch, HeadOutputs, Targets
from fcos.studies.draw_assignment import assignment_picture

RANGES = ((0.0, 32.0), (32.0, 64.0), (64.0, None))
PLACES = compute_locations(((12, 16), (6, 8), (3, 4)), (8, 16, 32), (96, 128), "half_stride", torch.device("cpu"))
SIDE = 8


def targets_of(*images: list[list[float]], masks: str = "random") -> Targets:
    most = max(1, *map(len, images))
    boxes, valid = torch.zeros(len(images), most, 4), torch.zeros(len(images), most, dtype=torch.bool)
    for row, image in enumerate(images):
        boxes[row, : len(image)], valid[row, : len(image)] = torch.tensor(image).view(-1, 4), True
    shape = (*valid.shape, SIDE, SIDE)
    generator = torch.Generator().manual_seed(sum(map(len, images)))
    drawn = {
        "random": torch.rand(shape, generator=generator) > 0.4,
        "whole": torch.ones(shape, dtype=torch.bool),
        "none": torch.zeros(shape, dtype=torch.bool),
    }
    return Targets(boxes, torch.arange(most).expand(valid.shape).clone(), valid, drawn[masks])


def one_by_one(targets: Targets, ends: Any, radius: float | None) -> Tensor:
    """Each box assigned alone, without masks; of those whose mask has the location, the smallest takes it."""
    assert targets.masks is not None
    matched = torch.full((len(targets.valid), len(PLACES.xy)), NO_OBJECT)
    for image, valid in enumerate(targets.valid):
        area = areas(targets.boxes[image], "plain").tolist()
        # The smallest comes last, and of equals the first.
        for box in sorted(valid.nonzero().flatten().tolist(), key=lambda m, area=area: (-area[m], -m)):
            part = slice(image, image + 1), slice(box, box + 1)
            alone = Targets(targets.boxes[part], targets.labels[part], targets.valid[part])
            may = match(alone, PLACES, RANGES, ends, radius, "plain")[0] != NO_OBJECT
            x1, y1, x2, y2 = targets.boxes[image, box].tolist()
            for place in may.nonzero().flatten().tolist():
                x, y = PLACES.xy[place].tolist()
                row, column = int((y - y1) / (y2 - y1) * SIDE), int((x - x1) / (x2 - x1) * SIDE)
                if targets.masks[image, box, row, column]:
                    matched[image, place] = box
    return matched


# Quarter pixels meet the borders of eight cells exactly, in float32 too.
coordinate = st.integers(-40, 400).map(lambda n: n / 4)
length = st.integers(0, 600).map(lambda n: n / 4)
box = st.tuples(coordinate, coordinate, length, length).map(lambda b: [b[0], b[1], b[0] + b[2], b[1] + b[3]])
images_of_boxes = st.lists(st.lists(box, max_size=6), min_size=1, max_size=3)
radii = st.sampled_from([None, 0.5, 1.5])


@settings(max_examples=40)
@given(images=images_of_boxes, ends=st.sampled_from(["closed", "open"]), radius=radii)
def test_a_location_must_lie_on_the_mask_beside_all_else(images, ends, radius) -> None:
    targets = targets_of(*images)
    found = match(targets, PLACES, RANGES, ends, radius, "plain")
    torch.testing.assert_close(found, one_by_one(targets, ends, radius))


@settings(max_examples=60)
@given(
    images=images_of_boxes,
    radius=radii,
    rule=st.sampled_from(["longest_offset", "longer_side", "sqrt_area", "fpn"]),
    tie_break=st.sampled_from(["smallest_area", "closest_center"]),
)
def test_masks_of_whole_boxes_change_nothing(images, radius, rule, tie_break) -> None:
    targets = targets_of(*images, masks="whole")
    found, plain = (
        match(each, PLACES, RANGES, "closed", radius, "plain", rule, tie_break)
        for each in (targets, replace(targets, masks=None))
    )
    assert torch.equal(found, plain)


@settings(max_examples=40)
@given(image=st.lists(box, min_size=1, max_size=6), radius=radii)
def test_pairs_are_those_of_the_assignment(image, radius) -> None:
    targets = targets_of(image)
    pairs = claims(targets.boxes[0], PLACES, RANGES, "closed", radius)
    keep = pairs_on_mask(targets.masks[0], targets.boxes[0], PLACES.xy, *pairs)
    claimed = torch.zeros(len(PLACES.xy), dtype=torch.bool)
    claimed[pairs[1][keep]] = True
    assert torch.equal(match(targets, PLACES, RANGES, "closed", radius, "plain")[0] != NO_OBJECT, claimed)


def options(radius: float | None = None) -> dict[str, Any]:
    return {"ranges": RANGES, "ends": "closed", "center_sampling_radius": radius}


def test_one_box_learns_on_its_mask_alone() -> None:
    targets = targets_of([[8.0, 8, 40, 40]], masks="none")
    targets.masks[0, 0, :, : SIDE // 2] = True
    found = assign(targets, PLACES, **options())
    on_mask = (PLACES.xy[:, 0] > 8) & (PLACES.xy[:, 0] < 24) & (PLACES.xy[:, 1] > 8) & (PLACES.xy[:, 1] < 40)
    assert torch.equal(found.positive[0], on_mask & (PLACES.strides == 8))
    # Distances are to the box's sides still.
    here = (PLACES.xy == torch.tensor([12.0, 12.0])).all(1) & (PLACES.strides == 8)
    torch.testing.assert_close(found.ltrb[0, here], torch.tensor([[4.0, 4, 28, 28]]))


def test_what_one_mask_leaves_free_goes_to_the_next_box() -> None:
    twice = [[8.0, 8, 40, 40]] * 2
    targets = targets_of(twice, masks="whole")
    targets.masks[0, 0, : SIDE // 2] = False
    matched = match(targets, PLACES, RANGES, "closed", None, "plain")[0]
    upper = PLACES.xy[:, 1] < 24
    assert set(matched[upper].tolist()) == {NO_OBJECT, 1} and set(matched[~upper].tolist()) == {NO_OBJECT, 0}


def test_center_sampling_holds_beside_masks() -> None:
    targets = targets_of([[0.0, 0, 64, 64]], masks="whole")
    targets.masks[0, 0, :, : SIDE // 2] = False
    near, mask, both = (
        assign(each, PLACES, **options(radius)).positive
        for each, radius in ((replace(targets, masks=None), 1.5), (targets, None), (targets, 1.5))
    )
    assert torch.equal(both, near & mask)
    assert both.any() and near.sum() > both.sum() < mask.sum()


def test_an_object_without_a_location_on_its_mask_has_none() -> None:
    targets = targets_of([[8.0, 8, 40, 40], [60, 20, 90, 70]], masks="none")
    assert not assign(targets, PLACES, **options()).positive.any()


@pytest.mark.parametrize("boxes", [0, 3])
def test_no_boxes_match_nothing(boxes: int) -> None:
    nothing = Targets(
        torch.zeros(2, boxes, 4), torch.zeros(2, boxes).long(), torch.zeros(2, boxes).bool(),
        torch.ones(2, boxes, SIDE, SIDE).bool(),
    )  # fmt: skip
    assert not assign(nothing, PLACES, **options()).positive.any()


def test_a_batch_is_its_images() -> None:
    images = [[8.0, 8, 40, 40], [20.0, 12, 90, 70]], [[3.0, 3, 100, 90]], []
    targets = targets_of(*images)
    together = assign(targets, PLACES, **options(1.5))
    for image in range(3):
        alone = Targets(*(column[image : image + 1] for column in vars(targets).values()))
        found = assign(alone, PLACES, **options(1.5))
        assert torch.equal(found.matched, together.matched[image : image + 1])
        assert torch.equal(found.ltrb, together.ltrb[image : image + 1])


def test_masks_move_with_their_targets() -> None:
    moved = to_device(targets_of([[8.0, 8, 40, 40]]), torch.device("meta"))
    assert moved.masks.device.type == moved.boxes.device.type == "meta"
    assert to_device(replace(moved, masks=None), torch.device("meta")).masks is None


def with_masks(values: dict[str, Any], **changes: Any) -> Config:
    for key, value in {"positives": "mask", **changes}.items():
        values = set_value(values, f"model.assignment.{key}", value)
    return parse(Config, values)


def test_only_fcos_own_assignment_asks_for_masks(tiny_values: dict[str, Any]) -> None:
    assert not parse(Config, tiny_values).model.assignment.by_masks
    assert with_masks(tiny_values).model.assignment.by_masks
    other = with_masks(tiny_values, kind="atss")
    assert not other.model.assignment.by_masks
    assert why_dead(other, "model.assignment.positives") == "model.assignment.kind=atss"
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
def test_masks_are_asked_for_where_they_are_used(rule: dict[str, Any], training: Any, evaluation: Any) -> None:
    rules = [PostprocessConfig(), PostprocessConfig(**rule)]
    assignment = AssignmentConfig(ranges=((0, None),), positives="mask")
    assert splits_with_masks(assignment, rules, training=True) == training
    assert splits_with_masks(assignment, rules, training=False) == evaluation
    plain = AssignmentConfig(ranges=((0, None),))
    assert splits_with_masks(plain, rules, training=True) == ()


def test_a_drawn_picture_shows_locations_on_masks(tiny_values: dict[str, Any]) -> None:
    values = set_value(tiny_values, "model.assignment.center_sampling_radius", None)
    (plain, inside), (picture, on_mask) = (
        assignment_picture(config, "val", None) for config in (parse(Config, values), with_masks(values))
    )
    counted = [int(re.search(r"(\d+) positive", lines[0])[1]) for lines in (inside, on_mask)]
    assert 0 < counted[1] < counted[0]
    assert picture.size == plain.size and picture.tobytes() != plain.tobytes()


def test_forgotten_masks_are_noticed(tiny_values: dict[str, Any]) -> None:
    assigned = build_assign(with_masks(tiny_values).model)
    with pytest.raises(AssertionError, match="masks are read where they are asked for"):
        assigned(replace(targets_of([[8.0, 8, 40, 40]]), masks=None), PLACES)


def test_ambiguity_counts_claims_on_masks(tiny_values: dict[str, Any]) -> None:
    values = set_value(tiny_values, "model.postprocess.analyses", ["ambiguous"])
    values = set_value(
        set_value(values, "model.levels", [3, 4, 5]), "model.assignment.ranges", [list(r) for r in RANGES]
    )
    config = with_masks(values, center_sampling_radius=None).model
    twice = targets_of([[8.0, 8, 40, 40]] * 2, masks="whole")
    twice.masks[0, 0, : SIDE // 2] = False
    outputs = HeadOutputs((), torch.zeros(1, 0, 4), None, PLACES.shapes)
    size = torch.tensor([[96, 128]])
    batch = Batch(torch.zeros(1, 3, 96, 128, dtype=torch.uint8), size, size, twice, (1,), ("a",))
    truth = build_truth(config, [config.postprocess])(batch, PLACES, outputs)
    double = truth.ambiguity[0] == truth.ambiguity.max()
    assert double.any() and (PLACES.xy[double, 1] > 24).all()
