"""What is known of locations once the boxes are: for upper bounds, and for what comes from ambiguous locations."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from fcos.config.choices import Oracle, OracleBackground
from fcos.geometry import iou_of_ltrb
from fcos.structures import Assignment, Batch, HeadOutputs, Locations

# Logits whose probability is 1 and 0 in float32.
CERTAIN = 30.0
# Of probabilities that become logits; a thousandth of what COCO's IoU thresholds tell apart.
EPSILON = 1e-6
ONE_BOX, SAME_CLASS, DIFFERENT_CLASSES = 0, 1, 2


@dataclass(frozen=True)
class Truth:
    """Which box each location answers for, and how many boxes it could answer for.

    `ambiguity` is ONE_BOX (or none), SAME_CLASS or DIFFERENT_CLASSES, where boxes of one or several classes claim it.
    """

    assignment: Assignment
    ambiguity: Int[Tensor, "B P"] | None


# From images with their boxes, and what the detector says of them, which some assignments look at.
TellTruth = Callable[[Batch, Locations, HeadOutputs], Truth]


def with_truth(outputs: HeadOutputs, assignment: Assignment, kind: Oracle, background: OracleBackground) -> HeadOutputs:
    """Outputs whose positive locations know the truth (VarifocalNet, section 2, for FCOS).

    centerness and iou replace the quality branch by the center-ness target and by the IoU of the predicted box with
    its own; class gives the right class probability 1, class_iou that IoU, other classes stay; box replaces ltrb.
    With background=nothing all other locations detect nothing.
    """
    if kind == "none":
        return outputs
    positive = assignment.positive
    logits, ltrb, quality = outputs.logits, outputs.ltrb, outputs.quality
    iou, _, _ = iou_of_ltrb(ltrb.where(positive[..., None], 1.0), assignment.ltrb)
    match kind:
        case "centerness" | "iou":
            assert quality is not None, "the configuration refuses a missing branch"
            known = _logit(assignment.centerness if kind == "centerness" else iou)
            quality = known.to(quality.dtype).where(positive, quality)
        case "class" | "class_iou":
            logits = _own_class(logits, assignment, torch.full_like(iou, CERTAIN) if kind == "class" else _logit(iou))
        case "box":
            ltrb = assignment.ltrb.where(positive[..., None], ltrb)
    if background == "nothing":
        parts = positive.split([level.shape[1] for level in logits], dim=1)
        # Minus infinity, so that not even a threshold of 0 lets it pass.
        logits = tuple(level.where(own[..., None], -torch.inf) for level, own in zip(logits, parts, strict=True))
    return replace(outputs, logits=logits, ltrb=ltrb, quality=quality)


def _logit(probability: Float[Tensor, "B P"]) -> Float[Tensor, "B P"]:
    return torch.logit(probability, eps=EPSILON)


def _own_class(
    logits: tuple[Float[Tensor, "B _ C"], ...], assignment: Assignment, values: Float[Tensor, "B P"]
) -> tuple[Float[Tensor, "B _ C"], ...]:
    """The logits with that of each positive location's own class replaced."""
    counts = [level.shape[1] for level in logits]
    index = assignment.labels.clamp(min=0)[..., None]
    changed = []
    for level, own, positive, value in zip(
        logits, index.split(counts, 1), assignment.positive.split(counts, 1), values.split(counts, 1), strict=True
    ):
        before = level.gather(2, own)
        after = value[..., None].to(level.dtype).where(positive[..., None], before)
        changed.append(level.scatter(2, own, after))
    return tuple(changed)


def ambiguity_of(
    box: Int[Tensor, " K"], location: Int[Tensor, " K"], labels: Int[Tensor, " M"], num_locations: int
) -> Int[Tensor, " P"]:
    """How ambiguous each location of an image is, from its pairs of fcos.assignment.build.candidate_pairs."""
    count = location.bincount(minlength=num_locations)
    low = labels.new_full((num_locations,), torch.iinfo(labels.dtype).max)
    high = labels.new_full((num_locations,), -1)
    low.scatter_reduce_(0, location, labels[box], "amin")
    high.scatter_reduce_(0, location, labels[box], "amax")
    several = count > 1
    return several.long() * (SAME_CLASS + (low != high).long())
