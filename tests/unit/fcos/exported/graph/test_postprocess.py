"""Post-processing of fixed shapes finds what the one of fcos.postprocess finds."""

from typing import Any

import pytest
import torch

from fcos.config.model_parts import PostprocessConfig
from fcos.errors import ConfigError
from fcos.exported.graph.postprocess import DensePostprocess, check_exportable
from fcos.geometry import compute_locations
from fcos.structures import NO_OBJECT, Detections, HeadOutputs
from tests.helpers.detections.postprocessing import IMAGE, SHAPES, STRIDES, make_postprocess

CPU = torch.device("cpu")
ORIGINAL = torch.tensor([[128, 96], [64, 64], [200, 300]])
SIZES = torch.tensor([[64, 48], [64, 64], [40, 60]])


def random_outputs(seed: int, *, spread: float = 3.0, num_classes: int = 4) -> HeadOutputs:
    """Head outputs of three images, among which no two scores are equal."""
    generator = torch.Generator().manual_seed(seed)
    counts = [rows * columns for rows, columns in SHAPES]
    logits = tuple(torch.randn(3, count, num_classes, generator=generator) * spread - 1 for count in counts)
    ltrb = torch.rand(3, sum(counts), 4, generator=generator) * 40
    return HeadOutputs(logits, ltrb, torch.randn(3, sum(counts), generator=generator) * 2, SHAPES)


def as_detections(found: tuple[torch.Tensor, ...]) -> list[Detections]:
    boxes, scores, labels, counts = found
    return [
        Detections(boxes[row, :number], scores[row, :number], labels[row, :number])
        for row, number in enumerate(counts.tolist())
    ]


def both(outputs: HeadOutputs, **changes: Any) -> tuple[list[Detections], list[Detections]]:
    """The detections of the dense post-processing and of the other one."""
    postprocess = make_postprocess(**changes)
    dense = DensePostprocess(postprocess.config, postprocess.box_convention)
    locations = compute_locations(SHAPES, STRIDES, IMAGE, "half_stride", CPU)
    found = dense(outputs, locations.xy, SIZES, ORIGINAL)
    return as_detections(found), postprocess(outputs, locations, SIZES, ORIGINAL)


SETTINGS: list[dict[str, Any]] = [
    {},
    {"score": "product", "threshold_on": "score"},
    {"multi_label": False},
    {"quality": "none"},
    {"quality": "from_regression", "threshold_on": "score", "score_threshold": 0.3},
    {"topk_per_level": 7},
    {"topk_per_level": 7, "topk_by": "classification"},
    {"max_detections": 3, "nms_threshold": 0.3},
    {"clip": "after_nms", "drop_empty": "after_nms"},
    {"drop_empty": "before_nms"},
    {"box_convention": "inclusive", "nms_corners": "inclusive"},
    {"nms_over": "all", "multi_label": False},
    {"suppression": "peaks"},
    {"score_threshold": 0.0},
]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("changes", SETTINGS, ids=lambda each: ",".join(f"{k}={v}" for k, v in each.items()) or "own")
def test_detections_are_those_of_the_other_post_processing(changes: dict[str, Any], seed: int) -> None:
    dense, expected = both(random_outputs(seed), **changes)
    assert sum(len(item.labels) for item in expected) > 0
    for found, other in zip(dense, expected, strict=True):
        assert torch.equal(found.labels, other.labels)
        torch.testing.assert_close(found.scores, other.scores, rtol=1e-6, atol=0)
        torch.testing.assert_close(found.boxes, other.boxes, rtol=0, atol=1e-4)


def test_boxes_outside_of_the_image_leave_no_gap() -> None:
    outputs = random_outputs(5)
    # Every other location predicts a box left of the image.
    outputs.ltrb[:, ::2] = torch.tensor([200.0, 3.0, -190.0, 3.0])
    dense, expected = both(outputs, clip="after_nms", drop_empty="after_nms")
    assert all(0 < len(item.labels) < 100 for item in expected)
    for found, other in zip(dense, expected, strict=True):
        torch.testing.assert_close(found.boxes, other.boxes, rtol=0, atol=1e-4)


def test_an_image_without_detections_has_empty_slots() -> None:
    outputs = random_outputs(0)
    for logits in outputs.logits:
        logits[1] = -20
    config = make_postprocess().config
    locations = compute_locations(SHAPES, STRIDES, IMAGE, "half_stride", CPU)
    boxes, scores, labels, counts = DensePostprocess(config, "plain")(outputs, locations.xy, SIZES, ORIGINAL)
    assert counts[1] == 0 and counts[0] > 0 and counts[2] > 0
    assert (boxes[1] == 0).all() and (scores[1] == 0).all() and (labels[1] == NO_OBJECT).all()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"oracle": "class"}, r"oracle=class: needs annotated boxes, .* evaluate the run's folder"),
        ({"tta_flip": True}, r"tta_flip=true: takes several forward passes; export with --raw"),
        ({"tta_scales": (0.5, 1.0)}, r"tta_scales=\[0\.5, 1\.0\]: scaled canvases .* evaluate the run's folder"),
        ({"suppression": "set_nms"}, r"suppression=set_nms: ONNX has no operator"),
    ],
)
def test_what_a_graph_cannot_hold_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        check_exportable(PostprocessConfig(**changes))
