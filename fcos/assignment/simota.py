"""SimOTA: each box takes the locations that predict it at least cost, as many as its overlaps add up to.

YOLOX (arXiv 2107.08430, section 2.1), after OTA (arXiv 2103.14259): the cost is that of the loss, so the assignment
follows the predictions and moves with them.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from fcos.assignment import conflicts
from fcos.geometry import boxes_from_ltrb, ious, strictly_inside
from fcos.structures import HeadOutputs, Locations, Targets

# A box takes the sum of this many largest IoUs, and so at most as many locations (YOLOX's code).
MOST = 10
REGRESSION_WEIGHT = 3.0
# What a location away from the center costs more: more than any that lies near it.
OFF_CENTER = 1e5
# Pairs of a box and a location tested at a time, which bounds the memory; an image's locations stay together.
CPU_BUDGET = 1 << 20
GPU_BUDGET = 1 << 25


@torch.no_grad()
def match(
    targets: Targets, locations: Locations, outputs: HeadOutputs, center_sampling_radius: float | None
) -> Int[Tensor, "B P"]:
    """Index of the box that each location answers for, or NO_OBJECT.

    Candidates of a box are the locations strictly inside of it, those within `center_sampling_radius` strides of its
    center (Chebyshev; None: all) before all others. Of these it takes the ones of least cost: the binary cross entropy
    of all classes' scores plus 3 times -ln(IoU). How many is the sum of the 10 largest IoUs, rounded down, at least 1.
    A location that several boxes take goes to the one of least cost, ties to the first.
    """
    batch, boxes = targets.valid.shape
    places = locations.xy.shape[0]
    best = conflicts.nobody(batch, places, targets.boxes.device)
    predicted = boxes_from_ltrb(locations.xy, outputs.ltrb)
    gains, negatives = _classification(outputs)
    budget = CPU_BUDGET if best.device.type == "cpu" else GPU_BUDGET
    step = max(1, budget // (batch * places))
    for first in range(0, boxes, step):
        part = slice(first, first + step)
        own, labels = targets.boxes[:, part], targets.labels[:, part]
        inside, central = _candidates(own, locations, center_sampling_radius)
        inside &= targets.valid[:, part, None]
        iou = ious(own[:, :, None], predicted[:, None]).where(inside, 0.0)
        index = labels[:, None].expand(-1, places, -1)
        cost = negatives[:, None] + gains.gather(2, index).mT - REGRESSION_WEIGHT * torch.log(iou + 1e-8)
        cost += OFF_CENTER * ~central
        most = min(MOST, places)
        taken = iou.topk(most, dim=-1).values.sum(-1).long().clamp(min=1)
        # Keys that are all different, so that which of equal costs is taken is the same everywhere.
        keys = conflicts.claim(conflicts.in_order(cost), torch.arange(places, device=cost.device))
        least = keys.where(inside, conflicts.NOBODY).topk(most, dim=-1, largest=False).indices
        chosen = torch.arange(most, device=cost.device) < taken[..., None]
        conflicts.stake(best, least, cost.gather(-1, least), chosen & inside.gather(-1, least), first)
    return conflicts.winners(best)


def _classification(outputs: HeadOutputs) -> tuple[Float[Tensor, "B P C"], Float[Tensor, "B P"]]:
    """What it adds to the cost that a class is the right one, and the cost if none is; scores are sqrt(p * quality)."""
    score = F.logsigmoid(outputs.joined_logits.float())
    if outputs.quality is not None:
        score = (score + F.logsigmoid(outputs.quality.float())[..., None]) / 2
    # ln of the score and of what is left to 1, kept finite where one of them is 0.
    score = score.clamp(min=-100.0)
    rest = torch.log((-torch.expm1(score)).clamp(min=1e-12))
    return rest - score, -rest.sum(-1)


def _candidates(
    boxes: Float[Tensor, "B M 4"], locations: Locations, center_sampling_radius: float | None
) -> tuple[Bool[Tensor, "B M P"], Bool[Tensor, "B M P"]]:
    """Which locations lie inside of each box, and which of these near its center."""
    xy = locations.xy
    inside = strictly_inside(xy, boxes[:, :, None])
    if center_sampling_radius is None:
        return inside, inside
    centers = ((boxes[..., :2] + boxes[..., 2:]) / 2)[:, :, None]
    apart = (xy - centers).abs().amax(-1)
    return inside, inside & (apart < center_sampling_radius * locations.strides)
