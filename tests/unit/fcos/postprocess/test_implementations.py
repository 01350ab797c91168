"""Each preset detects as its implementation does, written out plainly: order of clipping, NMS and dropping."""

from dataclasses import dataclass
from typing import Any, Literal

import pytest
import torch
from torch import Tensor

from fcos.config.model import ModelConfig
from fcos.config.parse import parse, with_keys
from fcos.config.presets import load_presets
from fcos.errors import ConfigError
from fcos.geometry import compute_locations
from fcos.postprocess.decode import Postprocess
from fcos.postprocess.nms import standard_nms
from fcos.structures import Detections, HeadOutputs
from tests.helpers.detections.postprocessing import IMAGE, SHAPES, STRIDES, make_postprocess, sizes
from tests.helpers.present import present

LOCATIONS = compute_locations(SHAPES, STRIDES, IMAGE, "half_stride", torch.device("cpu"))
PRESETS = load_presets()
# Smaller than the padded input, so that boxes of locations in the padding lie wholly outside.
HEIGHT, WIDTH = 50, 44
LEVELS = [rows * columns for rows, columns in SHAPES]


@dataclass(frozen=True)
class Steps:
    """What an implementation's own code does after its head."""

    root: bool
    threshold: float
    # The threshold is held against the class, or against the score.
    threshold_on_class: bool = True
    topk_by_class: bool = False
    # Coordinates end in side - 1; and 1 is added to widths in NMS.
    last_pixel: int = 0
    nms_extra: int = 0
    nms_threshold: float = 0.6
    clip: Literal["first", "last"] = "first"
    drop: Literal["never", "first", "last"] = "never"


IMPLEMENTATIONS = {
    "official_v1": Steps(root=True, threshold=0.05, last_pixel=1, nms_extra=1),
    "official_improved": Steps(root=True, threshold=0.05, last_pixel=1, nms_extra=1),
    "adelaidet": Steps(root=True, threshold=0.05, clip="last", drop="last"),
    "torchvision": Steps(root=True, threshold=0.2, threshold_on_class=False),
    "mmdetection": Steps(root=False, threshold=0.05, topk_by_class=True, nms_threshold=0.5, drop="first"),
    "detectron2": Steps(root=True, threshold=0.2, threshold_on_class=False, clip="last", drop="last"),
    "fcos_plus": Steps(root=False, threshold=0.05, last_pixel=1, nms_extra=1),
    "rosinality": Steps(root=True, threshold=0.05, last_pixel=1),
}


def outputs_of(seed: int, classes: int = 3) -> HeadOutputs:
    generator = torch.Generator().manual_seed(seed)
    num = len(LOCATIONS.xy)
    logits = torch.randn(1, num, classes, generator=generator) * 2 - 1
    ltrb = torch.rand(1, num, 4, generator=generator) ** 2 * 40
    return HeadOutputs(logits.split(LEVELS, dim=1), ltrb, torch.randn(1, num, generator=generator), SHAPES)


def iou(one: list[float], other: list[float], extra: int) -> float:
    def area(x1: float, y1: float, x2: float, y2: float) -> float:
        return max(x2 - x1 + extra, 0) * max(y2 - y1 + extra, 0)

    shared = area(max(one[0], other[0]), max(one[1], other[1]), min(one[2], other[2]), min(one[3], other[3]))
    union = area(*one) + area(*other) - shared
    return shared / union if union > 0 else 0.0


def clip(box: list[float], last_pixel: int) -> list[float]:
    ends = (WIDTH - last_pixel, HEIGHT - last_pixel) * 2
    return [min(max(value, 0.0), float(end)) for value, end in zip(box, ends, strict=True)]


