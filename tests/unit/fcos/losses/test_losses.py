"""Losses equal torchvision's and their definitions."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, get_args

import pytest
import torch
import torchvision.ops as ops
from hypothesis import given, settings
from hypothesis import strategies as st

from fcos.config.choices import RegressionLoss
from fcos.geometry import iou_of_ltrb
from fcos.losses.boxes import regression_loss
from fcos.losses.criterion import FCOSLoss, Normalizer
from fcos.losses.focal import focal_loss_sum
from fcos.structures import NO_OBJECT, Assignment, HeadOutputs, Locations
from tests.helpers.present import present


def random_logits(rows: int, classes: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(rows, classes, generator=torch.Generator().manual_seed(seed)) * 4


@pytest.mark.parametrize(("alpha", "gamma"), [(0.25, 2.0), (0.5, 0.0), (0.9, 1.5)])
def test_focal_loss_and_gradient_equal_torchvision(alpha: float, gamma: float) -> None:
    ours = random_logits(3000, 7).requires_grad_()
    theirs = ours.detach().clone().requires_grad_()
    labels = torch.randint(-1, 7, (3000,), generator=torch.Generator().manual_seed(1))
    one_hot = torch.zeros(3000, 7)
    one_hot[labels != NO_OBJECT, labels[labels != NO_OBJECT]] = 1
    loss = focal_loss_sum([ours[None]], labels[None], alpha, gamma)
    expected = ops.sigmoid_focal_loss(theirs, one_hot, alpha=alpha, gamma=gamma, reduction="sum")
    torch.testing.assert_close(loss, expected, rtol=1e-5, atol=0)
    (loss * 0.3).backward()
    (expected * 0.3).backward()
    torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("order", ["channels_last", "contiguous", "with gaps"])
@pytest.mark.parametrize("classes", [1, 5])
def test_focal_loss_is_the_same_for_levels_in_any_memory_layout(order: str, classes: int) -> None:
    counts = [400, 30, 1]
    whole = random_logits(2 * sum(counts), classes).view(2, -1, classes)
    labels = torch.randint(-1, classes, whole.shape[:2], generator=torch.Generator().manual_seed(1))
    joined = whole.clone().requires_grad_()
    expected = focal_loss_sum([joined], labels)
    levels = list(whole.split(counts, dim=1))
    if order == "channels_last":
        levels = [level.contiguous() for level in levels]
    elif order == "contiguous":
        levels = [level.mT.contiguous().mT for level in levels]
    leaves = [level.requires_grad_() for level in levels]
    loss = focal_loss_sum(leaves, labels)
    torch.testing.assert_close(loss, expected, rtol=1e-6, atol=0)
    gradients = torch.autograd.grad(loss, leaves)
    torch.testing.assert_close(torch.cat(gradients, 1), torch.autograd.grad(expected, joined)[0], rtol=1e-6, atol=0)


def test_focal_loss_stays_finite_for_huge_logits() -> None:
    logits = torch.tensor([[200.0, -200.0], [-200.0, 200.0]]).requires_grad_()
    loss = focal_loss_sum([logits[None]], torch.tensor([[1, NO_OBJECT]]))
    loss.backward()
    assert loss.isfinite() and present(logits.grad).isfinite().all()


def test_focal_loss_of_bf16_logits_is_float32_and_its_gradient_bf16() -> None:
    logits = random_logits(50, 3).bfloat16().requires_grad_()
    loss = focal_loss_sum([logits[None]], torch.zeros(1, 50, dtype=torch.long))
    loss.backward()
    assert loss.dtype == torch.float32 and present(logits.grad).dtype == torch.bfloat16
    exact = focal_loss_sum([logits[None].detach().float()], torch.zeros(1, 50, dtype=torch.long))
    torch.testing.assert_close(loss.detach(), exact)


def test_focal_loss_without_locations_is_zero() -> None:
    logits = torch.zeros(0, 3, requires_grad=True)
    loss = focal_loss_sum([logits[None]], torch.zeros(1, 0, dtype=torch.long))
    loss.backward()
    assert loss == 0


side = st.floats(0.5, 300, width=32)
ltrb = st.tuples(side, side, side, side)


@settings(max_examples=100)
@given(pairs=st.lists(st.tuples(ltrb, ltrb), min_size=1, max_size=5))
@pytest.mark.parametrize(
    ("kind", "reference"),
    [
        ("giou", ops.generalized_box_iou_loss),
        ("diou", ops.distance_box_iou_loss),
        ("ciou", ops.complete_box_iou_loss),
    ],
)
def test_iou_losses_equal_torchvision(
    kind: RegressionLoss, reference: Callable[..., torch.Tensor], pairs: list
) -> None:
    predicted = torch.tensor([one for one, _ in pairs])
    target = torch.tensor([other for _, other in pairs])
    sign = torch.tensor([-1.0, -1, 1, 1])
    expected = reference(predicted * sign, target * sign, reduction="none")
    torch.testing.assert_close(
        regression_loss(kind, predicted, target, torch.ones(len(pairs))), expected, rtol=1e-4, atol=1e-5
    )


@settings(max_examples=100)
@given(pairs=st.lists(st.tuples(ltrb, ltrb), min_size=1, max_size=5))
def test_iou_and_linear_iou_losses_follow_the_iou(pairs: list) -> None:
    predicted = torch.tensor([one for one, _ in pairs])
    target = torch.tensor([other for _, other in pairs])
    sign = torch.tensor([-1.0, -1, 1, 1])
    iou = ops.box_iou(predicted * sign, target * sign).diagonal()
    ones = torch.ones(len(pairs))
    torch.testing.assert_close(regression_loss("linear_iou", predicted, target, ones), 1 - iou, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(
        regression_loss("iou", predicted, target, ones), -(iou + 1e-7).log(), rtol=1e-3, atol=1e-5
    )


@pytest.mark.parametrize("kind", get_args(RegressionLoss))
def test_a_perfect_prediction_costs_nothing_and_a_wrong_one_something(kind: RegressionLoss) -> None:
    target = torch.tensor([[3.0, 5, 7, 9], [30.0, 5, 7, 9]])
    strides = torch.tensor([8.0, 16.0])
    torch.testing.assert_close(regression_loss(kind, target, target, strides), torch.zeros(2), rtol=0, atol=1e-5)
    assert (regression_loss(kind, target * 2, target, strides) > 0.1).all()


@pytest.mark.parametrize("kind", get_args(RegressionLoss))
def test_a_distance_of_zero_has_a_finite_gradient(kind: RegressionLoss) -> None:
    predicted = torch.zeros(1, 4, requires_grad=True)
    loss = regression_loss(kind, predicted, torch.full((1, 4), 9.0), torch.tensor([8.0]))
    loss.sum().backward()
    assert loss.isfinite().all() and present(predicted.grad).isfinite().all()


@pytest.mark.parametrize("kind", get_args(RegressionLoss))
def test_regression_loss_of_a_batch_equals_single_locations(kind: RegressionLoss) -> None:
    generator = torch.Generator().manual_seed(0)
    predicted, target = torch.rand(2, 2, 3, 4, generator=generator) * 30
    strides = torch.tensor([8.0, 16.0, 32.0])
    batched = regression_loss(kind, predicted, target, strides)
    single = [[regression_loss(kind, p, t, s) for p, t, s in zip(*image, strides, strict=True)]
             for image in zip(predicted, target, strict=True)]  # fmt: skip
    torch.testing.assert_close(batched, torch.stack([torch.stack(row) for row in single]))


@pytest.mark.parametrize(
    ("kind", "expected"), [("l1", [2.0, 1.0]), ("l2", [4.0, 1.0]), ("log_l1", [1.0986123, 0.6931472])]
)
def test_side_losses_are_in_strides(kind: RegressionLoss, expected: list[float]) -> None:
    target = torch.zeros(2, 4)
    loss = regression_loss(kind, target + 16, target, torch.tensor([8.0, 16.0]))
    torch.testing.assert_close(loss, torch.tensor(expected))


def make_loss(**changes: object) -> FCOSLoss:
    settings_: dict[str, Any] = {
        "regression": "giou", "weight_by_centerness": True, "quality": "centerness", "normalizer_scope": "global",
        "focal_alpha": 0.25, "focal_gamma": 2.0, "classification_weight": 1.0, "regression_weight": 1.0,
        "quality_weight": 1.0,
    }  # fmt: skip
    return FCOSLoss(**{**settings_, **changes})


def make_case(positives: list[int], num: int = 6) -> tuple[HeadOutputs, Assignment, Locations]:
    generator = torch.Generator().manual_seed(3)
    labels = torch.full((1, num), NO_OBJECT)
    labels[0, positives] = 1
    positive = labels != NO_OBJECT
    ltrb = torch.where(positive[..., None], torch.rand(1, num, 4, generator=generator) * 20 + 1, 1.0)
    centerness = torch.where(positive, torch.rand(1, num, generator=generator), 0.0)
    outputs = HeadOutputs(
        (torch.randn(1, num, 3, generator=generator, requires_grad=True),),
        (torch.rand(1, num, 4, generator=generator) * 20).requires_grad_(),
        torch.randn(1, num, generator=generator, requires_grad=True),
        ((1, num),),
    )
    locations = Locations(torch.zeros(num, 2), torch.full((num,), 8.0), ((1, num),), ((0.0, 0.0),), ((8.0, 8.0),), (8,))
    return outputs, Assignment(torch.where(positive, 0, NO_OBJECT), labels, ltrb, centerness), locations


def test_without_positives_regression_and_quality_are_zero_and_gradients_finite() -> None:
    outputs, assignment, locations = make_case([])
    loss = make_loss()
    losses = loss(outputs, assignment, locations, loss.normalizer([assignment]))
    losses.total.backward()
    assert losses.regression == 0 and losses.quality == 0 and losses.classification > 0
    assert present(outputs.ltrb.grad).eq(0).all() and present(outputs.logits[0].grad).isfinite().all()


def test_infinite_predictions_at_negatives_leave_the_gradient_finite() -> None:
    outputs, assignment, locations = make_case([1])
    ltrb = outputs.ltrb.detach().clone()
    ltrb[0, 0] = float("inf")
    ltrb.requires_grad_()
    loss = make_loss()
    outputs = HeadOutputs(outputs.logits, ltrb, outputs.quality, outputs.shapes)
    losses = loss(outputs, assignment, locations, loss.normalizer([assignment]))
    losses.total.backward()
    gradient = present(ltrb.grad)
    assert losses.total.isfinite() and gradient.isfinite().all() and gradient[0, 1].abs().sum() > 0


def test_loss_terms_equal_the_papers_definition() -> None:
    outputs, assignment, locations = make_case([1, 4])
    loss = make_loss(regression_weight=2.0, quality_weight=0.5)
    losses = loss(outputs, assignment, locations, loss.normalizer([assignment]))
    index = torch.tensor([1, 4])
    per_location = regression_loss("giou", outputs.ltrb[0, index], assignment.ltrb[0, index], locations.strides[index])
    weights = assignment.centerness[0, index]
    torch.testing.assert_close(losses.regression, 2 * (per_location * weights).sum() / weights.sum())
    bce = torch.nn.functional.binary_cross_entropy_with_logits(present(outputs.quality)[0, index], weights)
    torch.testing.assert_close(losses.quality, 0.5 * bce)
    torch.testing.assert_close(losses.total, losses.classification + losses.regression + losses.quality)


def test_the_iou_target_is_the_iou_of_the_prediction() -> None:
    outputs, assignment, locations = make_case([1, 4])
    loss = make_loss(quality="iou", weight_by_centerness=False)
    losses = loss(outputs, assignment, locations, loss.normalizer([assignment]))
    index = torch.tensor([1, 4])
    iou = 1 - regression_loss("linear_iou", outputs.ltrb[0, index], assignment.ltrb[0, index], locations.strides[index])
    bce = torch.nn.functional.binary_cross_entropy_with_logits(present(outputs.quality)[0, index], iou.detach())
    torch.testing.assert_close(losses.quality, bce)


def test_l1_quality_loss_compares_probabilities() -> None:
    outputs, assignment, locations = make_case([1, 4])
    loss = make_loss(quality_loss="l1")
    losses = loss(outputs, assignment, locations, loss.normalizer([assignment]))
    index = torch.tensor([1, 4])
    difference = (present(outputs.quality)[0, index].sigmoid() - assignment.centerness[0, index]).abs()
    torch.testing.assert_close(losses.quality, difference.mean())
    losses.quality.backward()
    has_gradient = present(present(outputs.quality).grad)[0] != 0
    assert has_gradient.nonzero().flatten().tolist() == [1, 4]


def test_the_ema_normaliser_starts_with_the_first_step() -> None:
    loss = make_loss(normalizer_scope="ema", history=torch.zeros(3))
    two, none = make_case([0, 3])[1], make_case([])[1]
    assert loss.normalizer([two, two]).positives == pytest.approx(4)
    assert loss.normalizer([two]).positives == pytest.approx((0.9 * 4 + 2) / 1.9)
    third = loss.normalizer([none])
    assert third.positives == pytest.approx((0.81 * 4 + 0.9 * 2) / 2.71)
    assert 0 < third.centerness < third.positives


def test_the_ema_normaliser_without_positives_is_not_zero() -> None:
    loss = make_loss(normalizer_scope="ema", history=torch.zeros(3))
    outputs, assignment, locations = make_case([])
    losses = loss(outputs, assignment, locations, loss.normalizer([assignment]))
    assert losses.total.isfinite()


def test_ignored_locations_have_no_classification_loss() -> None:
    outputs, assignment, locations = make_case([1])
    ignored = torch.zeros(1, 6, dtype=torch.bool)
    ignored[0, [0, 5]] = True
    loss = make_loss()
    normalizer = loss.normalizer([assignment])
    losses = loss(outputs, replace(assignment, ignored=ignored), locations, normalizer)
    losses.total.backward()
    gradient = present(outputs.logits[0].grad)
    assert gradient[0, [0, 5]].eq(0).all() and gradient[0, 1:5].ne(0).all()
    rest = torch.tensor([1, 2, 3, 4])
    expected = focal_loss_sum([outputs.logits[0].detach()[:, rest]], assignment.labels[:, rest])
    torch.testing.assert_close(losses.classification.detach(), expected / normalizer.positives)


@pytest.mark.parametrize("kind", ["iou", "linear_iou", "giou", "diou", "ciou", "l1"])
def test_disjoint_boxes_have_zero_iou_and_finite_losses(kind: RegressionLoss) -> None:
    # From (0, 0): a box to the upper left of it, and one to the lower right.
    predicted = torch.tensor([[8.0, 6, -2, -2]], requires_grad=True)
    target = torch.tensor([[-3.0, -4, 9, 10]])
    iou, union, _ = iou_of_ltrb(predicted, target)
    assert iou == 0 and union == 6 * 4 + 6 * 6
    loss = regression_loss(kind, predicted, target, torch.tensor([8.0]))
    loss.sum().backward()
    assert loss.isfinite().all() and present(predicted.grad).isfinite().all()
    if kind in ("giou", "diou", "ciou"):
        corners = [torch.tensor([[-8.0, -6, -2, -2]]), torch.tensor([[3.0, 4, 9, 10]])]
        theirs = {
            "giou": ops.generalized_box_iou_loss, "diou": ops.distance_box_iou_loss, "ciou": ops.complete_box_iou_loss,
        }[kind]  # fmt: skip
        torch.testing.assert_close(loss.detach(), theirs(*corners))


def test_losses_of_micro_batches_sum_to_that_of_the_batch() -> None:
    first, second = make_case([0, 3]), make_case([])
    loss = make_loss()
    normalizer = loss.normalizer([first[1], second[1]])
    assert isinstance(normalizer, Normalizer) and normalizer.positives == 2
    logits = torch.cat((*first[0].logits, *second[0].logits))
    ltrb, quality = (_joined(first[0], second[0], name) for name in ("ltrb", "quality"))
    outputs = HeadOutputs((logits,), ltrb, quality, first[0].shapes)
    names = ("matched", "labels", "ltrb", "centerness")
    assignment = Assignment(*(_joined(first[1], second[1], name) for name in names))
    whole = loss(outputs, assignment, first[2], loss.normalizer([assignment]))
    parts = [loss(*case, normalizer) for case in (first, second)]
    torch.testing.assert_close(whole.total, parts[0].total + parts[1].total)


def _joined(one: object, other: object, name: str) -> torch.Tensor:
    return torch.cat((getattr(one, name), getattr(other, name)))
