"""SimOTA by the rule of YOLOX's code equals a plain version of it, and where it differs from the rule within boxes."""

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor
from torchvision.ops import box_iou

from fcos.assignment import simota
from fcos.assignment.build import build_assign
from fcos.assignment.simota import match_simota, match_yolox
from fcos.config.parse import parse, set_value, with_keys
from fcos.config.presets import load_presets
from fcos.config.run import Config
from fcos.errors import ConfigError
from fcos.geometry import boxes_from_ltrb
from fcos.structures import NO_OBJECT, HeadOutputs, Locations, Targets
from tests.helpers.detections.pyramids import CLASSES, box, outputs_of, pyramid, targets_of
from tests.helpers.present import present

# Costs beyond 1e5 are rounded to steps of 0.008 in float32: closer ones are not compared.
ROUNDING = 0.05


def boxes_and_costs(
    targets: Targets, locations: Locations, outputs: HeadOutputs, radius: float, image: int
) -> tuple[list[int], Tensor, Tensor]:
    """The boxes of an image; and over locations x boxes their IoUs and costs, infinite where there is no candidate."""
    rows = targets.valid[image].nonzero().flatten().tolist()
    boxes, xy = targets.boxes[image, rows], locations.xy[:, None]
    inside = ((xy > boxes[:, :2]) & (xy < boxes[:, 2:])).all(-1)
    offset = (xy - (boxes[:, :2] + boxes[:, 2:]) / 2).abs().amax(-1)
    near = offset < radius * locations.strides[:, None]
    predicted = boxes_from_ltrb(locations.xy, outputs.ltrb[image])
    iou = box_iou(predicted, boxes).nan_to_num()
    score = (outputs.joined_logits[image].sigmoid() * present(outputs.quality)[image].sigmoid()[:, None]).sqrt()
    cost = -3 * (iou.double() + 1e-8).log()
    for column, row in enumerate(rows):
        truth = torch.nn.functional.one_hot(targets.labels[image, row], CLASSES).double().expand_as(score)
        bce = torch.nn.functional.binary_cross_entropy(score.double(), truth, reduction="none").sum(1)
        cost[:, column] += bce
    cost += 1e5 * ~(inside & near)
    # Every location in or near any box is a candidate of every box.
    candidate = (inside | near).any(1, keepdim=True)
    return rows, iou.masked_fill(~candidate, 0.0), cost.masked_fill(~candidate, math.inf)


def yolox_by_hand(iou: Tensor, cost: Tensor) -> tuple[list[int], float]:
    """The column of the box of each location, and by how much the closest decision was made."""
    num, count = cost.shape
    taken: list[set[int]] = [set() for _ in range(num)]
    margins = [math.inf]
    for column in range(count):
        total = sum(sorted(iou[:, column].tolist(), reverse=True)[:10])
        if total > 0.5 and abs(total - round(total)) < 1e-3:
            margins.append(0.0)
        k = max(int(total), 1)
        order = sorted(range(num), key=cost[:, column].tolist().__getitem__)
        order = [row for row in order if cost[row, column] < math.inf]
        for row in order[:k]:
            taken[row].add(column)
        if len(order) > k:
            margins.append(float(cost[order[k], column] - cost[order[k - 1], column]))
    matched = []
    for row, columns in enumerate(taken):
        if len(columns) > 1:
            first, second = cost[row].topk(2, largest=False).values.tolist()
            margins.append(second - first)
        candidates = range(count) if len(columns) > 1 else columns
        matched.append(min(candidates, key=cost[row].tolist().__getitem__, default=NO_OBJECT))
    return matched, min(margins)


@settings(max_examples=60)
@given(
    images=st.lists(st.lists(box, max_size=5), min_size=1, max_size=2),
    size=st.sampled_from([(64, 96), (96, 40), (128, 160)]),
    seed=st.integers(0, 1000),
    radius=st.sampled_from([0.5, 1.5, 2.5, 50.0]),
)
def test_the_rule_of_yolox_equals_a_plain_version(images, size, seed, radius) -> None:
    labels = [[number % CLASSES for number in range(len(boxes))] for boxes in images]
    locations, targets = pyramid(*size), targets_of(*images, labels=labels)
    outputs = outputs_of(locations, len(images), seed)
    found = match_yolox(targets, locations, outputs, radius)
    for image in range(len(images)):
        rows, iou, cost = boxes_and_costs(targets, locations, outputs, radius, image)
        matched, margin = yolox_by_hand(iou, cost)
        assume(margin > ROUNDING)
        expected = [row if row == NO_OBJECT else rows[row] for row in matched]
        assert found[image].tolist() == expected


def flat_outputs(locations: Locations, scores: dict[int, list[float]], box: list[float]) -> HeadOutputs:
    """Outputs that predict one box everywhere, with logits of -8 but for the locations named."""
    logits = torch.full((1, len(locations.xy), CLASSES), -8.0)
    for index, values in scores.items():
        logits[0, index] = torch.tensor(values)
    xy = locations.xy
    ltrb = torch.cat((xy - torch.tensor(box[:2]), torch.tensor(box[2:]) - xy), dim=1)[None]
    counts = [rows * columns for rows, columns in locations.shapes]
    return HeadOutputs(logits.split(counts, dim=1), ltrb, None, locations.shapes)


