"""Assignment by overlap (ATSS, RetinaNet), by center and by prediction (SimOTA) equals plain loops."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fcos.assignment import atss, retinanet, simota
from fcos.assignment.anchors import RETINANET_ANCHORS, anchor_boxes
from fcos.assignment.atss import match_atss, nearest_locations
from fcos.assignment.center import match_center
from fcos.assignment.retinanet import match_retinanet
from fcos.assignment.simota import match_simota
from fcos.geometry import boxes_from_ltrb, compute_locations
from fcos.structures import NO_OBJECT, HeadOutputs, Locations, Targets
from tests.helpers.detections.pyramids import CLASSES, CPU, RANGES, STRIDES, outputs_of, pyramid, targets_of
from tests.helpers.present import present

# Quarter pixels are exact in float32. Whole multiples of 4 make many ties.
coordinate = st.one_of(st.integers(-20, 640).map(lambda n: n / 4), st.integers(0, 40).map(lambda n: n * 4.0))
side = st.one_of(st.integers(0, 600).map(lambda n: n / 4), st.integers(0, 40).map(lambda n: n * 4.0))
box = st.tuples(coordinate, coordinate, side, side).map(lambda b: [b[0], b[1], b[0] + b[2], b[1] + b[3]])
images = st.lists(st.lists(box, max_size=6), min_size=1, max_size=3)
sizes = st.sampled_from([(64, 96), (96, 40), (130, 70), (20, 160)])
kinds = st.sampled_from(["half_stride", "torchvision"])


def iou_of(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """IoU of one box with many, in float32."""
    near, far = np.maximum(one[:2], other[:, :2]), np.minimum(one[2:], other[:, 2:])
    shared = np.maximum(far - near, 0).prod(1, dtype=np.float32)
    union = (one[2:] - one[:2]).prod() + (other[:, 2:] - other[:, :2]).prod(1) - shared
    iou: np.ndarray = shared / np.maximum(union, np.finfo(np.float32).tiny)
    return iou


def boxes_of(targets: Targets) -> list[np.ndarray]:
    """Return the valid boxes of each image."""
    return [rows[valid].numpy() for rows, valid in zip(targets.boxes, targets.valid, strict=True)]


def levels_of(locations: Locations) -> list[range]:
    ends = [0, *itertools.accumulate(rows * columns for rows, columns in locations.shapes)]
    return [range(first, end) for first, end in itertools.pairwise(ends)]


def inside(xy: np.ndarray, box: np.ndarray) -> bool:
    return bool((xy > box[:2]).all() and (xy < box[2:]).all())


def atss_by_loops(targets: Targets, locations: Locations, k: int) -> np.ndarray:
    xy, squares = locations.xy.numpy(), anchor_boxes(locations).numpy()
    matched = np.full((len(targets.boxes), len(xy)), NO_OBJECT)
    for image, boxes in enumerate(boxes_of(targets)):
        best = np.full(len(xy), -1.0)
        for box_index, box in enumerate(boxes):
            center = (box[:2] + box[2:]) / 2
            candidates = []
            for level in levels_of(locations):
                distance = ((xy[level] - center) ** 2).sum(1)
                candidates += [level[i] for i in np.argsort(distance, kind="stable")[:k]]
            overlaps = iou_of(box, squares[candidates])
            spread = overlaps.std(ddof=1, dtype=np.float64) if len(candidates) > 1 else 0.0
            threshold = overlaps.mean(dtype=np.float64) + spread - 1e-6
            for index, overlap in zip(candidates, overlaps, strict=True):
                if overlap >= threshold and inside(xy[index], box) and overlap > best[index]:
                    best[index], matched[image, index] = overlap, box_index
    return matched


@settings(max_examples=80)
@given(images=images, size=sizes, kind=kinds, k=st.sampled_from([1, 2, 9, 40]))
def test_atss_equals_plain_loops(images, size: tuple[int, int], kind, k) -> None:
    locations, targets = pyramid(*size, kind), targets_of(*images)
    np.testing.assert_array_equal(match_atss(targets, locations, k).numpy(), atss_by_loops(targets, locations, k))


@settings(max_examples=80)
@given(one=box, size=sizes, kind=kinds, k=st.sampled_from([1, 3, 9, 19]))
def test_nearest_locations_equal_a_full_sort(one, size: tuple[int, int], kind, k) -> None:
    locations = pyramid(*size, kind)
    nearest = nearest_locations(torch.tensor([[one]]), locations, k)[0, 0].tolist()
    center = np.array([one[0] + one[2], one[1] + one[3]], dtype=np.float32) / 2
    expected = []
    for level in levels_of(locations):
        distance = ((locations.xy.numpy()[level] - center) ** 2).sum(1)
        expected += [level[i] for i in np.argsort(distance, kind="stable")[:k]]
    assert nearest == expected


def center_by_loops(targets: Targets, locations: Locations, ends: str) -> np.ndarray:
    """Match the cell that holds the center; only for half_stride locations."""
    matched = np.full((len(targets.boxes), len(locations.xy)), NO_OBJECT)
    for image, boxes in enumerate(boxes_of(targets)):
        smallest = np.full(len(locations.xy), math.inf)
        for box_index, box in enumerate(boxes):
            half = (box[2:] - box[:2]).max() / 2
            for level, stride, shape, (low, high) in zip(
                levels_of(locations), STRIDES, locations.shapes, RANGES, strict=True
            ):
                high = math.inf if high is None else high
                in_range = low <= half <= high if ends == "closed" else low < half < high
                cell = np.floor((box[:2] + box[2:]) / 2 / stride).clip(0, [shape[1] - 1, shape[0] - 1])
                index = level[int(cell[1]) * shape[1] + int(cell[0])]
                area = (box[2:] - box[:2]).prod()
                if in_range and inside(locations.xy[index].numpy(), box) and area < smallest[index]:
                    smallest[index], matched[image, index] = area, box_index
    return matched


@settings(max_examples=80)
@given(images=images, size=sizes, ends=st.sampled_from(["closed", "open"]))
def test_center_equals_plain_loops(images, size, ends) -> None:
    locations, targets = pyramid(*size), targets_of(*images)
    matched = match_center(targets, locations, RANGES, ends, "plain")
    np.testing.assert_array_equal(matched.numpy(), center_by_loops(targets, locations, ends))


def retinanet_by_loops(targets: Targets, locations: Locations, min_iou: float) -> tuple[np.ndarray, np.ndarray]:
    squares = anchor_boxes(locations).numpy()
    matched = np.full((len(targets.boxes), len(squares)), NO_OBJECT)
    ignored = np.zeros(matched.shape, dtype=bool)
    for image, boxes in enumerate(boxes_of(targets)):
        if not len(boxes):
            continue
        overlaps = np.stack([iou_of(box, squares) for box in boxes])
        best_box, best_iou = overlaps.argmax(0), overlaps.max(0)
        positive = best_iou >= 0.5
        for box_overlaps in overlaps:
            if box_overlaps.max() > 0 and box_overlaps.max() >= min_iou:
                positive |= box_overlaps == box_overlaps.max()
        matched[image] = np.where(positive, best_box, NO_OBJECT)
        ignored[image] = ~positive & (best_iou >= np.float32(0.4))
    return matched, ignored


@settings(max_examples=60)
@given(images=images, size=sizes, rule=st.sampled_from(["none", "iou0_4", "all"]), nine=st.booleans())
def test_retinanet_equals_plain_loops(images, size, rule, nine) -> None:
    locations, targets = pyramid(*size), targets_of(*images)
    if nine:
        locations = compute_locations(locations.shapes, STRIDES, size, "half_stride", CPU, anchors=RETINANET_ANCHORS)
    matched, ignored = match_retinanet(targets, locations, rule)
    expected = retinanet_by_loops(targets, locations, retinanet.MIN_IOU[rule])
    np.testing.assert_array_equal(matched.numpy(), expected[0])
    np.testing.assert_array_equal(ignored.numpy(), expected[1])


def simota_by_loops(targets: Targets, locations: Locations, outputs: HeadOutputs, radius: float | None) -> np.ndarray:
    xy = locations.xy.numpy()
    matched = np.full((len(targets.boxes), len(xy)), NO_OBJECT)
    score = outputs.joined_logits.sigmoid()
    if outputs.quality is not None:
        score = (score * outputs.quality.sigmoid()[..., None]).sqrt()
    for image, boxes in enumerate(boxes_of(targets)):
        predicted = boxes_from_ltrb(locations.xy, outputs.ltrb[image]).numpy()
        cheapest = np.full(len(xy), math.inf)
        for box_index, box in enumerate(boxes):
            overlaps, center = iou_of(box, predicted), (box[:2] + box[2:]) / 2
            candidates = [index for index in range(len(xy)) if inside(xy[index], box)]
            costs = {}
            for index in candidates:
                truth = torch.zeros(CLASSES)
                truth[targets.labels[image, box_index]] = 1
                cost = torch.nn.functional.binary_cross_entropy(score[image, index], truth, reduction="sum").item()
                cost -= 3 * math.log(overlaps[index] + 1e-8)
                near = radius is None or np.abs(xy[index] - center).max() < radius * locations.strides[index].item()
                costs[index] = cost + (0 if near else 1e5)
            count = max(1, int(np.sort(overlaps[candidates])[::-1][:10].sum()))
            for index in sorted(candidates, key=costs.__getitem__)[:count]:
                if costs[index] < cheapest[index]:
                    cheapest[index], matched[image, index] = costs[index], box_index
    return matched


@settings(max_examples=40)
@given(
    images=images,
    size=sizes,
    seed=st.integers(0, 1000),
    radius=st.sampled_from([None, 1.5, 50.0]),
    quality=st.booleans(),
)
def test_simota_equals_plain_loops(images, size, seed, radius, quality) -> None:
    # Off-center costs of 1e5 lose small differences in float32: there only whether any box is matched is compared.
    labels = [[number % CLASSES for number in range(len(boxes))] for boxes in images]
    locations, targets = pyramid(*size), targets_of(*images, labels=labels)
    outputs = outputs_of(locations, len(images), seed, quality)
    matched = match_simota(targets, locations, outputs, radius).numpy()
    expected = simota_by_loops(targets, locations, outputs, radius)
    if radius == 1.5:
        assert ((matched != NO_OBJECT).sum() > 0) == ((expected != NO_OBJECT).sum() > 0)
    else:
        np.testing.assert_array_equal(matched, expected)


def _match_by_each_rule(targets: Targets, locations: Locations) -> dict[str, torch.Tensor]:
    outputs = outputs_of(locations, len(targets.boxes), seed=3)
    return {
        "atss": match_atss(targets, locations, 9),
        "center": match_center(targets, locations, RANGES, "closed", "plain"),
        "retinanet": match_retinanet(targets, locations, "all")[0],
        "simota": match_simota(targets, locations, outputs, 2.5),
    }


@pytest.mark.parametrize("room", [0, 4])
def test_no_boxes_match_nothing(room: int) -> None:
    empty = Targets(torch.zeros(2, room, 4), torch.zeros(2, room).long(), torch.zeros(2, room, dtype=torch.bool))
    for name, matched in _match_by_each_rule(empty, pyramid()).items():
        assert (matched == NO_OBJECT).all(), name


def test_one_box_is_assigned_locations_inside_it() -> None:
    locations = pyramid()
    for name, matched in _match_by_each_rule(targets_of([[20, 20, 84, 84]]), locations).items():
        assigned = locations.xy[matched[0] == 0]
        assert len(assigned) > 0, name
        assert ((assigned > 20) & (assigned < 84)).all(), name
        assert matched.max() == 0


def test_the_first_of_equal_boxes_wins() -> None:
    targets = targets_of([[20, 20, 84, 84]] * 3, labels=[[1, 1, 1]])
    for name, matched in _match_by_each_rule(targets, pyramid()).items():
        assert matched.max() == 0, name


def test_batch_equals_single_images(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(0)
    corner = torch.rand(2, 9, 2, generator=generator) * 100
    boxes = torch.cat((corner, corner + 10 + torch.rand(2, 9, 2, generator=generator) * 60), dim=-1)
    targets = Targets(boxes, torch.arange(18).view(2, 9) % CLASSES, torch.rand(2, 9, generator=generator) > 0.3)
    locations, outputs = pyramid(), outputs_of(pyramid(), 2)
    batched = {"simota": match_simota(targets, locations, outputs, 2.5), **_match_without_outputs(targets, locations)}
    for module in (atss, retinanet, simota):
        # The smallest chunks give the same.
        monkeypatch.setattr(module, "CPU_BUDGET", 1)
    for image in range(2):
        part = slice(image, image + 1)
        single = Targets(boxes[part], targets.labels[part], targets.valid[part])
        single_outputs = HeadOutputs(
            tuple(x[part] for x in outputs.logits), outputs.ltrb[part], present(outputs.quality)[part], outputs.shapes
        )
        single_matched = {
            "simota": match_simota(single, locations, single_outputs, 2.5),
            **_match_without_outputs(single, locations),
        }
        for name, matched in single_matched.items():
            assert (matched != NO_OBJECT).any(), name
            torch.testing.assert_close(matched, batched[name][part], msg=name)


def _match_without_outputs(targets: Targets, locations: Locations) -> dict[str, torch.Tensor]:
    return {
        "atss": match_atss(targets, locations, 9),
        "center": match_center(targets, locations, RANGES, "closed", "plain"),
        "retinanet": match_retinanet(targets, locations, "iou0_4")[0],
    }


def test_nine_anchors_have_three_sizes_and_three_ratios() -> None:
    sizes = torch.tensor(RETINANET_ANCHORS)
    assert sorted({round(float(area), 3) for area in sizes.prod(1).sqrt()}) == [4.0, 5.04, 6.35]
    assert sorted({round(float(ratio), 3) for ratio in sizes[:, 1] / sizes[:, 0]}) == [0.5, 1.0, 2.0]