def detect_by_hand(steps: Steps, outputs: HeadOutputs, topk: int, limit: int) -> list[tuple[float, int, list[float]]]:
    """Score, class and box of the detections of the one image, at its input size."""
    classification, quality = outputs.joined_logits[0].sigmoid(), present(outputs.quality)[0].sigmoid()
    score = classification * quality[:, None]
    if steps.root:
        score = score.sqrt()
    found, start = [], 0
    for count in LEVELS:
        rows = [(row, label) for row in range(start, start + count) for label in range(score.shape[1])]
        held = classification if steps.threshold_on_class else score
        rows = [each for each in rows if held[each] > steps.threshold]
        ranked = classification if steps.topk_by_class else score
        found += sorted(rows, key=lambda each: -float(ranked[each]))[:topk]
        start += count
    found.sort(key=lambda each: -float(score[each]))
    kept: list[tuple[float, int, list[float]]] = []
    for row, label in found:
        (x, y), (left, top, right, bottom) = LOCATIONS.xy[row].tolist(), outputs.ltrb[0, row].tolist()
        box = [x - left, y - top, x + right, y + bottom]
        if steps.clip == "first":
            box = clip(box, steps.last_pixel)
        if steps.drop == "first" and (box[0] >= box[2] or box[1] >= box[3]):
            continue
        if all(other != label or iou(box, each, steps.nms_extra) <= steps.nms_threshold for _, other, each in kept):
            kept.append((float(score[row, label]), label, box))
    result = []
    for value, label, box in kept[:limit]:
        x1, y1, x2, y2 = clip(box, steps.last_pixel)
        if steps.drop != "last" or (x1 < x2 and y1 < y2):
            result.append((value, label, [x1, y1, x2 + steps.last_pixel, y2 + steps.last_pixel]))
    return result


def detect(model: ModelConfig, outputs: HeadOutputs, **changes: Any) -> Detections:
    setting = model.postprocess.model_copy(update=changes)
    image_sizes = sizes(1, HEIGHT, WIDTH)
    return Postprocess(setting, model.assignment.corners)(outputs, LOCATIONS, image_sizes, image_sizes)[0]


def assert_same(found: Detections, expected: list[tuple[float, int, list[float]]]) -> None:
    assert found.labels.tolist() == [label for _, label, _ in expected]
    torch.testing.assert_close(found.scores, torch.tensor([value for value, _, _ in expected]))
    torch.testing.assert_close(found.boxes, torch.tensor([box for *_, box in expected]).view(-1, 4))


@pytest.mark.parametrize("name", IMPLEMENTATIONS)
@pytest.mark.parametrize(("topk", "limit"), [(1000, 100), (20, 100), (1000, 15)])
def test_a_preset_detects_as_its_implementation(name: str, topk: int, limit: int) -> None:
    for seed in range(3):
        outputs = outputs_of(seed)
        found = detect(PRESETS[name], outputs, topk_per_level=topk, max_detections=limit)
        expected = detect_by_hand(IMPLEMENTATIONS[name], outputs, topk, limit)
        assert expected
        assert_same(found, expected)


def test_every_preset_is_compared() -> None:
    assert set(IMPLEMENTATIONS) == set(PRESETS)


@pytest.mark.parametrize(
    ("name", "other"),
    [
        ("adelaidet", {"clip": "before_nms"}),
        ("adelaidet", {"drop_empty": "never"}),
        ("detectron2", {"clip": "before_nms"}),
        ("detectron2", {"drop_empty": "never"}),
        ("mmdetection", {"drop_empty": "never"}),
        ("mmdetection", {"topk_by": "score"}),
        ("fcos_plus", {"nms_corners": "plain"}),
        ("official_v1", {"nms_corners": "plain"}),
    ],
)
def test_each_of_these_settings_changes_detections(name: str, other: dict[str, Any]) -> None:
    differing = 0
    for seed in range(20):
        outputs = outputs_of(seed)
        first = detect(PRESETS[name], outputs, topk_per_level=30)
        second = detect(PRESETS[name], outputs, topk_per_level=30, **other)
        differing += first.scores.tolist() != second.scores.tolist()
    assert differing


