"""Post-processing against a plain reading of the papers, and its edges."""

import math

import pytest
import torch
import torchvision.ops as ops
from hypothesis import given, settings
from hypothesis import strategies as st

from fcos.config.model_parts import PostprocessConfig
from fcos.geometry import boxes_from_ltrb, centerness, compute_locations
from fcos.postprocess.decode import peaks
from fcos.postprocess.nms import nms_of_best
from fcos.structures import HeadOutputs
from tests.helpers.postprocessing import IMAGE, SHAPES, STRIDES, rule, sizes

PLACES = compute_locations(SHAPES, STRIDES, IMAGE, "half_stride", torch.device("cpu"))


def outputs_of(seed: int, images: int = 2, classes: int = 3, bias: float = -1.0) -> HeadOutputs:
    generator = torch.Generator().manual_seed(seed)
    num = len(PLACES.xy)
    return HeadOutputs(
        apart(torch.randn(images, num, classes, generator=generator) * 2 + bias),
        torch.rand(images, num, 4, generator=generator) * 20,
        torch.randn(images, num, generator=generator),
        SHAPES,
    )


def apart(logits: torch.Tensor) -> tuple[torch.Tensor, ...]:
    return logits.split([height * width for height, width in SHAPES], dim=1)


def by_hand(setting: PostprocessConfig, outputs: HeadOutputs, image: int) -> list[tuple[float, int, list[float]]]:
    """One image, level by level, the long way."""
    boxes = ops.clip_boxes_to_image(boxes_from_ltrb(PLACES.xy, outputs.ltrb[image]), IMAGE)
    classification = outputs.joined_logits[image].sigmoid()
    quality = {
        "none": torch.ones(len(boxes)),
        "branch": outputs.quality[image].sigmoid(),
        "from_regression": centerness(outputs.ltrb[image]),
    }[setting.quality]
    score = classification * quality[:, None]
    if setting.score == "sqrt" and setting.quality != "none":
        score = score.sqrt()
    held = classification if setting.threshold_on == "classification" else score
    chosen = held > setting.score_threshold
    if not setting.multi_label:
        chosen &= torch.nn.functional.one_hot(classification.argmax(1), classification.shape[1]).bool()
    rows, labels, start = [], [], 0
    for height, width in SHAPES:
        level = slice(start, start + height * width)
        row, label = chosen[level].nonzero(as_tuple=True)
        best = score[level][row, label].argsort(descending=True, stable=True)[: setting.topk_per_level]
        rows.append(row[best] + start)
        labels.append(label[best])
        start += height * width
    row, label = torch.cat(rows), torch.cat(labels)
    keep = ops.batched_nms(boxes[row], score[row, label], label, setting.nms_threshold)[: setting.max_detections]
    return [(float(score[row[i], label[i]]), int(label[i]), boxes[row[i]].tolist()) for i in keep]


@settings(max_examples=60)
@given(
    seed=st.integers(0, 10_000),
    quality=st.sampled_from(["none", "branch", "from_regression"]),
    score=st.sampled_from(["sqrt", "product"]),
    threshold_on=st.sampled_from(["classification", "score"]),
    topk=st.sampled_from([3, 20, 1000]),
    limit=st.sampled_from([1, 5, 100]),
    multi_label=st.booleans(),
    bias=st.sampled_from([-6.0, -2.0, 1.0]),
)
def test_detections_are_those_of_the_long_way(
    seed, quality, score, threshold_on, topk, limit, multi_label, bias
) -> None:
    setting = rule(
        quality=quality, score=score, threshold_on=threshold_on, topk_per_level=topk, max_detections=limit,
        multi_label=multi_label,
    )  # fmt: skip
    outputs = outputs_of(seed, bias=bias)
    found = setting(outputs, PLACES, sizes(2), sizes(2))
    for image, detections in enumerate(found):
        expected = by_hand(setting.rule, outputs, image)
        torch.testing.assert_close(detections.scores, torch.tensor([e[0] for e in expected]))
        assert detections.labels.tolist() == [e[1] for e in expected]
        torch.testing.assert_close(detections.boxes, torch.tensor([e[2] for e in expected]).view(-1, 4))


