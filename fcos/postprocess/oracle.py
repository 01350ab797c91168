"""Oracles, which replace predictions by ground truth for upper bounds, and the ambiguity of locations."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from fcos.config.choices import Oracle, OracleBackground
from fcos.geometry import iou_of_ltrb
from fcos.structures import Assignment, Batch, HeadOutputs, Locations

# Plus or minus this, the probability is 1 or 0 in float32.
CERTAIN_LOGIT = 30.0
# Clamps probabilities before they become logits; small beside the 0.05 between COCO's IoU thresholds.
PROBABILITY_EPSILON = 1e-6
ONE_BOX, SAME_CLASS, DIFFERENT_CLASSES = 0, 1, 2


@dataclass(frozen=True)
class OracleTargets:
    """The target assignment of a batch, and how ambiguous each location is.

    `ambiguity` is ONE_BOX (also without a box), SAME_CLASS or DIFFERENT_CLASSES, by whether several candidate boxes of
    a location are of one or of several classes.
    """

    assignment: Assignment
    ambiguity: Int[Tensor, "B P"] | None


# Compute the targets of a batch; the head outputs are for assignments that depend on predictions.
BuildOracleTargets = Callable[[Batch, Locations, HeadOutputs], OracleTargets]


def apply_oracle(
    outputs: HeadOutputs, assignment: Assignment, kind: Oracle, background: OracleBackground
) -> HeadOutputs:
    """Replace predictions at positive locations by ground truth (VarifocalNet, section 2, for FCOS).

    kind=centerness and iou replace the quality by the center-ness target, or by the IoU of the predicted box with its
    target box. class sets the probability of the target class to 1, class_iou to that IoU; other classes stay. box
    replaces ltrb. With background=nothing all other locations give no detections.
    """
    if kind == "none":
        return outputs
    positive = assignment.positive
    logits, ltrb, quality = outputs.logits, outputs.ltrb, outputs.quality
    iou, _, _ = iou_of_ltrb(ltrb.where(positive[..., None], 1.0), assignment.ltrb)
    match kind:
        case "centerness" | "iou":
            assert quality is not None, "the configuration refuses a missing branch"
            target = _logit(assignment.centerness if kind == "centerness" else iou)
            quality = target.to(quality.dtype).where(positive, quality)
        case "class" | "class_iou":
            logits = _replace_target_class(
                logits, assignment, torch.full_like(iou, CERTAIN_LOGIT) if kind == "class" else _logit(iou)
            )
        case "box":
            ltrb = assignment.ltrb.where(positive[..., None], ltrb)
    if background == "nothing":
        positive_parts = positive.split([level.shape[1] for level in logits], dim=1)
        # Minus infinity does not pass even a threshold of 0.
        logits = tuple(
            level.where(part[..., None], -torch.inf) for level, part in zip(logits, positive_parts, strict=True)
        )
    return replace(outputs, logits=logits, ltrb=ltrb, quality=quality)


def _logit(probability: Float[Tensor, "B P"]) -> Float[Tensor, "B P"]:
    return torch.logit(probability, eps=PROBABILITY_EPSILON)


def _replace_target_class(
    logits: tuple[Float[Tensor, "B _ C"], ...], assignment: Assignment, values: Float[Tensor, "B P"]
) -> tuple[Float[Tensor, "B _ C"], ...]:
    """Replace the logit of each positive location's target class."""
    counts = [level.shape[1] for level in logits]
    index = assignment.labels.clamp(min=0)[..., None]
    changed = []
    for level, level_index, level_positive, level_values in zip(
        logits, index.split(counts, 1), assignment.positive.split(counts, 1), values.split(counts, 1), strict=True
    ):
        current = level.gather(2, level_index)
        replaced = level_values[..., None].to(level.dtype).where(level_positive[..., None], current)
        changed.append(level.scatter(2, level_index, replaced))
    return tuple(changed)


def location_ambiguity(
    box: Int[Tensor, " K"], location: Int[Tensor, " K"], labels: Int[Tensor, " M"], num_locations: int
) -> Int[Tensor, " P"]:
    """Return how ambiguous each location of an image is, from its candidate pairs (see `candidate_pairs`)."""
    count = location.bincount(minlength=num_locations)
    min_label = labels.new_full((num_locations,), torch.iinfo(labels.dtype).max)
    max_label = labels.new_full((num_locations,), -1)
    min_label.scatter_reduce_(0, location, labels[box], "amin")
    max_label.scatter_reduce_(0, location, labels[box], "amax")
    is_ambiguous = count > 1
    return is_ambiguous.long() * (SAME_CLASS + (min_label != max_label).long())