def test_adelaidets_threshold_with_center_ness_is_as_in_its_preset() -> None:
    """THRESH_WITH_CTR holds 0.05 against the product, before its root is taken."""
    keys = {"postprocess.threshold_on": "score", "postprocess.score_threshold": 0.22360679775}
    model = with_keys(PRESETS["adelaidet"], keys)
    for seed in range(3):
        outputs = outputs_of(seed)
        product = outputs.joined_logits[0].sigmoid() * present(outputs.quality)[0].sigmoid()[:, None]
        found = detect(model, outputs, nms_threshold=1.0, drop_empty="never", max_detections=10_000)
        expected = product[product > 0.05].sqrt().sort(descending=True).values
        torch.testing.assert_close(found.scores, expected)


def test_empty_boxes_are_dropped_of_what_nms_kept() -> None:
    outputs = outputs_of(0)
    kept = detect(PRESETS["adelaidet"], outputs, drop_empty="never", max_detections=30)
    dropped = detect(PRESETS["adelaidet"], outputs, max_detections=30)
    before = detect(PRESETS["adelaidet"], outputs, drop_empty="before_nms", max_detections=30)
    has_area = (kept.boxes[:, 2:] > kept.boxes[:, :2]).all(1)
    assert len(kept.boxes) == 30 and 0 < int(has_area.sum()) < 30
    torch.testing.assert_close(dropped.boxes, kept.boxes[has_area])
    assert len(before.boxes) == 30 and (before.boxes[:, 2:] > before.boxes[:, :2]).all()


@pytest.mark.parametrize("drop", ["never", "before_nms", "after_nms"])
@pytest.mark.parametrize("clip_when", ["before_nms", "after_nms"])
def test_no_detections_and_batches_go_through_every_order(clip_when: str, drop: str) -> None:
    postprocess = make_postprocess(clip=clip_when, drop_empty=drop)
    one, other = outputs_of(1), outputs_of(2)
    none = HeadOutputs(tuple(part - 60 for part in one.logits), one.ltrb, one.quality, SHAPES)
    images = (one, none, other)
    batch = HeadOutputs(
        tuple(torch.cat(parts) for parts in zip(*(each.logits for each in images), strict=True)),
        torch.cat([each.ltrb for each in images]),
        torch.cat([present(each.quality) for each in images]),
        SHAPES,
    )
    batched = postprocess(batch, LOCATIONS, sizes(3, HEIGHT, WIDTH), sizes(3, HEIGHT, WIDTH))
    assert len(batched[1].boxes) == 0
    for found, each in zip(batched, images, strict=True):
        single = postprocess(each, LOCATIONS, sizes(1, HEIGHT, WIDTH), sizes(1, HEIGHT, WIDTH))[0]
        torch.testing.assert_close(found.boxes, single.boxes)
        assert (found.boxes >= 0).all() and (found.boxes[:, 2] <= WIDTH).all() and (found.boxes[:, 3] <= HEIGHT).all()


def test_boxes_of_different_classes_left_of_the_image_do_not_meet() -> None:
    # torchvision's batched_nms moves class 1 by the largest coordinate plus 1, where it would lie on class 0.
    boxes: Tensor = torch.tensor([[11.0, 11, 100, 100], [-90.0, -90, -1, -1]])
    assert standard_nms(boxes, torch.tensor([0.9, 0.8]), torch.tensor([0, 1]), 0.6, 10).tolist() == [0, 1]


def test_the_last_pixel_counts_only_where_boxes_end_in_it() -> None:
    values = PRESETS["adelaidet"].model_dump(mode="json")
    values["postprocess"]["nms_corners"] = "inclusive"
    with pytest.raises(ConfigError, match=r"nms_corners=inclusive: adds the last pixel, .* set both to inclusive"):
        parse(ModelConfig, values)