def at(locations: Locations, x: float, y: float) -> int:
    return int((locations.xy == torch.tensor([x, y])).all(1).nonzero()[0])


def test_a_box_without_a_location_inside_takes_one_near_it_by_the_rule_of_yolox_alone() -> None:
    locations = pyramid(strides=(8,))
    between = [[21.0, 21, 23, 23]]
    targets, outputs = targets_of(between, labels=[[0]]), flat_outputs(locations, {}, [16.0, 16, 28, 28])
    assert (match_simota(targets, locations, outputs, 2.5) == NO_OBJECT).all()
    matched = match_yolox(targets, locations, outputs, 2.5)[0]
    assert int((matched == 0).sum()) == 1
    assert (locations.xy[matched == 0] - 22).abs().max() < 2.5 * 8


def test_k_counts_locations_outside_of_the_box_by_the_rule_of_yolox_alone() -> None:
    # One location lies inside the small box, and others in the large one predict the small box exactly.
    locations = pyramid(strides=(8,))
    small, large = [18.0, 18, 25, 25], [0.0, 0, 64, 64]
    targets = targets_of([small, large], labels=[[0, 1]])
    outputs = flat_outputs(locations, {}, small)
    within, yolox = (match(targets, locations, outputs, 2.5)[0] for match in (match_simota, match_yolox))
    assert int((within == 0).sum()) == 1 and int((yolox == 0).sum()) > 5


def test_a_location_of_several_goes_to_a_box_that_did_not_take_it_by_the_rule_of_yolox_alone() -> None:
    # Three boxes alike but for their class take k = 1 location each. Two take the one that scores high for both; it
    # costs least for the third, which takes another that costs still less.
    locations = pyramid(strides=(8,))
    boxes = [[8.0, 8, 40, 40]] * 3
    targets = targets_of(boxes, labels=[[0, 1, 2]])
    shared, other = at(locations, 20, 20), at(locations, 28, 28)
    scores = {shared: [2.0, 2.0, 2.5], other: [-3.0, -3.0, 6.0]}
    outputs = flat_outputs(locations, scores, [8.0, 8, 12, 12])
    within, yolox = (match(targets, locations, outputs, 2.5)[0] for match in (match_simota, match_yolox))
    assert within[shared] == 0 and within[other] == 2
    assert yolox[shared] == 2 and yolox[other] == 2


@pytest.mark.parametrize("radius", [None, 2.5])
def test_no_boxes_match_nothing(radius: float | None) -> None:
    locations = pyramid()
    for room in (0, 4):
        none = Targets(torch.zeros(2, room, 4), torch.zeros(2, room).long(), torch.zeros(2, room, dtype=torch.bool))
        assert (match_yolox(none, locations, outputs_of(locations, 2), radius) == NO_OBJECT).all()


def test_batch_and_chunks_equal_single_images(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(0)
    corner = torch.rand(2, 9, 2, generator=generator) * 100
    boxes = torch.cat((corner, corner + 10 + torch.rand(2, 9, 2, generator=generator) * 60), dim=-1)
    targets = Targets(boxes, torch.arange(18).view(2, 9) % CLASSES, torch.rand(2, 9, generator=generator) > 0.3)
    locations = pyramid()
    outputs = outputs_of(locations, 2)
    batched = match_yolox(targets, locations, outputs, 2.5)
    monkeypatch.setattr(simota, "CPU_BUDGET", 1)
    for image in range(2):
        part = slice(image, image + 1)
        single = Targets(boxes[part], targets.labels[part], targets.valid[part])
        own = replace(
            outputs, logits=tuple(x[part] for x in outputs.logits), ltrb=outputs.ltrb[part],
            quality=present(outputs.quality)[part],
        )  # fmt: skip
        matched = match_yolox(single, locations, own, 2.5)
        assert (matched != NO_OBJECT).any()
        torch.testing.assert_close(matched, batched[part])


def test_the_setting_chooses_the_rule() -> None:
    keys = {"assignment.kind": "simota", "assignment.center_sampling_radius": 2.5}
    model = with_keys(load_presets()["adelaidet"], keys)
    locations = pyramid(strides=(8, 16, 32))
    targets = targets_of([[10.0, 10, 60, 60], [21.0, 21, 23, 23], [30.0, 20, 90, 70]], labels=[[0, 1, 2]])
    outputs = outputs_of(locations, 1)
    for name, match in (("inside_box", match_simota), ("yolox", match_yolox)):
        assign = build_assign(with_keys(model, {"assignment.simota_rule": name}))
        assignment = assign(targets, locations, outputs)
        torch.testing.assert_close(assignment.matched, match(targets, locations, outputs, 2.5))
        # Locations outside of their box have negative distances, and a center-ness of 0.
        outside = assignment.positive & (assignment.ltrb.amin(-1) <= 0)
        assert bool(outside.any()) == (name == "yolox") and (assignment.centerness[outside] == 0).all()


def test_logarithms_of_distances_are_refused_where_locations_lie_outside(tiny_values: dict[str, Any]) -> None:
    values = set_value(tiny_values, "model.assignment.kind", "simota")
    values = set_value(values, "model.loss.regression", "log_l1")
    parse(Config, values)
    with pytest.raises(ConfigError, match=r"log_l1: takes the logarithm .* assignment\.simota_rule=yolox"):
        parse(Config, set_value(values, "model.assignment.simota_rule", "yolox"))
