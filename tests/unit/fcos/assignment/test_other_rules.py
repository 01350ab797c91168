"""Assignments by overlap, by center and by prediction, against plain loops over images, boxes and locations."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fcos.assignment import atss, center, retinanet, simota
from fcos.assignment.anchors import NINE, anchors_of
from fcos.geometry import boxes_from_ltrb, compute_locations
from fcos.structures import NO_OBJECT, HeadOutputs, Locations, Targets
from tests.helpers.pyramids import CPU, RANGES, STRIDES, pyramid, targets_of

CLASSES = 3
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
    return shared / np.maximum(union, np.finfo(np.float32).tiny)


def boxes_of(targets: Targets) -> list[np.ndarray]:
    """The real boxes of each image; padding comes last."""
    return [rows[valid].numpy() for rows, valid in zip(targets.boxes, targets.valid, strict=True)]


def levels_of(places: Locations) -> list[range]:
    ends = [0, *itertools.accumulate(rows * columns for rows, columns in places.shapes)]
    return [range(first, end) for first, end in itertools.pairwise(ends)]


def inside(xy: np.ndarray, one: np.ndarray) -> bool:
    return bool((xy > one[:2]).all() and (xy < one[2:]).all())


def atss_by_hand(targets: Targets, places: Locations, k: int) -> np.ndarray:
    xy, squares = places.xy.numpy(), anchors_of(places).numpy()
    matched = np.full((len(targets.boxes), len(xy)), NO_OBJECT)
    for image, boxes in enumerate(boxes_of(targets)):
        best = np.full(len(xy), -1.0)
        for number, one in enumerate(boxes):
            center = (one[:2] + one[2:]) / 2
            candidates = []
            for level in levels_of(places):
                far = ((xy[level] - center) ** 2).sum(1)
                candidates += [level[i] for i in np.argsort(far, kind="stable")[:k]]
            overlaps = iou_of(one, squares[candidates])
            spread = overlaps.std(ddof=1, dtype=np.float64) if len(candidates) > 1 else 0.0
            threshold = overlaps.mean(dtype=np.float64) + spread - 1e-6
            for place, overlap in zip(candidates, overlaps, strict=True):
                if overlap >= threshold and inside(xy[place], one) and overlap > best[place]:
                    best[place], matched[image, place] = overlap, number
    return matched


@settings(max_examples=80)
@given(images=images, size=sizes, kind=kinds, k=st.sampled_from([1, 2, 9, 40]))
def test_atss_is_that_of_loops(images, size, kind, k) -> None:
    places, targets = pyramid(*size, kind), targets_of(*images)
    np.testing.assert_array_equal(atss.match(targets, places, k).numpy(), atss_by_hand(targets, places, k))


@settings(max_examples=80)
@given(one=box, size=sizes, kind=kinds, k=st.sampled_from([1, 3, 9, 19]))
def test_the_window_holds_the_nearest_locations(one, size, kind, k) -> None:
    places = pyramid(*size, kind)
    found = atss.nearest(torch.tensor([[one]]), places, k)[0, 0].tolist()
    center = np.array([one[0] + one[2], one[1] + one[3]], dtype=np.float32) / 2
    expected = []
    for level in levels_of(places):
        far = ((places.xy.numpy()[level] - center) ** 2).sum(1)
        expected += [level[i] for i in np.argsort(far, kind="stable")[:k]]
    assert found == expected


def center_by_hand(targets: Targets, places: Locations, ends: str) -> np.ndarray:
    """The cell that holds the center, for locations half a stride in."""
    matched = np.full((len(targets.boxes), len(places.xy)), NO_OBJECT)
    for image, boxes in enumerate(boxes_of(targets)):
        smallest = np.full(len(places.xy), math.inf)
        for number, one in enumerate(boxes):
            half = (one[2:] - one[:2]).max() / 2
            for level, stride, shape, (low, high) in zip(
                levels_of(places), STRIDES, places.shapes, RANGES, strict=True
            ):
                high = math.inf if high is None else high
                held = low <= half <= high if ends == "closed" else low < half < high
                cell = np.floor((one[:2] + one[2:]) / 2 / stride).clip(0, [shape[1] - 1, shape[0] - 1])
                place = level[int(cell[1]) * shape[1] + int(cell[0])]
                area = (one[2:] - one[:2]).prod()
                if held and inside(places.xy[place].numpy(), one) and area < smallest[place]:
                    smallest[place], matched[image, place] = area, number
    return matched


@settings(max_examples=80)
@given(images=images, size=sizes, ends=st.sampled_from(["closed", "open"]))
def test_center_is_that_of_loops(images, size, ends) -> None:
    places, targets = pyramid(*size), targets_of(*images)
    found = center.match(targets, places, RANGES, ends, "plain")
    np.testing.assert_array_equal(found.numpy(), center_by_hand(targets, places, ends))


def anchors_by_hand(targets: Targets, places: Locations, least: float) -> tuple[np.ndarray, np.ndarray]:
    squares = anchors_of(places).numpy()
    matched = np.full((len(targets.boxes), len(squares)), NO_OBJECT)
    ignored = np.zeros(matched.shape, dtype=bool)
    for image, boxes in enumerate(boxes_of(targets)):
        if not len(boxes):
            continue
        overlaps = np.stack([iou_of(one, squares) for one in boxes])
        own, best = overlaps.argmax(0), overlaps.max(0)
        positive = best >= 0.5
        for row in overlaps:
            if row.max() > 0 and row.max() >= least:
                positive |= row == row.max()
        matched[image] = np.where(positive, own, NO_OBJECT)
        ignored[image] = ~positive & (best >= np.float32(0.4))
    return matched, ignored


@settings(max_examples=60)
@given(images=images, size=sizes, rule=st.sampled_from(["none", "iou0_4", "all"]), nine=st.booleans())
def test_anchors_are_matched_as_by_loops(images, size, rule, nine) -> None:
    places, targets = pyramid(*size), targets_of(*images)
    if nine:
        places = compute_locations(places.shapes, STRIDES, size, "half_stride", CPU, anchors=NINE)
    matched, ignored = retinanet.match(targets, places, rule)
    expected = anchors_by_hand(targets, places, retinanet.LEAST_IOU[rule])
    np.testing.assert_array_equal(matched.numpy(), expected[0])
    np.testing.assert_array_equal(ignored.numpy(), expected[1])


def outputs_of(places: Locations, batch: int, seed: int = 0, quality: bool = True) -> HeadOutputs:
    generator = torch.Generator().manual_seed(seed)
    num = len(places.xy)
    logits = torch.randn(batch, num, CLASSES, generator=generator)
    ltrb = torch.rand(batch, num, 4, generator=generator) * places.strides[:, None] * 4
    counts = [rows * columns for rows, columns in places.shapes]
    found = torch.randn(batch, num, generator=generator) if quality else None
    return HeadOutputs(logits.split(counts, dim=1), ltrb, found, places.shapes)


def simota_by_hand(targets: Targets, places: Locations, outputs: HeadOutputs, radius: float | None) -> np.ndarray:
    xy = places.xy.numpy()
    matched = np.full((len(targets.boxes), len(xy)), NO_OBJECT)
    score = outputs.joined_logits.sigmoid()
    if outputs.quality is not None:
        score = (score * outputs.quality.sigmoid()[..., None]).sqrt()
    for image, boxes in enumerate(boxes_of(targets)):
        predicted = boxes_from_ltrb(places.xy, outputs.ltrb[image]).numpy()
        cheapest = np.full(len(xy), math.inf)
        for number, one in enumerate(boxes):
            overlaps, center = iou_of(one, predicted), (one[:2] + one[2:]) / 2
            candidates = [place for place in range(len(xy)) if inside(xy[place], one)]
            costs = {}
            for place in candidates:
                truth = torch.zeros(CLASSES)
                truth[targets.labels[image, number]] = 1
                cost = torch.nn.functional.binary_cross_entropy(score[image, place], truth, reduction="sum").item()
                cost -= 3 * math.log(overlaps[place] + 1e-8)
                near = radius is None or np.abs(xy[place] - center).max() < radius * places.strides[place].item()
                costs[place] = cost + (0 if near else 1e5)
            count = max(1, int(np.sort(overlaps[candidates])[::-1][:10].sum()))
            for place in sorted(candidates, key=costs.__getitem__)[:count]:
                if costs[place] < cheapest[place]:
                    cheapest[place], matched[image, place] = costs[place], number
    return matched


@settings(max_examples=40)
@given(
    images=images,
    size=sizes,
    seed=st.integers(0, 1000),
    radius=st.sampled_from([None, 1.5, 50.0]),
    quality=st.booleans(),
)
def test_simota_is_that_of_loops(images, size, seed, radius, quality) -> None:
    # Far from the center costs differ by what float32 cannot hold at 1e5: there only the number is compared.
    labels = [[number % CLASSES for number in range(len(boxes))] for boxes in images]
    places, targets = pyramid(*size), targets_of(*images, labels=labels)
    outputs = outputs_of(places, len(images), seed, quality)
    found = simota.match(targets, places, outputs, radius).numpy()
    expected = simota_by_hand(targets, places, outputs, radius)
    if radius == 1.5:
        assert ((found != NO_OBJECT).sum() > 0) == ((expected != NO_OBJECT).sum() > 0)
    else:
        np.testing.assert_array_equal(found, expected)


def each_of(targets: Targets, places: Locations) -> dict[str, torch.Tensor]:
    outputs = outputs_of(places, len(targets.boxes), seed=3)
    return {
        "atss": atss.match(targets, places, 9),
        "center": center.match(targets, places, RANGES, "closed", "plain"),
        "retinanet": retinanet.match(targets, places, "all")[0],
        "simota": simota.match(targets, places, outputs, 2.5),
    }


@pytest.mark.parametrize("room", [0, 4])
def test_no_boxes_match_nothing(room: int) -> None:
    empty = Targets(torch.zeros(2, room, 4), torch.zeros(2, room).long(), torch.zeros(2, room, dtype=torch.bool))
    for name, matched in each_of(empty, pyramid()).items():
        assert (matched == NO_OBJECT).all(), name


def test_one_box_owns_locations_inside_of_it() -> None:
    places = pyramid()
    for name, matched in each_of(targets_of([[20, 20, 84, 84]]), places).items():
        own = places.xy[matched[0] == 0]
        assert len(own) > 0, name
        assert ((own > 20) & (own < 84)).all(), name
        assert matched.max() == 0


def test_of_equal_boxes_the_first_wins() -> None:
    targets = targets_of([[20, 20, 84, 84]] * 3, labels=[[1, 1, 1]])
    for name, matched in each_of(targets, pyramid()).items():
        assert matched.max() == 0, name


def test_a_batch_is_its_images(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(0)
    corner = torch.rand(2, 9, 2, generator=generator) * 100
    boxes = torch.cat((corner, corner + 10 + torch.rand(2, 9, 2, generator=generator) * 60), dim=-1)
    targets = Targets(boxes, torch.arange(18).view(2, 9) % CLASSES, torch.rand(2, 9, generator=generator) > 0.3)
    places, outputs = pyramid(), outputs_of(pyramid(), 2)
    together = {"simota": simota.match(targets, places, outputs, 2.5), **_by_boxes(targets, places)}
    for module in (atss, retinanet, simota):
        # The smallest parts give the same.
        monkeypatch.setattr(module, "CPU_BUDGET", 1)
    for image in range(2):
        part = slice(image, image + 1)
        alone = Targets(boxes[part], targets.labels[part], targets.valid[part])
        own = HeadOutputs(
            tuple(x[part] for x in outputs.logits), outputs.ltrb[part], outputs.quality[part], outputs.shapes
        )
        found = {"simota": simota.match(alone, places, own, 2.5), **_by_boxes(alone, places)}
        for name, matched in found.items():
            assert (matched != NO_OBJECT).any(), name
            torch.testing.assert_close(matched, together[name][part], msg=name)


def _by_boxes(targets: Targets, places: Locations) -> dict[str, torch.Tensor]:
    return {
        "atss": atss.match(targets, places, 9),
        "center": center.match(targets, places, RANGES, "closed", "plain"),
        "retinanet": retinanet.match(targets, places, "iou0_4")[0],
    }


def test_nine_anchors_have_three_sizes_and_three_ratios() -> None:
    sizes = torch.tensor(NINE)
    assert sorted({round(float(area), 3) for area in sizes.prod(1).sqrt()}) == [4.0, 5.04, 6.35]
    assert sorted({round(float(ratio), 3) for ratio in sizes[:, 1] / sizes[:, 0]}) == [0.5, 1.0, 2.0]