def peaks_by_hand(logits: torch.Tensor) -> list[tuple[int, int, int]]:
    """(row, column, class) of one map [rows, columns, classes] that no neighbour exceeds."""
    rows, columns, classes = logits.shape
    return [
        (row, column, label)
        for row in range(rows)
        for column in range(columns)
        for label in range(classes)
        if logits[row, column, label] >= logits[max(row - 1, 0) : row + 2, max(column - 1, 0) : column + 2, label].max()
    ]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_peaks_are_those_that_no_neighbour_exceeds(dtype: torch.dtype) -> None:
    logits = torch.randn(2, 7 * 5, 3, generator=torch.Generator().manual_seed(0)).mul(3).round().to(dtype)
    kept = peaks(logits, (7, 5))
    for image in range(2):
        found = (kept[image].unflatten(0, (7, 5)) > -math.inf).nonzero().tolist()
        assert [tuple(place) for place in found] == peaks_by_hand(logits[image].unflatten(0, (7, 5)))
    assert (kept[kept > -math.inf] == logits[kept > -math.inf]).all()


def test_peaks_replace_nms() -> None:
    outputs = outputs_of(2, images=1, classes=1)
    found = rule(suppression="peaks", quality="none", score_threshold=0.0)(outputs, PLACES, sizes(1), sizes(1))[0]
    expected = [
        float(level[0, row * width + column, 0].sigmoid())
        for level, (height, width) in zip(outputs.logits, SHAPES, strict=True)
        for row, column, _ in peaks_by_hand(level[0].unflatten(0, (height, width)))
    ]
    torch.testing.assert_close(found.scores, torch.tensor(sorted(expected, reverse=True)))
    few = rule(suppression="peaks", quality="none", max_detections=3)(outputs, PLACES, sizes(1), sizes(1))[0]
    torch.testing.assert_close(few.scores, found.scores[:3])


def test_nothing_over_the_threshold_is_no_detection() -> None:
    found = rule()(outputs_of(0, bias=-50), PLACES, sizes(2), sizes(2))
    assert [len(image.boxes) for image in found] == [0, 0]
    assert found[0].boxes.shape == (0, 4)


def test_one_image_alone_gives_what_it_gives_in_a_batch() -> None:
    outputs = outputs_of(5)
    together = rule()(outputs, PLACES, sizes(2), sizes(2))
    for image in range(2):
        part = slice(image, image + 1)
        alone = HeadOutputs(tuple(x[part] for x in outputs.logits), outputs.ltrb[part], outputs.quality[part], SHAPES)
        torch.testing.assert_close(rule()(alone, PLACES, sizes(1), sizes(1))[0].boxes, together[image].boxes)


def test_boxes_go_back_to_the_original_image() -> None:
    outputs = outputs_of(1, images=1)
    resized = rule()(outputs, PLACES, sizes(1, 48, 60), sizes(1, 48, 60))[0]
    original = rule()(outputs, PLACES, sizes(1, 48, 60), sizes(1, 96, 30))[0]
    torch.testing.assert_close(original.boxes, resized.boxes * torch.tensor([0.5, 2.0, 0.5, 2.0]))
    assert (resized.boxes[:, 2] <= 60).all() and (resized.boxes[:, 3] <= 48).all()


@pytest.mark.parametrize("limit", [1, 7, 100])
def test_nms_of_a_prefix_is_the_prefix_of_nms(limit: int) -> None:
    generator = torch.Generator().manual_seed(0)
    corner = torch.rand(900, 2, generator=generator) * 60
    boxes = torch.cat((corner, corner + 5 + torch.rand(900, 2, generator=generator) * 30), dim=1)
    scores = torch.rand(900, generator=generator).sort(descending=True).values
    labels = torch.randint(0, 2, (900,), generator=generator)
    whole = ops.batched_nms(boxes, scores, labels, 0.3)[:limit]
    torch.testing.assert_close(nms_of_best(boxes, scores, labels, 0.3, limit), whole)


def test_with_inclusive_corners_a_perfect_prediction_gives_back_the_annotated_box() -> None:
    # v1's code trains on x2 = x + w - 1; given out, the last pixel belongs to the box again.
    annotated = torch.tensor([10.0, 20.0, 26.0, 36.0])
    trained_on = annotated - torch.tensor([0.0, 0, 1, 1])
    num = len(PLACES.xy)
    location = int(((PLACES.xy - 20).abs().sum(1) + 100 * (PLACES.strides - 8).abs()).argmin())
    logits = torch.full((1, num, 1), -20.0)
    logits[0, location] = 5.0
    ltrb = torch.ones(1, num, 4)
    xy = PLACES.xy[location]
    ltrb[0, location] = torch.cat((xy - trained_on[:2], trained_on[2:] - xy))
    outputs = HeadOutputs(apart(logits), ltrb, torch.zeros(1, num), SHAPES)
    found = rule(box_convention="inclusive")(outputs, PLACES, sizes(1), sizes(1))[0]
    torch.testing.assert_close(found.boxes, annotated[None])
