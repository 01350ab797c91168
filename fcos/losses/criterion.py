"""Focal, regression and quality losses, and what they are divided by. Everything is float32, also under autocast."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from fcos.config.choices import NormalizerScope, Quality, QualityLoss, RegressionLoss
from fcos.distributed import mean_over_workers, world_size
from fcos.losses.boxes import box_and_quality
from fcos.losses.focal import cost_of_label, focal_loss_sum
from fcos.structures import Assignment, HeadOutputs, Locations

# As in detectron2 and AdelaiDet.
EMA_DECAY = 0.9


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


def swapped(assignment: Assignment) -> Assignment:
    """The boxes of every location, no box being one too, exchanged between its two predictions."""

    def exchange(values: Tensor) -> Tensor:
        pairs: Tensor = values.unflatten(1, (-1, 2))
        return pairs.flip(2).flatten(1, 2)

    return Assignment(
        matched=exchange(assignment.matched),
        labels=exchange(assignment.labels),
        ltrb=exchange(assignment.ltrb),
        centerness=exchange(assignment.centerness),
    )


def cheaper(
    given: Assignment, other: Assignment, given_costs: Float[Tensor, "B P"], other_costs: Float[Tensor, "B P"]
) -> Assignment:
    """At each location the one whose predictions together cost less; the given one where they cost the same."""
    own = (given_costs.unflatten(1, (-1, 2)).sum(-1), other_costs.unflatten(1, (-1, 2)).sum(-1))
    take: Bool[Tensor, "B P"] = (own[1] < own[0]).repeat_interleave(2, dim=1)
    return replace(
        given,
        matched=torch.where(take, other.matched, given.matched),
        labels=torch.where(take, other.labels, given.labels),
        ltrb=torch.where(take[..., None], other.ltrb, given.ltrb),
        centerness=torch.where(take, other.centerness, given.centerness),
    )
