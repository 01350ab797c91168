"""Post-processing equals a plain implementation of the papers, and edge cases."""

import math

import pytest
import torch
import torchvision.ops as ops
from hypothesis import given, settings
from hypothesis import strategies as st

from fcos.config.model_parts import PostprocessConfig
from fcos.geometry import boxes_from_ltrb, centerness, compute_locations
from fcos.postprocess.decode import peaks
from fcos.postprocess.nms import standard_nms
from fcos.structures import HeadOutputs
from tests.helpers.detections.postprocessing import IMAGE, SHAPES, STRIDES, make_postprocess, sizes
from tests.helpers.present import present

LOCATIONS = compute_locations(SHAPES, STRIDES, IMAGE, "half_stride", torch.device("cpu"))


def outputs_of(seed: int, images: int = 2, classes: int = 3, bias: float = -1.0) -> HeadOutputs:
    generator = torch.Generator().manual_seed(seed)
    num = len(LOCATIONS.xy)
    return HeadOutputs(
        split_levels(torch.randn(images, num, classes, generator=generator) * 2 + bias),
        torch.rand(images, num, 4, generator=generator) * 20,
        torch.randn(images, num, generator=generator),
        SHAPES,
    )


def split_levels(logits: torch.Tensor) -> tuple[torch.Tensor, ...]:
    levels: tuple[torch.Tensor, ...] = logits.split([height * width for height, width in SHAPES], dim=1)
    return levels


def detect_by_hand(config: PostprocessConfig, outputs: HeadOutputs, image: int) -> list[tuple[float, int, list[float]]]:
    """Post-process one image level by level, without shortcuts."""
    boxes = ops.clip_boxes_to_image(boxes_from_ltrb(LOCATIONS.xy, outputs.ltrb[image]), IMAGE)
    classification = outputs.joined_logits[image].sigmoid()
    quality = {
        "none": torch.ones(len(boxes)),
        "branch": present(outputs.quality)[image].sigmoid(),
        "from_regression": centerness(outputs.ltrb[image]),
    }[config.quality]
    score = classification * quality[:, None]
    if config.score == "sqrt" and config.quality != "none":
        score = score.sqrt()
    thresholded = classification if config.threshold_on == "classification" else score
    chosen = thresholded > config.score_threshold
    if not config.multi_label:
        chosen &= torch.nn.functional.one_hot(classification.argmax(1), classification.shape[1]).bool()
    rows, labels, start = [], [], 0
    for height, width in SHAPES:
        level = slice(start, start + height * width)
        row, label = chosen[level].nonzero(as_tuple=True)
        best = score[level][row, label].argsort(descending=True, stable=True)[: config.topk_per_level]
        rows.append(row[best] + start)
        labels.append(label[best])
        start += height * width
    row, label = torch.cat(rows), torch.cat(labels)
    keep = ops.batched_nms(boxes[row], score[row, label], label, config.nms_threshold)[: config.max_detections]
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
def test_detections_equal_a_plain_implementation(
    seed, quality, score, threshold_on, topk, limit, multi_label, bias
) -> None:
    postprocess = make_postprocess(
        quality=quality, score=score, threshold_on=threshold_on, topk_per_level=topk, max_detections=limit,
        multi_label=multi_label,
    )  # fmt: skip
    outputs = outputs_of(seed, bias=bias)
    detections = postprocess(outputs, LOCATIONS, sizes(2), sizes(2))
    for image, image_detections in enumerate(detections):
        expected = detect_by_hand(postprocess.config, outputs, image)
        torch.testing.assert_close(image_detections.scores, torch.tensor([e[0] for e in expected]))
        assert image_detections.labels.tolist() == [e[1] for e in expected]
        torch.testing.assert_close(image_detections.boxes, torch.tensor([e[2] for e in expected]).view(-1, 4))


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
        positions = (kept[image].unflatten(0, (7, 5)) > -math.inf).nonzero().tolist()
        assert [tuple(position) for position in positions] == peaks_by_hand(logits[image].unflatten(0, (7, 5)))
    assert (kept[kept > -math.inf] == logits[kept > -math.inf]).all()


