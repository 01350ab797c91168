"""Oracles put the truth where a box is answered for and nowhere else; what is ambiguous; the entropy floor."""

import pytest
import torch
import torch.nn.functional as F

from fcos.assignment.build import build_assign, build_locate
from fcos.assignment.fcos import assign_fcos, fcos_candidates
from fcos.build import build_detector, build_truth
from fcos.config.model_parts import PostprocessConfig
from fcos.config.parse import parse, set_value
from fcos.config.run import Config
from fcos.errors import ConfigError
from fcos.geometry import boxes_from_ltrb, compute_locations, iou_of_ltrb
from fcos.losses.boxes import quality_floor_sum
from fcos.postprocess.decode import Postprocess
from fcos.postprocess.oracle import DIFFERENT_CLASSES, ONE_BOX, SAME_CLASS, ambiguity_of, with_truth
from fcos.structures import Assignment, Batch, HeadOutputs, Targets

SHAPES, STRIDES, IMAGE = ((8, 8), (4, 4)), (8, 16), (64, 64)
RANGES = ((0.0, 32.0), (32.0, None))
PLACES = compute_locations(SHAPES, STRIDES, IMAGE, "half_stride", torch.device("cpu"))
BOXES = torch.tensor([[4.0, 4.0, 28.0, 28.0], [10.0, 8.0, 60.0, 58.0]])


def case(images: int = 2, boxes: int = 2) -> tuple[HeadOutputs, Assignment]:
    """Random outputs; every image has the same boxes, of classes 1 and 2, or none."""
    generator = torch.Generator().manual_seed(0)
    num = len(PLACES.xy)
    logits = torch.randn(images, num, 3, generator=generator) - 2
    outputs = HeadOutputs(
        logits.split([64, 16], dim=1),
        torch.rand(images, num, 4, generator=generator) * 20 + 1,
        torch.randn(images, num, generator=generator),
        SHAPES,
    )
    targets = Targets(
        BOXES[:boxes].expand(images, -1, -1),
        torch.tensor([1, 2])[:boxes].expand(images, -1),
        torch.ones(images, boxes, dtype=torch.bool),
    )
    return outputs, assign_fcos(targets, PLACES, ranges=RANGES, ends="closed", center_sampling_radius=None)


def rule(**changes: object) -> Postprocess:
    values = {
        "quality": "branch", "score": "sqrt", "score_threshold": 0.0, "threshold_on": "classification",
        "topk_per_level": 1000, "nms_threshold": 0.6, "max_detections": 100, "multi_label": True,
    }  # fmt: skip
    return Postprocess(PostprocessConfig(**{**values, **changes}))


def test_center_ness_and_iou_replace_the_quality_of_positives_alone() -> None:
    outputs, assignment = case()
    positive = assignment.positive
    assert positive.any() and not positive.all()
    iou, _, _ = iou_of_ltrb(outputs.ltrb, assignment.ltrb)
    for kind, expected in (("centerness", assignment.centerness), ("iou", iou)):
        told = with_truth(outputs, assignment, kind, "predicted")
        torch.testing.assert_close(told.quality[positive].sigmoid(), expected[positive], atol=2e-6, rtol=0)
        assert torch.equal(told.quality[~positive], outputs.quality[~positive])
        assert torch.equal(told.joined_logits, outputs.joined_logits) and torch.equal(told.ltrb, outputs.ltrb)


def test_the_class_oracles_replace_the_own_class_of_positives_alone() -> None:
    outputs, assignment = case()
    own = F.one_hot(assignment.labels.clamp(min=0), 3).bool() & assignment.positive[..., None]
    before = outputs.joined_logits
    told = with_truth(outputs, assignment, "class", "predicted").joined_logits
    assert torch.equal(told[own].sigmoid(), torch.ones(int(own.sum())))
    assert torch.equal(told[~own], before[~own])
    told = with_truth(outputs, assignment, "class_iou", "predicted").joined_logits
    iou, _, _ = iou_of_ltrb(outputs.ltrb, assignment.ltrb)
    torch.testing.assert_close(told[own].sigmoid(), iou[assignment.positive], atol=2e-6, rtol=0)


def test_with_true_boxes_and_nothing_else_every_detection_is_a_box() -> None:
    outputs, assignment = case()
    told = with_truth(outputs, assignment, "box", "nothing")
    sizes = torch.tensor([[64, 64]] * 2)
    for found in rule(multi_label=False)(told, PLACES, sizes, sizes):
        distance = torch.cdist(found.boxes, BOXES).amin(1)
        assert len(found.boxes) >= 2 and distance.max() < 1e-4


@pytest.mark.parametrize("kind", ["centerness", "iou", "class", "class_iou", "box"])
def test_a_batch_is_its_images_and_no_box_changes_nothing(kind) -> None:
    outputs, assignment = case()
    told = with_truth(outputs, assignment, kind, "nothing")
    for row in range(2):
        own = HeadOutputs(
            tuple(level[row : row + 1] for level in outputs.logits),
            outputs.ltrb[row : row + 1], outputs.quality[row : row + 1], SHAPES,
        )  # fmt: skip
        part = Assignment(
            *(getattr(assignment, name)[row : row + 1] for name in ("matched", "labels", "ltrb", "centerness"))
        )
        alone = with_truth(own, part, kind, "nothing")
        assert torch.equal(alone.joined_logits[0], told.joined_logits[row])
        assert torch.equal(alone.ltrb[0], told.ltrb[row]) and torch.equal(alone.quality[0], told.quality[row])
    outputs, nothing = case(boxes=0)
    same = with_truth(outputs, nothing, kind, "predicted")
    assert torch.equal(same.joined_logits, outputs.joined_logits)
    assert torch.equal(same.ltrb, outputs.ltrb) and torch.equal(same.quality, outputs.quality)
    sizes = torch.tensor([[64, 64]] * 2)
    silent = rule()(with_truth(outputs, nothing, kind, "nothing"), PLACES, sizes, sizes)
    assert [len(found.boxes) for found in silent] == [0, 0]


