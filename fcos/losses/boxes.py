"""Box regression and quality losses, and the entropy of the quality targets."""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from fcos.config.choices import Quality, QualityLoss, RegressionLoss
from fcos.geometry import EPSILON, iou_of_ltrb
from fcos.structures import Assignment, HeadOutputs


def regression_loss(
    kind: RegressionLoss,
    predicted: Float[Tensor, "*N 4"],
    target: Float[Tensor, "*N 4"],
    strides: Float[Tensor, "*S"],
) -> Float[Tensor, "*N"]:
    """Compute the loss of each predicted ltrb against its target, both in pixels.

    l1, l2 and log_l1 are means over the four sides: of the absolute difference in strides, of its square, and of the
    absolute difference of ln(1 + distance in strides), which has a finite slope at 0. iou is -ln(IoU) (v1, UnitBox),
    linear_iou 1 - IoU. giou, diou and ciou are as in torchvision.ops, whose own functions are not used because they
    index by masks and so wait for the device.
    """
    if kind == "l1" or kind == "l2" or kind == "log_l1":
        return _side_loss(kind, predicted / strides[..., None], target / strides[..., None])
    iou, union, enclosing_area = iou_of_ltrb(predicted, target)
    match kind:
        case "iou":
            return -torch.log(iou + EPSILON)
        case "linear_iou":
            return 1 - iou
        case "giou":
            return 1 - iou + (enclosing_area - union) / (enclosing_area + EPSILON)
        case "diou":
            return 1 - iou + _center_distance(predicted, target)
        case "ciou":
            shape = _shape_difference(predicted, target)
            with torch.no_grad():
                weight = shape / (1 - iou + shape + EPSILON)
            return 1 - iou + _center_distance(predicted, target) + weight * shape


def _side_loss(kind: RegressionLoss, predicted: Tensor, target: Tensor) -> Float[Tensor, "*N"]:
    """Compute the mean over the sides; distances are in strides."""
    match kind:
        case "l2":
            return (predicted - target).square().mean(-1)
        case "log_l1":
            return (predicted.log1p() - target.log1p()).abs().mean(-1)
        case _:
            return (predicted - target).abs().mean(-1)


def _center_distance(predicted: Tensor, target: Tensor) -> Tensor:
    """Return the squared distance of the centers over the squared diagonal of the enclosing box (DIoU)."""
    enclosing = torch.maximum(predicted, target)
    width, height = (enclosing[..., :2] + enclosing[..., 2:]).unbind(-1)
    offset = (predicted[..., 2:] - predicted[..., :2] - target[..., 2:] + target[..., :2]) / 2
    return offset.square().sum(-1) / (width.square() + height.square() + EPSILON)


def _shape_difference(predicted: Tensor, target: Tensor) -> Tensor:
    """Return the aspect ratio term v of CIoU."""

    def angle(ltrb: Tensor) -> Tensor:
        width, height = (ltrb[..., :2] + ltrb[..., 2:]).unbind(-1)
        return torch.atan(width / (height + EPSILON))

    return (4 / math.pi**2) * (angle(target) - angle(predicted)).square()


@dataclass(frozen=True)
class BoxLossSettings:
    """What a positive location's box and quality cost; `quality` names the target of the quality."""

    regression: RegressionLoss
    # Multiply the regression loss by the center-ness target.
    weight_by_centerness: bool
    quality: Quality
    quality_loss: QualityLoss = "bce"


def box_and_quality_loss(
    ltrb: Float[Tensor, "B P 4"],
    quality: Float[Tensor, "B P"] | None,
    assignment: Assignment,
    strides: Float[Tensor, " P"],
    settings: BoxLossSettings,
) -> tuple[Float[Tensor, "B P"], Float[Tensor, "B P"]]:
    """Return regression and quality loss of each location, 0 where it is not positive."""
    positive = assignment.positive
    # At negatives prediction and target are both ones, so that nothing non-finite reaches the gradient.
    predicted = ltrb.float().where(positive[..., None], 1.0)
    per_location = regression_loss(settings.regression, predicted, assignment.ltrb, strides)
    if settings.weight_by_centerness:
        regression = per_location * assignment.centerness
    else:
        regression = per_location.where(positive, 0.0)
    if quality is None:
        return regression, torch.zeros_like(regression)
    iou, _, _ = iou_of_ltrb(predicted.detach(), assignment.ltrb)
    target = iou if settings.quality == "iou" else assignment.centerness
    if settings.quality_loss == "l1":
        loss = (quality.float().sigmoid() - target).abs()
    else:
        loss = F.binary_cross_entropy_with_logits(quality.float(), target, reduction="none")
    return regression, loss.where(positive, 0.0)


@torch.no_grad()
def quality_entropy_sum(
    outputs: HeadOutputs, assignment: Assignment, quality: Quality, quality_loss: QualityLoss = "bce"
) -> Float[Tensor, ""]:
    """Sum the entropy of the quality targets, -t ln(t) - (1 - t) ln(1 - t), over the positives.

    It is the lower bound of the binary cross-entropy: a center-ness of 0.7 costs 0.61 even where it is predicted
    exactly, so a loss that stays at 0.6 may be all but learned. 0 for l1, and without a quality branch.
    """
    if quality == "none" or quality_loss == "l1":
        return outputs.ltrb.new_zeros((), dtype=torch.float32)
    positive = assignment.positive
    target = assignment.centerness
    if quality == "iou":
        # IoU targets depend on the prediction, and so does their entropy.
        predicted = outputs.ltrb.float().where(positive[..., None], 1.0)
        target, _, _ = iou_of_ltrb(predicted, assignment.ltrb)
    target = target.clamp(0, 1)
    entropy: Tensor = torch.special.entr(target) + torch.special.entr(1 - target)
    return entropy.where(positive, 0.0).sum()