def test_peaks_replace_nms() -> None:
    outputs = outputs_of(2, images=1, classes=1)
    detections = make_postprocess(suppression="peaks", quality="none", score_threshold=0.0)(
        outputs, LOCATIONS, sizes(1), sizes(1)
    )[0]
    expected = [
        float(level[0, row * width + column, 0].sigmoid())
        for level, (height, width) in zip(outputs.logits, SHAPES, strict=True)
        for row, column, _ in peaks_by_hand(level[0].unflatten(0, (height, width)))
    ]
    torch.testing.assert_close(detections.scores, torch.tensor(sorted(expected, reverse=True)))
    limited = make_postprocess(suppression="peaks", quality="none", max_detections=3)(
        outputs, LOCATIONS, sizes(1), sizes(1)
    )[0]
    torch.testing.assert_close(limited.scores, detections.scores[:3])


def test_no_score_above_the_threshold_gives_no_detections() -> None:
    detections = make_postprocess()(outputs_of(0, bias=-50), LOCATIONS, sizes(2), sizes(2))
    assert [len(image.boxes) for image in detections] == [0, 0]
    assert detections[0].boxes.shape == (0, 4)


def test_batch_equals_single_images() -> None:
    outputs = outputs_of(5)
    batched = make_postprocess()(outputs, LOCATIONS, sizes(2), sizes(2))
    for image in range(2):
        part = slice(image, image + 1)
        single = HeadOutputs(
            tuple(x[part] for x in outputs.logits), outputs.ltrb[part], present(outputs.quality)[part], SHAPES
        )
        torch.testing.assert_close(
            make_postprocess()(single, LOCATIONS, sizes(1), sizes(1))[0].boxes, batched[image].boxes
        )


def test_boxes_are_in_pixels_of_the_original_image() -> None:
    outputs = outputs_of(1, images=1)
    resized = make_postprocess()(outputs, LOCATIONS, sizes(1, 48, 60), sizes(1, 48, 60))[0]
    original = make_postprocess()(outputs, LOCATIONS, sizes(1, 48, 60), sizes(1, 96, 30))[0]
    torch.testing.assert_close(original.boxes, resized.boxes * torch.tensor([0.5, 2.0, 0.5, 2.0]))
    assert (resized.boxes[:, 2] <= 60).all() and (resized.boxes[:, 3] <= 48).all()


@pytest.mark.parametrize("limit", [1, 7, 100])
def test_nms_on_a_growing_prefix_equals_nms_on_all(limit: int) -> None:
    generator = torch.Generator().manual_seed(0)
    corner = torch.rand(900, 2, generator=generator) * 60
    boxes = torch.cat((corner, corner + 5 + torch.rand(900, 2, generator=generator) * 30), dim=1)
    scores = torch.rand(900, generator=generator).sort(descending=True).values
    labels = torch.randint(0, 2, (900,), generator=generator)
    whole = ops.batched_nms(boxes, scores, labels, 0.3)[:limit]
    torch.testing.assert_close(standard_nms(boxes, scores, labels, 0.3, limit), whole)


def test_with_inclusive_corners_a_perfect_prediction_gives_back_the_annotated_box() -> None:
    # v1's code trains on x2 = x + w - 1; given out, the last pixel belongs to the box again.
    annotated = torch.tensor([10.0, 20.0, 26.0, 36.0])
    trained_on = annotated - torch.tensor([0.0, 0, 1, 1])
    num = len(LOCATIONS.xy)
    location = int(((LOCATIONS.xy - 20).abs().sum(1) + 100 * (LOCATIONS.strides - 8).abs()).argmin())
    logits = torch.full((1, num, 1), -20.0)
    logits[0, location] = 5.0
    ltrb = torch.ones(1, num, 4)
    xy = LOCATIONS.xy[location]
    ltrb[0, location] = torch.cat((xy - trained_on[:2], trained_on[2:] - xy))
    outputs = HeadOutputs(split_levels(logits), ltrb, torch.zeros(1, num), SHAPES)
    detections = make_postprocess(box_convention="inclusive")(outputs, LOCATIONS, sizes(1), sizes(1))[0]
    torch.testing.assert_close(detections.boxes, annotated[None])
