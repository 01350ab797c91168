"""FCOS's criterion: focal, regression and quality losses with their normalisers, in float32 also under autocast."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from fcos.config.choices import NormalizerFloor, NormalizerScope, Quality, QualityLoss, RegressionLoss
from fcos.distributed import mean_over_workers, world_size
from fcos.losses.boxes import BoxLossSettings, box_and_quality_loss
from fcos.losses.focal import focal_loss_sum, label_costs
from fcos.structures import Assignment, HeadOutputs, Locations

# As in detectron2 and AdelaiDet.
EMA_DECAY = 0.9


def _loss_sums(*arguments: Any) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    regression, quality = box_and_quality_loss(*arguments)
    return regression.sum(), quality.sum()


@lru_cache(maxsize=1)
def _compiled_loss_sums() -> Callable[..., tuple[Tensor, Tensor]]:
    return torch.compile(_loss_sums)


def _mask_ignored(logits: Sequence[Float[Tensor, "B _ C"]], assignment: Assignment) -> Sequence[Float[Tensor, "B _ C"]]:
    """Replace the logits of ignored locations by certain negatives, whose loss and gradient are zero."""
    if assignment.ignored is None:
        return logits
    parts = assignment.ignored.split([level.shape[1] for level in logits], dim=1)
    return [level.masked_fill(part[..., None], -1e4) for level, part in zip(logits, parts, strict=True)]


def _at_least_one(mean: Float[Tensor, "2"], workers: int) -> Float[Tensor, "2"]:
    """Raise positives and center-ness, means over the workers, so that their sums are at least 1 and 1e-6."""
    return torch.stack([mean[0].clamp(min=1 / workers), mean[1].clamp(min=1e-6 / workers)])


@dataclass(frozen=True)
class Normalizer:
    """Divisors of the loss sums of one optimizer step on this worker."""

    positives: Float[Tensor, ""]
    centerness: Float[Tensor, ""]


@dataclass(frozen=True)
class Losses:
    """The weighted and normalised terms of one micro-batch; `total` is their sum."""

    total: Float[Tensor, ""]
    classification: Float[Tensor, ""]
    regression: Float[Tensor, ""]
    quality: Float[Tensor, ""]


@dataclass(frozen=True)
class FCOSLoss:
    """The three loss terms of FCOS and their normaliser.

    v1 eq. 2; the quality is center-ness (v1 eq. 3) or IoU.
    """

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
    normalizer_floor: NormalizerFloor = "one_per_step"
    # ema only: moving averages of weight, positives and center-ness; saved in checkpoints.
    history: Float[Tensor, "3"] | None = None
    # Run the focal loss, and the box and quality losses, through torch.compile.
    compiled: bool = False

    def normalizer(self, assignments: Sequence[Assignment]) -> Normalizer:
        """Return the number of positives and their summed center-ness over all micro-batches of a step.

        For the global scope this is the mean over workers, computed by one collective that every worker takes part in,
        so that averaging gradients over workers gives the gradient of the whole batch. For ema it is the moving average
        of that mean over all steps, this one included.

        It is at least one positive, and a center-ness of 1e-6. With a floor of one_per_step that holds for the sum over
        the workers, as it would if one worker had the whole batch; with one_per_worker for the mean over them, and for
        ema for the mean of each step.
        """
        positives = torch.stack([assignment.positive.sum() for assignment in assignments]).sum()
        centerness = torch.stack([assignment.centerness.sum() for assignment in assignments]).sum()
        sums, workers = torch.stack([positives.float(), centerness]), 1
        if self.normalizer_scope != "local":
            sums, workers = mean_over_workers(sums), world_size()
        if self.normalizer_floor == "one_per_worker":
            sums, workers = _at_least_one(sums, 1), 1
        if self.history is not None:
            # Bias correction: dividing by the sum of the weights makes an initial value unnecessary.
            self.history.mul_(EMA_DECAY).add_(torch.cat([sums.new_ones(1), sums]), alpha=1 - EMA_DECAY)
            sums = self.history[1:] / self.history[0]
        return Normalizer(*_at_least_one(sums, workers))

    @torch.no_grad()
    def best_pairing(
        self, outputs: HeadOutputs, assignment: Assignment, locations: Locations, normalizer: Normalizer
    ) -> Assignment:
        """Assign each location's two boxes to its two predictions so that the total loss is least.

        NO_OBJECT counts as a box. The normaliser is the same for both pairings. Returns the assignment unchanged where
        locations have one target each.
        """
        if locations.targets == 1:
            return assignment
        swapped = swap_targets(assignment)
        costs, swapped_costs = (
            self._costs(outputs, candidate, locations, normalizer) for candidate in (assignment, swapped)
        )
        return select_cheaper(assignment, swapped, costs, swapped_costs)

    def _costs(
        self, outputs: HeadOutputs, assignment: Assignment, locations: Locations, normalizer: Normalizer
    ) -> Float[Tensor, "B P"]:
        """Return by how much each prediction's box raises the total loss over having no box."""
        with torch.autocast(outputs.ltrb.device.type, enabled=False):
            classification = label_costs(outputs.logits, assignment.labels, self.focal_alpha, self.focal_gamma)
            regression, quality = box_and_quality_loss(*self._box_loss_inputs(outputs, assignment, locations))
            terms = self._weight_terms(classification, regression, quality, normalizer)
        return terms[0] + terms[1] + terms[2]

    def _box_loss_inputs(self, outputs: HeadOutputs, assignment: Assignment, locations: Locations) -> tuple[Any, ...]:
        """Return the arguments of `box_and_quality_loss`."""
        settings = BoxLossSettings(self.regression, self.weight_by_centerness, self.quality, self.quality_loss)
        return outputs.ltrb, outputs.quality, assignment, locations.strides, settings

    def _weight_terms(
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
        """Compute the loss of one micro-batch, divided by the normaliser of the whole step."""
        with torch.autocast(outputs.ltrb.device.type, enabled=False):
            classification = focal_loss_sum(
                _mask_ignored(outputs.logits, assignment),
                assignment.labels,
                self.focal_alpha,
                self.focal_gamma,
                self.compiled,
            )
            sums = _compiled_loss_sums() if self.compiled else _loss_sums
            regression, quality = sums(*self._box_loss_inputs(outputs, assignment, locations))
            terms = self._weight_terms(classification, regression, quality, normalizer)
        return Losses(terms[0] + terms[1] + terms[2], *terms)


def swap_targets(assignment: Assignment) -> Assignment:
    """Exchange the targets of each location's two predictions."""

    def exchange(values: Tensor) -> Tensor:
        pairs: Tensor = values.unflatten(1, (-1, 2))
        return pairs.flip(2).flatten(1, 2)

    return Assignment(
        matched=exchange(assignment.matched),
        labels=exchange(assignment.labels),
        ltrb=exchange(assignment.ltrb),
        centerness=exchange(assignment.centerness),
    )


def select_cheaper(
    first: Assignment, second: Assignment, first_costs: Float[Tensor, "B P"], second_costs: Float[Tensor, "B P"]
) -> Assignment:
    """Take at each location the assignment of lower summed cost, the first one of equals."""
    costs = (first_costs.unflatten(1, (-1, 2)).sum(-1), second_costs.unflatten(1, (-1, 2)).sum(-1))
    take_second: Bool[Tensor, "B P"] = (costs[1] < costs[0]).repeat_interleave(2, dim=1)
    return replace(
        first,
        matched=torch.where(take_second, second.matched, first.matched),
        labels=torch.where(take_second, second.labels, first.labels),
        ltrb=torch.where(take_second[..., None], second.ltrb, first.ltrb),
        centerness=torch.where(take_second, second.centerness, first.centerness),
    )
