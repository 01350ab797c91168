"""SimOTA: assign to each box the locations of lowest cost, as many as its IoUs add up to.

YOLOX (arXiv 2107.08430, section 2.1), after OTA (arXiv 2103.14259). The cost is that of the loss, so the assignment
depends on the predictions and changes with them.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from fcos.assignment import conflicts
from fcos.geometry import boxes_from_ltrb, ious, strictly_inside
from fcos.structures import HeadOutputs, Locations, Targets

# k of a box is the sum of its this many largest IoUs, so at most this many locations (YOLOX's code).
MAX_CANDIDATES = 10
REGRESSION_WEIGHT = 3.0
# Added to the cost of locations away from the center, so that all near it come first.
OFF_CENTER_COST = 1e5
# Pairs of a box and a location tested at a time; bounds the memory. The locations of an image are not split.
CPU_BUDGET = 1 << 20
GPU_BUDGET = 1 << 25


@torch.no_grad()
def match_simota(
    targets: Targets, locations: Locations, outputs: HeadOutputs, center_sampling_radius: float | None
) -> Int[Tensor, "B P"]:
    """Return the index of the box assigned to each location, or NO_OBJECT.

    Candidates of a box are the locations strictly inside it; those within `center_sampling_radius` strides of its
    center (Chebyshev distance; None: all) come before all others. The k candidates of lowest cost are taken, where the
    cost is the binary cross-entropy of the scores of all classes plus 3 * -ln(IoU), and k is the sum of the 10 largest
    IoUs, rounded down, at least 1. A location taken by several boxes is assigned to the one of lowest cost, the first
    of equals.
    """
    batch, boxes = targets.valid.shape
    num_locations = locations.xy.shape[0]
    keys = conflicts.empty_keys(batch, num_locations, targets.boxes.device)
    predicted = boxes_from_ltrb(locations.xy, outputs.ltrb)
    gains, negatives = _classification(outputs)
    budget = CPU_BUDGET if keys.device.type == "cpu" else GPU_BUDGET
    step = max(1, budget // (batch * num_locations))
    for start in range(0, boxes, step):
        chunk = slice(start, start + step)
        chunk_boxes, labels = targets.boxes[:, chunk], targets.labels[:, chunk]
        inside, central = _candidates(chunk_boxes, locations, center_sampling_radius)
        inside &= targets.valid[:, chunk, None]
        iou = ious(chunk_boxes[:, :, None], predicted[:, None]).where(inside, 0.0)
        index = labels[:, None].expand(-1, num_locations, -1)
        cost = negatives[:, None] + gains.gather(2, index).mT - REGRESSION_WEIGHT * torch.log(iou + 1e-8)
        cost += OFF_CENTER_COST * ~central
        limit = min(MAX_CANDIDATES, num_locations)
        dynamic_k = iou.topk(limit, dim=-1).values.sum(-1).long().clamp(min=1)
        # Keys are all different, so that topk resolves equal costs the same way on every device.
        location_keys = conflicts.pack_key(
            conflicts.sortable_int32(cost), torch.arange(num_locations, device=cost.device)
        )
        cheapest = location_keys.where(inside, conflicts.EMPTY_KEY).topk(limit, dim=-1, largest=False).indices
        chosen = torch.arange(limit, device=cost.device) < dynamic_k[..., None]
        conflicts.scatter_min(keys, cheapest, cost.gather(-1, cheapest), chosen & inside.gather(-1, cheapest), start)
    return conflicts.unpack_index(keys)


def _classification(outputs: HeadOutputs) -> tuple[Float[Tensor, "B P C"], Float[Tensor, "B P"]]:
    """Return the cost added by a class being the target, and the cost of no class at all.

    Scores are sqrt(p * quality).
    """
    score = F.logsigmoid(outputs.joined_logits.float())
    if outputs.quality is not None:
        score = (score + F.logsigmoid(outputs.quality.float())[..., None]) / 2
    # ln(score) and ln(1 - score), kept finite where one of them is 0.
    score = score.clamp(min=-100.0)
    rest = torch.log((-torch.expm1(score)).clamp(min=1e-12))
    return rest - score, -rest.sum(-1)


def _candidates(
    boxes: Float[Tensor, "B M 4"], locations: Locations, center_sampling_radius: float | None
) -> tuple[Bool[Tensor, "B M P"], Bool[Tensor, "B M P"]]:
    """Return which locations lie inside each box, and which of these near its center."""
    xy = locations.xy
    inside = strictly_inside(xy, boxes[:, :, None])
    if center_sampling_radius is None:
        return inside, inside
    centers = ((boxes[..., :2] + boxes[..., 2:]) / 2)[:, :, None]
    distance = (xy - centers).abs().amax(-1)
    return inside, inside & (distance < center_sampling_radius * locations.strides)
