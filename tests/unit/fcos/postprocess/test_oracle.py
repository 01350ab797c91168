"""Oracles change only positive locations; ambiguity of locations; entropy of the quality targets."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from fcos.assignment.build import build_assign, build_locate
from fcos.assignment.fcos import assign_fcos, fcos_candidates
from fcos.build import build_detector, build_oracle_targets
from fcos.config.choices import Oracle
from fcos.config.model_parts import AssignmentConfig, PostprocessConfig
from fcos.config.parse import parse, set_value
from fcos.config.run import Config
from fcos.errors import ConfigError
from fcos.geometry import boxes_from_ltrb, compute_locations, iou_of_ltrb
from fcos.losses.boxes import quality_entropy_sum
from fcos.postprocess.decode import Postprocess
from fcos.postprocess.oracle import DIFFERENT_CLASSES, ONE_BOX, SAME_CLASS, apply_oracle, location_ambiguity
from fcos.structures import Assignment, Batch, HeadOutputs, Targets
from tests.helpers.present import present

SHAPES, STRIDES, IMAGE = ((8, 8), (4, 4)), (8, 16), (64, 64)
RANGES = ((0.0, 32.0), (32.0, None))
LOCATIONS = compute_locations(SHAPES, STRIDES, IMAGE, "half_stride", torch.device("cpu"))
BOXES = torch.tensor([[4.0, 4.0, 28.0, 28.0], [10.0, 8.0, 60.0, 58.0]])


def case(images: int = 2, boxes: int = 2) -> tuple[HeadOutputs, Assignment]:
    """Return random outputs and their assignment; every image has the same boxes, of classes 1 and 2, or none."""
    generator = torch.Generator().manual_seed(0)
    num = len(LOCATIONS.xy)
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
    return outputs, assign_fcos(targets, LOCATIONS, AssignmentConfig(ranges=RANGES, center_sampling_radius=None))


def make_postprocess(**changes: object) -> Postprocess:
    values = {
        "quality": "branch", "score": "sqrt", "score_threshold": 0.0, "threshold_on": "classification",
        "topk_per_level": 1000, "nms_threshold": 0.6, "max_detections": 100, "multi_label": True,
    }  # fmt: skip
    return Postprocess(PostprocessConfig(**{**values, **changes}))


def test_quality_oracles_change_only_positives() -> None:
    outputs, assignment = case()
    positive = assignment.positive
    assert positive.any() and not positive.all()
    iou, _, _ = iou_of_ltrb(outputs.ltrb, assignment.ltrb)
    expected_qualities: dict[Oracle, Tensor] = {"centerness": assignment.centerness, "iou": iou}
    before = present(outputs.quality)
    for kind, expected in expected_qualities.items():
        changed = apply_oracle(outputs, assignment, kind, "predicted")
        quality = present(changed.quality)
        torch.testing.assert_close(quality[positive].sigmoid(), expected[positive], atol=2e-6, rtol=0)
        assert torch.equal(quality[~positive], before[~positive])
        assert torch.equal(changed.joined_logits, outputs.joined_logits) and torch.equal(changed.ltrb, outputs.ltrb)


def test_class_oracles_change_only_the_target_class_of_positives() -> None:
    outputs, assignment = case()
    own = F.one_hot(assignment.labels.clamp(min=0), 3).bool() & assignment.positive[..., None]
    before = outputs.joined_logits
    changed = apply_oracle(outputs, assignment, "class", "predicted").joined_logits
    assert torch.equal(changed[own].sigmoid(), torch.ones(int(own.sum())))
    assert torch.equal(changed[~own], before[~own])
    changed = apply_oracle(outputs, assignment, "class_iou", "predicted").joined_logits
    iou, _, _ = iou_of_ltrb(outputs.ltrb, assignment.ltrb)
    torch.testing.assert_close(changed[own].sigmoid(), iou[assignment.positive], atol=2e-6, rtol=0)


def test_box_oracle_without_background_detects_only_boxes() -> None:
    outputs, assignment = case()
    changed = apply_oracle(outputs, assignment, "box", "nothing")
    sizes = torch.tensor([[64, 64]] * 2)
    for detections in make_postprocess(multi_label=False)(changed, LOCATIONS, sizes, sizes):
        distance = torch.cdist(detections.boxes, BOXES).amin(1)
        assert len(detections.boxes) >= 2 and distance.max() < 1e-4


@pytest.mark.parametrize("kind", ["centerness", "iou", "class", "class_iou", "box"])
def test_batch_equals_single_images_and_no_boxes_change_nothing(kind) -> None:
    outputs, assignment = case()
    changed = apply_oracle(outputs, assignment, kind, "nothing")
    for row in range(2):
        outputs_row = HeadOutputs(
            tuple(level[row : row + 1] for level in outputs.logits),
            outputs.ltrb[row : row + 1], present(outputs.quality)[row : row + 1], SHAPES,
        )  # fmt: skip
        assignment_row = Assignment(
            *(getattr(assignment, name)[row : row + 1] for name in ("matched", "labels", "ltrb", "centerness"))
        )
        single = apply_oracle(outputs_row, assignment_row, kind, "nothing")
        assert torch.equal(single.joined_logits[0], changed.joined_logits[row])
        assert torch.equal(single.ltrb[0], changed.ltrb[row])
        assert torch.equal(present(single.quality)[0], present(changed.quality)[row])
    outputs, no_boxes = case(boxes=0)
    unchanged = apply_oracle(outputs, no_boxes, kind, "predicted")
    assert torch.equal(unchanged.joined_logits, outputs.joined_logits)
    assert torch.equal(unchanged.ltrb, outputs.ltrb)
    assert torch.equal(present(unchanged.quality), present(outputs.quality))
    sizes = torch.tensor([[64, 64]] * 2)
    detections = make_postprocess()(apply_oracle(outputs, no_boxes, kind, "nothing"), LOCATIONS, sizes, sizes)
    assert [len(item.boxes) for item in detections] == [0, 0]


def test_locations_with_several_candidates_are_ambiguous() -> None:
    boxes = torch.tensor([[0.0, 0.0, 30.0, 30.0], [0.0, 0.0, 30.0, 28.0], [40.0, 40.0, 62.0, 62.0]])
    pairs = fcos_candidates(boxes, LOCATIONS, RANGES, "closed", None)
    inside = [((LOCATIONS.xy > box[:2]) & (LOCATIONS.xy < box[2:])).all(1) for box in boxes]
    in_range = LOCATIONS.strides == 8
    in_both, in_one = inside[0] & inside[1] & in_range, (inside[0] ^ inside[1] | inside[2]) & in_range
    for labels, code in (([1, 1, 2], SAME_CLASS), ([1, 0, 2], DIFFERENT_CLASSES)):
        ambiguity = location_ambiguity(*pairs, torch.tensor(labels), len(LOCATIONS.xy))
        assert in_both.any() and in_one.any()
        assert set(ambiguity[in_both].tolist()) == {code} and set(ambiguity[in_one].tolist()) == {ONE_BOX}
        assert (ambiguity != ONE_BOX).sum() == in_both.sum()
    none = torch.zeros(0, dtype=torch.long)
    assert not location_ambiguity(none, none, none, 5).any()


def test_detections_keep_locations_only_for_analyses() -> None:
    outputs, _ = case()
    sizes = torch.tensor([[64, 64]] * 2)
    for detections, row in zip(
        make_postprocess(analyses=("ambiguous",))(outputs, LOCATIONS, sizes, sizes), range(2), strict=True
    ):
        whole = boxes_from_ltrb(LOCATIONS.xy, outputs.ltrb[row]).clamp(0, 64)
        torch.testing.assert_close(detections.boxes, whole[detections.locations])
    assert all(detections.locations is None for detections in make_postprocess()(outputs, LOCATIONS, sizes, sizes))


def test_nms_over_all_keeps_one_box_of_two_classes() -> None:
    outputs, _ = case(images=1)
    sizes = torch.tensor([[64, 64]])
    by_class, over_all = (
        make_postprocess(nms_over=over, nms_threshold=0.05)(outputs, LOCATIONS, sizes, sizes)[0]
        for over in ("class", "all")
    )
    assert len(set(by_class.labels.tolist())) == 3
    assert len(over_all.boxes) < len(by_class.boxes)


def test_quality_entropy_is_the_loss_of_a_perfect_prediction() -> None:
    outputs, assignment = case()
    positive = assignment.positive
    entropy = quality_entropy_sum(outputs, assignment, "centerness")
    target = assignment.centerness[positive].double()
    perfect = F.binary_cross_entropy(target, target, reduction="sum")
    torch.testing.assert_close(entropy.double(), perfect, rtol=1e-5, atol=0)
    for shift in (-0.5, 0.5):
        other = F.binary_cross_entropy_with_logits(torch.logit(target, 1e-6) + shift, target, reduction="sum")
        assert other > perfect
    iou, _, _ = iou_of_ltrb(outputs.ltrb, assignment.ltrb)
    target = iou[positive].double()
    expected = F.binary_cross_entropy(target, target, reduction="sum")
    torch.testing.assert_close(quality_entropy_sum(outputs, assignment, "iou").double(), expected, rtol=1e-4, atol=0)
    assert quality_entropy_sum(outputs, assignment, "none") == 0
    # An L1 loss has no lower bound above 0.
    assert quality_entropy_sum(outputs, assignment, "centerness", "l1") == 0
    assert quality_entropy_sum(*case(boxes=0), "centerness") == 0


@pytest.mark.parametrize("kind", ["fcos", "atss", "center", "retinanet", "simota"])
def test_oracle_targets_equal_the_assignment_in_training(tiny_values, kind: str) -> None:
    model = parse(Config, set_value(tiny_values, "model.assignment.kind", kind)).model
    sizes = torch.tensor([[64, 64]])
    targets = Targets(BOXES[None], torch.tensor([[1, 2]]), torch.ones(1, 2, dtype=torch.bool))
    batch = Batch(torch.zeros(1, 3, 64, 64, dtype=torch.uint8), sizes, sizes, targets, (0,), ("a",))
    locations = build_locate(model)(batch)
    outputs = build_detector(model, 5, channels_last=False).eval()(batch.pixels, sizes)
    oracle_targets = build_oracle_targets(model, [model.postprocess])(batch, locations, outputs)
    assert oracle_targets.assignment.positive.any() and oracle_targets.ambiguity is None
    assert torch.equal(oracle_targets.assignment.matched, build_assign(model)(targets, locations, outputs).matched)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"oracle": "centerness", "quality": "none"}, "oracle=centerness"),
        ({"oracle": "iou", "quality": "from_regression"}, "set quality=branch"),
        ({"oracle_background": "nothing"}, "has no effect without an oracle"),
        ({"analyses": ["errors", "errors"]}, "each may be named once"),
        ({"analyses": ["error"]}, "analyses"),
    ],
)
def test_settings_without_effect_are_refused(values: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse(PostprocessConfig, values)
