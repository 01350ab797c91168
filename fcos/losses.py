"""Focal, regression and quality losses, and what they are divided by. Everything is float32, also under autocast."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from fcos.choices import NormalizerScope, Quality, QualityLoss, RegressionLoss
from fcos.distributed import mean_over_workers, world_size
from fcos.focal_loss import cost_of_label, focal_loss_sum
from fcos.pairing import cheaper, swapped
from fcos.structures import Assignment, HeadOutputs, Locations

EPSILON = 1e-7
# As in detectron2 and AdelaiDet.
EMA_DECAY = 0.9


def iou_of_ltrb(
    predicted: Float[Tensor, "*N 4"], target: Float[Tensor, "*N 4"]
) -> tuple[Float[Tensor, "*N"], Float[Tensor, "*N"], Float[Tensor, "*N"]]:
    """IoU, union and area of the enclosing box of pairs of boxes given as ltrb from the same location."""
    overlap = torch.minimum(predicted, target)
    hull = torch.maximum(predicted, target)
    # A side is negative where a location lies outside of its box; boxes that do not meet then overlap by less than 0.
    left, top, right, bottom = overlap.unbind(-1)
    intersection = (left + right).clamp(min=0) * (top + bottom).clamp(min=0)
    union = _area(predicted) + _area(target) - intersection
    return intersection / (union + EPSILON), union, _area(hull)


def _area(ltrb: Tensor) -> Tensor:
    left, top, right, bottom = ltrb.unbind(-1)
    return (left + right) * (top + bottom)


def regression_loss(
    kind: RegressionLoss,
    predicted: Float[Tensor, "*N 4"],
    target: Float[Tensor, "*N 4"],
    strides: Float[Tensor, "*S"],
) -> Float[Tensor, "*N"]:
    """Loss of each predicted ltrb against its target, both in pixels.

    l1, l2 and log_l1 are the mean over the four sides of the difference in strides, of its square, and of the
    difference of ln(1 + distance in strides), which has a slope at 0. iou is -ln(IoU) (v1, UnitBox), linear_iou
    1 - IoU; giou, diou and ciou are as in torchvision.ops, whose own functions index by masks and so wait for the
    device.
    """
    if kind == "l1" or kind == "l2" or kind == "log_l1":
        return _side_by_side(kind, predicted / strides[..., None], target / strides[..., None])
    iou, union, hull = iou_of_ltrb(predicted, target)
    match kind:
        case "iou":
            return -torch.log(iou + EPSILON)
        case "linear_iou":
            return 1 - iou
        case "giou":
            return 1 - iou + (hull - union) / (hull + EPSILON)
        case "diou":
            return 1 - iou + _center_distance(predicted, target)
        case "ciou":
            shape = _shape_difference(predicted, target)
            with torch.no_grad():
                weight = shape / (1 - iou + shape + EPSILON)
            return 1 - iou + _center_distance(predicted, target) + weight * shape


def _side_by_side(kind: RegressionLoss, predicted: Tensor, target: Tensor) -> Float[Tensor, "*N"]:
    match kind:
        case "l2":
            return (predicted - target).square().mean(-1)
        case "log_l1":
            return (predicted.log1p() - target.log1p()).abs().mean(-1)
        case _:
            return (predicted - target).abs().mean(-1)


def _center_distance(predicted: Tensor, target: Tensor) -> Tensor:
    """Squared distance of the centers over the squared diagonal of the enclosing box (DIoU)."""
    hull = torch.maximum(predicted, target)
    width, height = (hull[..., :2] + hull[..., 2:]).unbind(-1)
    offset = (predicted[..., 2:] - predicted[..., :2] - target[..., 2:] + target[..., :2]) / 2
    return offset.square().sum(-1) / (width.square() + height.square() + EPSILON)


def _shape_difference(predicted: Tensor, target: Tensor) -> Tensor:
    """The aspect ratio term v of CIoU."""

    def angle(ltrb: Tensor) -> Tensor:
        width, height = (ltrb[..., :2] + ltrb[..., 2:]).unbind(-1)
        return torch.atan(width / (height + EPSILON))

    return (4 / math.pi**2) * (angle(target) - angle(predicted)).square()


def box_and_quality(
    ltrb: Float[Tensor, "B P 4"],
    quality: Float[Tensor, "B P"] | None,
    assignment: Assignment,
    strides: Float[Tensor, " P"],
    kind: RegressionLoss,
    quality_kind: Quality,
    quality_loss: QualityLoss,
    weight_by_centerness: bool,
) -> tuple[Float[Tensor, "B P"], Float[Tensor, "B P"]]:
    """Regression loss of the positives, by their center-ness if asked for, and quality loss; elsewhere 0."""
    positive = assignment.positive
    # Where there is no object both sides are ones, so that nothing non-finite reaches the gradient.
    predicted = ltrb.float().where(positive[..., None], 1.0)
    per_location = regression_loss(kind, predicted, assignment.ltrb, strides)
    weighted = per_location * assignment.centerness if weight_by_centerness else per_location.where(positive, 0.0)
    if quality is None:
        return weighted, torch.zeros_like(weighted)
    iou, _, _ = iou_of_ltrb(predicted.detach(), assignment.ltrb)
    target = iou if quality_kind == "iou" else assignment.centerness
    if quality_loss == "l1":
        loss = (quality.float().sigmoid() - target).abs()
    else:
        loss = F.binary_cross_entropy_with_logits(quality.float(), target, reduction="none")
    return weighted, loss.where(positive, 0.0)


def _sums(*given: Any) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    regression, quality = box_and_quality(*given)
    return regression.sum(), quality.sum()


@lru_cache(maxsize=1)
def _compiled_sums() -> Callable[..., tuple[Tensor, Tensor]]:
    return torch.compile(_sums)


def _without_ignored(
    logits: Sequence[Float[Tensor, "B _ C"]], assignment: Assignment
) -> Sequence[Float[Tensor, "B _ C"]]:
    """The logits, and where nothing is to be learned certain negatives, whose loss and gradient are zero."""
    if assignment.ignored is None:
        return logits
    parts = assignment.ignored.split([level.shape[1] for level in logits], dim=1)
    return [level.masked_fill(part[..., None], -1e4) for level, part in zip(logits, parts, strict=True)]


@dataclass(frozen=True)
class Normalizer:
    """What the sums of one optimizer step are divided by, on this worker."""

    positives: Float[Tensor, ""]
    centerness: Float[Tensor, ""]


@dataclass(frozen=True)
class Losses:
    """The terms of one micro-batch, weighted and normalised; `total` is their sum."""

    total: Float[Tensor, ""]
    classification: Float[Tensor, ""]
    regression: Float[Tensor, ""]
    quality: Float[Tensor, ""]


@dataclass(frozen=True)
class FCOSLoss:
    """The three terms of FCOS (v1 eq. 2; quality: center-ness eq. 3 or IoU) and their normaliser."""

    regression: RegressionLoss
    weight_by_centerness: bool
    quality: Quality
    normalizer_scope: NormalizerScope
    focal_alpha: float
    focal_gamma: float
    classification_weight: float
    regression_weight: float
    quality_weight: float
    quality_loss: QualityLoss = "bce"
    # ema only: sums over past steps of weight, positives and center-ness, kept with the training's state.
    history: Float[Tensor, "3"] | None = None
    # One compiled pass over the logits, and over all else, instead of torch's operations one by one.
    compiled: bool = False

    def normalizer(self, assignments: Sequence[Assignment]) -> Normalizer:
        """Positives and their summed center-ness over all micro-batches of a step.

        With the global scope it is the mean over the workers, by one collective that every worker reaches, so that
        averaging gradients over workers gives the gradient of the whole batch. ema is the moving average of that over
        the steps so far, this one included.
        """
        positives = torch.stack([assignment.positive.sum() for assignment in assignments]).sum()
        centerness = torch.stack([assignment.centerness.sum() for assignment in assignments]).sum()
        sums, workers = torch.stack([positives.float(), centerness]), 1
        if self.normalizer_scope != "local":
            sums, workers = mean_over_workers(sums), world_size()
        if self.history is not None:
            # Divided by the sum of the weights, so that it needs no first guess.
            self.history.mul_(EMA_DECAY).add_(torch.cat([sums.new_ones(1), sums]), alpha=1 - EMA_DECAY)
            sums = self.history[1:] / self.history[0]
        # The floors hold for the sum over the workers, as they would if one worker had the whole batch.
        return Normalizer(sums[0].clamp(min=1 / workers), sums[1].clamp(min=1e-6 / workers))

    @torch.no_grad()
    def paired(
        self, outputs: HeadOutputs, assignment: Assignment, locations: Locations, normalizer: Normalizer
    ) -> Assignment:
        """The assignment with each location's two boxes given to its two predictions as the total loss is least.

        A location of one box, or of none, pairs it with the background likewise. The normaliser is that of either way.
        Where locations answer for one box each there is nothing to choose.
        """
        if locations.targets == 1:
            return assignment
        other = swapped(assignment)
        given_costs, other_costs = (self._costs(outputs, each, locations, normalizer) for each in (assignment, other))
        return cheaper(assignment, other, given_costs, other_costs)

    def _costs(
        self, outputs: HeadOutputs, assignment: Assignment, locations: Locations, normalizer: Normalizer
    ) -> Float[Tensor, "B P"]:
        """How much more each prediction adds to the total loss than if it had no box."""
        with torch.autocast(outputs.ltrb.device.type, enabled=False):
            classification = cost_of_label(outputs.logits, assignment.labels, self.focal_alpha, self.focal_gamma)
            regression, quality = box_and_quality(*self._of_boxes(outputs, assignment, locations))
            terms = self._weighted(classification, regression, quality, normalizer)
        return terms[0] + terms[1] + terms[2]

    def _of_boxes(self, outputs: HeadOutputs, assignment: Assignment, locations: Locations) -> tuple[Any, ...]:
        """What the losses of boxes and quality are computed from."""
        settings = (self.regression, self.quality, self.quality_loss, self.weight_by_centerness)
        return (outputs.ltrb, outputs.quality, assignment, locations.strides, *settings)

    def _weighted(
        self, classification: Tensor, regression: Tensor, quality: Tensor, normalizer: Normalizer
    ) -> tuple[Tensor, Tensor, Tensor]:
        norm = normalizer.centerness if self.weight_by_centerness else normalizer.positives
        return (
            classification / normalizer.positives * self.classification_weight,
            regression / norm * self.regression_weight,
            quality / normalizer.positives * self.quality_weight,
        )

    def __call__(
        self, outputs: HeadOutputs, assignment: Assignment, locations: Locations, normalizer: Normalizer
    ) -> Losses:
        """The loss of one micro-batch, divided by the normaliser of the whole step."""
        with torch.autocast(outputs.ltrb.device.type, enabled=False):
            classification = focal_loss_sum(
                _without_ignored(outputs.logits, assignment),
                assignment.labels,
                self.focal_alpha,
                self.focal_gamma,
                self.compiled,
            )
            sums = _compiled_sums() if self.compiled else _sums
            regression, quality = sums(*self._of_boxes(outputs, assignment, locations))
            terms = self._weighted(classification, regression, quality, normalizer)
        return Losses(terms[0] + terms[1] + terms[2], *terms)