def test_a_location_is_ambiguous_where_several_boxes_claim_it() -> None:
    boxes = torch.tensor([[0.0, 0.0, 30.0, 30.0], [0.0, 0.0, 30.0, 28.0], [40.0, 40.0, 62.0, 62.0]])
    pairs = fcos_candidates(boxes, PLACES, RANGES, "closed", None)
    inside = [((PLACES.xy > box[:2]) & (PLACES.xy < box[2:])).all(1) for box in boxes]
    in_range = PLACES.strides == 8
    both, one = inside[0] & inside[1] & in_range, (inside[0] ^ inside[1] | inside[2]) & in_range
    for labels, code in (([1, 1, 2], SAME_CLASS), ([1, 0, 2], DIFFERENT_CLASSES)):
        found = ambiguity_of(*pairs, torch.tensor(labels), len(PLACES.xy))
        assert both.any() and one.any()
        assert set(found[both].tolist()) == {code} and set(found[one].tolist()) == {ONE_BOX}
        assert (found != ONE_BOX).sum() == both.sum()
    none = torch.zeros(0, dtype=torch.long)
    assert not ambiguity_of(none, none, none, 5).any()


def test_detections_know_where_they_come_from_only_when_asked() -> None:
    outputs, _ = case()
    sizes = torch.tensor([[64, 64]] * 2)
    for found, row in zip(rule(analyses=("ambiguous",))(outputs, PLACES, sizes, sizes), range(2), strict=True):
        whole = boxes_from_ltrb(PLACES.xy, outputs.ltrb[row]).clamp(0, 64)
        torch.testing.assert_close(found.boxes, whole[found.locations])
    assert all(found.locations is None for found in rule()(outputs, PLACES, sizes, sizes))


def test_nms_over_all_keeps_one_box_of_two_classes() -> None:
    outputs, _ = case(images=1)
    sizes = torch.tensor([[64, 64]])
    by_class, together = (
        rule(nms_over=over, nms_threshold=0.05)(outputs, PLACES, sizes, sizes)[0] for over in ("class", "all")
    )
    assert len(set(by_class.labels.tolist())) == 3
    assert len(together.boxes) < len(by_class.boxes)


def test_the_floor_is_the_loss_of_a_perfect_prediction_and_nothing_is_below() -> None:
    outputs, assignment = case()
    positive = assignment.positive
    floor = quality_floor_sum(outputs, assignment, "centerness")
    target = assignment.centerness[positive].double()
    perfect = F.binary_cross_entropy(target, target, reduction="sum")
    torch.testing.assert_close(floor.double(), perfect, rtol=1e-5, atol=0)
    for shift in (-0.5, 0.5):
        other = F.binary_cross_entropy_with_logits(torch.logit(target, 1e-6) + shift, target, reduction="sum")
        assert other > perfect
    iou, _, _ = iou_of_ltrb(outputs.ltrb, assignment.ltrb)
    target = iou[positive].double()
    expected = F.binary_cross_entropy(target, target, reduction="sum")
    torch.testing.assert_close(quality_floor_sum(outputs, assignment, "iou").double(), expected, rtol=1e-4, atol=0)
    assert quality_floor_sum(outputs, assignment, "none") == 0
    # Nothing but a wrong prediction costs anything there.
    assert quality_floor_sum(outputs, assignment, "centerness", "l1") == 0
    assert quality_floor_sum(*case(boxes=0), "centerness") == 0


@pytest.mark.parametrize("kind", ["fcos", "atss", "center", "retinanet", "simota"])
def test_the_truth_is_that_of_the_assignment_in_training(tiny_values, kind: str) -> None:
    model = parse(Config, set_value(tiny_values, "model.assignment.kind", kind)).model
    sizes = torch.tensor([[64, 64]])
    targets = Targets(BOXES[None], torch.tensor([[1, 2]]), torch.ones(1, 2, dtype=torch.bool))
    batch = Batch(torch.zeros(1, 3, 64, 64, dtype=torch.uint8), sizes, sizes, targets, (0,), ("a",))
    places = build_locate(model)(batch)
    outputs = build_detector(model, 5, channels_last=False).eval()(batch.pixels, sizes)
    known = build_truth(model, [model.postprocess])(batch, places, outputs)
    assert known.assignment.positive.any() and known.ambiguity is None
    assert torch.equal(known.assignment.matched, build_assign(model)(targets, places, outputs).matched)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"oracle": "centerness", "quality": "none"}, "oracle=centerness"),
        ({"oracle": "iou", "quality": "from_regression"}, "set quality=branch"),
        ({"oracle_background": "nothing"}, "has no effect without an oracle"),
        ({"analyses": ["errors", "errors"]}, "each may be named once"),
        ({"analyses": ["error"]}, "analyses"),
    ],
)
def test_settings_without_effect_are_refused(values: dict, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        parse(PostprocessConfig, values)
