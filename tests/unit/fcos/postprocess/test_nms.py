"""Set NMS equals a plain greedy loop, and torchvision's NMS where no two boxes share a location."""

from dataclasses import replace

import pytest
import torch
import torchvision.ops as ops
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from fcos.geometry import boxes_from_ltrb, compute_locations
from fcos.postprocess import nms
from fcos.postprocess.nms import set_nms
from fcos.postprocess.tta import merge
from fcos.structures import Detections, HeadOutputs
from tests.helpers.detections.postprocessing import IMAGE, SHAPES, STRIDES, make_postprocess, sizes
from tests.helpers.present import present


def greedy(boxes: Tensor, groups: Tensor, locations: Tensor, threshold: float) -> list[int]:
    """Suppress box by box, best first."""
    overlap = ops.box_iou(boxes, boxes).double()
    kept: list[int] = []
    for number in range(len(boxes)):
        suppressors = [
            index for index in kept if groups[index] == groups[number] and locations[index] != locations[number]
        ]
        # The IoU of two boxes without area is NaN.
        if not any(overlap[index, number] > threshold for index in suppressors):
            kept.append(number)
    return kept


# Integer boxes, many pairs of which have an IoU of exactly a threshold.
side = st.integers(0, 8)
row = st.tuples(side, side, side, side, st.integers(0, 1), st.integers(0, 6))
thresholds = st.sampled_from([0.2, 0.5, 0.6, 0.75, 1.0])


def tensors(rows: list[tuple[int, ...]]) -> tuple[Tensor, Tensor, Tensor]:
    """Return boxes, groups and locations."""
    x, y, width, height, group, location = torch.tensor(rows, dtype=torch.long).view(-1, 6).unbind(1)
    return torch.stack((x, y, x + width, y + height), dim=1).float(), group, location


@settings(max_examples=150)
@given(
    rows=st.lists(row, max_size=40), threshold=thresholds, limit=st.sampled_from([1, 3, 100]), block=st.integers(1, 50)
)
def test_set_nms_equals_a_greedy_loop_for_any_block_size(rows, threshold, limit, block) -> None:
    boxes, groups, locations = tensors(rows)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nms, "BLOCK", block)
        kept = set_nms(boxes, groups, locations, threshold, limit)
    assert kept.tolist() == greedy(boxes, groups, locations, threshold)[:limit]


@settings(max_examples=200)
@given(rows=st.lists(row, max_size=40), threshold=thresholds)
def test_boxes_of_different_locations_equal_torchvision(rows, threshold) -> None:
    boxes, groups, _ = tensors(rows)
    kept = set_nms(boxes, groups, torch.arange(len(boxes)), threshold, 100)
    expected = ops.batched_nms(boxes, -torch.arange(len(boxes)).float(), groups, threshold)
    assert torch.equal(kept, expected)


def test_boxes_of_one_location_do_not_suppress_each_other() -> None:
    boxes = torch.tensor([[0.0, 0, 10, 10]] * 4)
    groups = torch.tensor([0, 0, 0, 1])
    kept = set_nms(boxes, groups, torch.tensor([7, 7, 8, 8]), 0.5, 100)
    # The last is of another class.
    assert kept.tolist() == [0, 1, 3]


LOCATIONS = compute_locations(SHAPES, STRIDES, IMAGE, "half_stride", torch.device("cpu"), targets=2)


def outputs_of(seed: int, images: int) -> HeadOutputs:
    """Return random outputs with two predictions at each location."""
    generator = torch.Generator().manual_seed(seed)
    locations = LOCATIONS
    counts = [rows * columns for rows, columns in locations.shapes]
    logits = torch.randn(images, len(locations.xy), 2, generator=generator) * 2 - 1
    ltrb = torch.rand(images, len(locations.xy), 4, generator=generator) * 20
    quality = torch.randn(images, len(locations.xy), generator=generator)
    return HeadOutputs(logits.split(counts, dim=1), ltrb, quality, locations.shapes)


def test_two_predictions_of_a_location_count_as_one_location() -> None:
    locations, outputs = LOCATIONS, outputs_of(0, 1)
    postprocess = make_postprocess(suppression="set_nms", quality="none", score_threshold=0.3, nms_threshold=0.3)
    detections = postprocess(outputs, locations, sizes(1), sizes(1))[0]
    classification = outputs.joined_logits[0].sigmoid()
    prediction, label = (classification > 0.3).nonzero(as_tuple=True)
    order = classification[prediction, label].argsort(descending=True, stable=True)
    prediction, label = prediction[order], label[order]
    boxes = ops.clip_boxes_to_image(boxes_from_ltrb(locations.xy, outputs.ltrb[0]), (64, 64))[prediction]
    kept = greedy(boxes, label, prediction // 2, 0.3)[:100]
    assert kept != greedy(boxes, label, prediction, 0.3)[:100]
    torch.testing.assert_close(detections.boxes, boxes[kept])
    assert torch.equal(detections.labels, label[kept])
    assert torch.equal(present(detections.locations), prediction[kept] // 2)


def test_batch_equals_single_images() -> None:
    locations, outputs = LOCATIONS, outputs_of(3, 2)
    batched = make_postprocess(suppression="set_nms")(outputs, locations, sizes(2), sizes(2))
    for image in range(2):
        part = slice(image, image + 1)
        single = HeadOutputs(
            tuple(x[part] for x in outputs.logits), outputs.ltrb[part], present(outputs.quality)[part], outputs.shapes
        )
        detections = make_postprocess(suppression="set_nms")(single, locations, sizes(1), sizes(1))[0]
        torch.testing.assert_close(detections.boxes, batched[image].boxes)


def test_no_score_above_the_threshold_gives_no_detections() -> None:
    locations, outputs = LOCATIONS, outputs_of(0, 1)
    detections = make_postprocess(suppression="set_nms", score_threshold=0.999999)(
        outputs, locations, sizes(1), sizes(1)
    )[0]
    assert detections.boxes.shape == (0, 4) and detections.locations is not None and detections.locations.shape == (0,)


def test_merging_keeps_locations_of_augmentations_apart() -> None:
    boxes, labels = torch.tensor([[0.0, 0, 10, 10], [1.0, 0, 10, 10]]), torch.zeros(2, dtype=torch.long)
    first = Detections(boxes, torch.tensor([0.9, 0.8]), labels, torch.tensor([4, 4]))
    # The same location index, but of another augmentation.
    second = Detections(boxes, torch.tensor([0.7, 0.6]), labels, torch.tensor([4, 4]))
    config = make_postprocess(suppression="set_nms", nms_threshold=0.5).config
    assert merge([[first], [second]], config)[0].scores.tolist() == pytest.approx([0.9, 0.8])
    without_locations = [replace(item, locations=None) for item in (first, second)]
    assert merge([[without_locations[0]], [without_locations[1]]], make_postprocess(nms_threshold=0.5).config)[
        0
    ].scores.tolist() == pytest.approx([0.9])
