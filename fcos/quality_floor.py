"""What the quality loss cannot fall below: cross-entropy with a soft target is at least the target's entropy."""

import torch
from jaxtyping import Float
from torch import Tensor

from fcos.choices import Quality, QualityLoss
from fcos.losses import iou_of_ltrb
from fcos.structures import Assignment, HeadOutputs


@torch.no_grad()
def quality_floor_sum(
    outputs: HeadOutputs, assignment: Assignment, quality: Quality, quality_loss: QualityLoss = "bce"
) -> Float[Tensor, ""]:
    """The entropy of the quality targets, -t ln(t) - (1 - t) ln(1 - t), summed over the positives.

    A center-ness of 0.7 costs 0.61 even where it is predicted exactly: a loss "stuck at 0.6" may be all but learned.
    With l1, and without a quality, there is no such floor.
    """
    if quality == "none" or quality_loss == "l1":
        return outputs.ltrb.new_zeros((), dtype=torch.float32)
    positive = assignment.positive
    target = assignment.centerness
    if quality == "iou":
        # Targets of IoU move with the prediction, and the floor with them.
        predicted = outputs.ltrb.float().where(positive[..., None], 1.0)
        target, _, _ = iou_of_ltrb(predicted, assignment.ltrb)
    target = target.clamp(0, 1)
    entropy: Tensor = torch.special.entr(target) + torch.special.entr(1 - target)
    return entropy.where(positive, 0.0).sum()
