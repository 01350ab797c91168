"""Set NMS against a plain greedy loop, and against torchvision's NMS where no two boxes are of one location."""

from dataclasses import replace

import pytest
import torch
import torchvision.ops as ops
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from fcos.geometry import boxes_from_ltrb, compute_locations
from fcos.postprocess import nms
from fcos.postprocess.nms import set_nms_of_best
from fcos.postprocess.tta import together
from fcos.structures import Detections, HeadOutputs
from tests.helpers.postprocessing import IMAGE, SHAPES, STRIDES, rule, sizes


def greedy(boxes: Tensor, groups: Tensor, locations: Tensor, threshold: float) -> list[int]:
    """One box after the other, best first."""
    overlap = ops.box_iou(boxes, boxes).double()
    kept: list[int] = []
    for number in range(len(boxes)):
        rivals = [best for best in kept if groups[best] == groups[number] and locations[best] != locations[number]]
        # Two boxes without an area overlap by no number.
        if not any(overlap[best, number] > threshold for best in rivals):
            kept.append(number)
    return kept


# Whole numbers, of which many pairs overlap by exactly a threshold.
side = st.integers(0, 8)
row = st.tuples(side, side, side, side, st.integers(0, 1), st.integers(0, 6))
thresholds = st.sampled_from([0.2, 0.5, 0.6, 0.75, 1.0])


def tensors(rows: list[tuple[int, ...]]) -> tuple[Tensor, Tensor, Tensor]:
    """Boxes, groups and locations."""
    x, y, width, height, group, location = torch.tensor(rows, dtype=torch.long).view(-1, 6).unbind(1)
    return torch.stack((x, y, x + width, y + height), dim=1).float(), group, location


@settings(max_examples=150)
@given(
    rows=st.lists(row, max_size=40), threshold=thresholds, limit=st.sampled_from([1, 3, 100]), block=st.integers(1, 50)
)
def test_it_is_a_greedy_loop_in_blocks_of_any_size(rows, threshold, limit, block) -> None:
    boxes, groups, locations = tensors(rows)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nms, "BLOCK", block)
        kept = set_nms_of_best(boxes, groups, locations, threshold, limit)
    assert kept.tolist() == greedy(boxes, groups, locations, threshold)[:limit]


@settings(max_examples=200)
@given(rows=st.lists(row, max_size=40), threshold=thresholds)
def test_boxes_of_different_locations_are_kept_as_by_torchvision(rows, threshold) -> None:
    boxes, groups, _ = tensors(rows)
    kept = set_nms_of_best(boxes, groups, torch.arange(len(boxes)), threshold, 100)
    expected = ops.batched_nms(boxes, -torch.arange(len(boxes)).float(), groups, threshold)
    assert torch.equal(kept, expected)


def test_boxes_of_one_location_spare_each_other_but_not_others() -> None:
    boxes = torch.tensor([[0.0, 0, 10, 10]] * 4)
    groups = torch.tensor([0, 0, 0, 1])
    kept = set_nms_of_best(boxes, groups, torch.tensor([7, 7, 8, 8]), 0.5, 100)
    # The last is of another class.
    assert kept.tolist() == [0, 1, 3]


PAIRS = compute_locations(SHAPES, STRIDES, IMAGE, "half_stride", torch.device("cpu"), targets=2)


def outputs_of(seed: int, images: int) -> HeadOutputs:
    """Two predictions at each location."""
    generator = torch.Generator().manual_seed(seed)
    places = PAIRS
    counts = [rows * columns for rows, columns in places.shapes]
    logits = torch.randn(images, len(places.xy), 2, generator=generator) * 2 - 1
    ltrb = torch.rand(images, len(places.xy), 4, generator=generator) * 20
    quality = torch.randn(images, len(places.xy), generator=generator)
    return HeadOutputs(logits.split(counts, dim=1), ltrb, quality, places.shapes)


def test_two_predictions_of_a_location_are_of_one_location() -> None:
    places, outputs = PAIRS, outputs_of(0, 1)
    setting = rule(suppression="set_nms", quality="none", score_threshold=0.3, nms_threshold=0.3)
    found = setting(outputs, places, sizes(1), sizes(1))[0]
    classification = outputs.joined_logits[0].sigmoid()
    prediction, label = (classification > 0.3).nonzero(as_tuple=True)
    order = classification[prediction, label].argsort(descending=True, stable=True)
    prediction, label = prediction[order], label[order]
    boxes = ops.clip_boxes_to_image(boxes_from_ltrb(places.xy, outputs.ltrb[0]), (64, 64))[prediction]
    kept = greedy(boxes, label, prediction // 2, 0.3)[:100]
    assert kept != greedy(boxes, label, prediction, 0.3)[:100]
    torch.testing.assert_close(found.boxes, boxes[kept])
    assert torch.equal(found.labels, label[kept]) and torch.equal(found.locations, prediction[kept] // 2)


def test_one_image_alone_gives_what_it_gives_in_a_batch() -> None:
    places, outputs = PAIRS, outputs_of(3, 2)
    both = rule(suppression="set_nms")(outputs, places, sizes(2), sizes(2))
    for image in range(2):
        part = slice(image, image + 1)
        own = HeadOutputs(
            tuple(x[part] for x in outputs.logits), outputs.ltrb[part], outputs.quality[part], outputs.shapes
        )
        alone = rule(suppression="set_nms")(own, places, sizes(1), sizes(1))[0]
        torch.testing.assert_close(alone.boxes, both[image].boxes)


def test_nothing_over_the_threshold_is_no_detection() -> None:
    places, outputs = PAIRS, outputs_of(0, 1)
    found = rule(suppression="set_nms", score_threshold=0.999999)(outputs, places, sizes(1), sizes(1))[0]
    assert found.boxes.shape == (0, 4) and found.locations is not None and found.locations.shape == (0,)


def test_views_are_put_together_with_their_locations_apart() -> None:
    boxes, labels = torch.tensor([[0.0, 0, 10, 10], [1.0, 0, 10, 10]]), torch.zeros(2, dtype=torch.long)
    one = Detections(boxes, torch.tensor([0.9, 0.8]), labels, torch.tensor([4, 4]))
    # Also at number 4, of another grid.
    other = Detections(boxes, torch.tensor([0.7, 0.6]), labels, torch.tensor([4, 4]))
    sparing = rule(suppression="set_nms", nms_threshold=0.5).rule
    assert together([[one], [other]], sparing)[0].scores.tolist() == pytest.approx([0.9, 0.8])
    plain = [replace(each, locations=None) for each in (one, other)]
    assert together([[plain[0]], [plain[1]]], rule(nms_threshold=0.5).rule)[0].scores.tolist() == pytest.approx([0.9])
