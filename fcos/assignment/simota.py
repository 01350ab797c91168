"""SimOTA: assign to each box the locations of lowest cost, as many as its IoUs add up to.

YOLOX (arXiv 2107.08430, section 2.1), after OTA (arXiv 2103.14259). The cost is that of the loss, so the assignment
depends on the predictions and changes with them. `match_simota` is the definition within boxes, `match_yolox` the rule
of YOLOX's code and of mmdetection.
"""

from collections.abc import Iterator

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
    costs = _Costs(locations, outputs)
    taken = conflicts.empty_keys(len(targets.valid), len(locations.xy), targets.boxes.device)
    for chunk in _chunks(targets, locations):
        boxes = targets.boxes[:, chunk]
        inside, near = _inside_and_near(boxes, locations, center_sampling_radius)
        candidate = inside & targets.valid[:, chunk, None]
        iou, cost = costs.of(boxes, targets.labels[:, chunk])
        cost += OFF_CENTER_COST * ~(inside & near)
        cheapest, chosen = _take_cheapest(iou, cost, candidate)
        conflicts.scatter_min(taken, cheapest, cost.gather(-1, cheapest), chosen, chunk.start)
    return conflicts.unpack_index(taken)


@torch.no_grad()
def match_yolox(
    targets: Targets, locations: Locations, outputs: HeadOutputs, center_sampling_radius: float | None
) -> Int[Tensor, "B P"]:
    """Return the index of the box assigned to each location, or NO_OBJECT, by the rule of YOLOX's code.

    It differs from `match_simota` in three ways. All locations inside any box of the image, or near the center of any,
    are candidates of every box; those that are not both inside this box and near its center come after all others. k
    counts the IoUs of all of them. A location taken by several boxes is assigned to the box of lowest cost among all
    boxes of the image, also to one that did not take it. So a box always has a location, unless others win it, which
    may lie outside of it, with negative distances and a center-ness of 0.

    Source: yolox/models/yolo_head.py (0.1), and mmdetection 3's SimOTAAssigner.
    """
    costs = _Costs(locations, outputs)
    batch, num_locations, device = len(targets.valid), len(locations.xy), targets.boxes.device
    in_or_near_any = torch.zeros(batch, num_locations, dtype=torch.bool, device=device)
    for chunk in _chunks(targets, locations):
        inside, near = _inside_and_near(targets.boxes[:, chunk], locations, center_sampling_radius)
        in_or_near_any |= ((inside | near) & targets.valid[:, chunk, None]).any(1)
    taken, cheapest_box = (conflicts.empty_keys(batch, num_locations, device) for _ in range(2))
    takers = torch.zeros(batch, num_locations, dtype=torch.long, device=device)
    for chunk in _chunks(targets, locations):
        boxes = targets.boxes[:, chunk]
        inside, near = _inside_and_near(boxes, locations, center_sampling_radius)
        candidate = in_or_near_any[:, None] & targets.valid[:, chunk, None]
        iou, cost = costs.of(boxes, targets.labels[:, chunk])
        cost += OFF_CENTER_COST * ~(inside & near)
        cheapest, chosen = _take_cheapest(iou, cost, candidate)
        conflicts.scatter_min(taken, cheapest, cost.gather(-1, cheapest), chosen, chunk.start)
        takers.scatter_add_(1, cheapest.flatten(1), chosen.flatten(1).long())
        indices = torch.arange(chunk.start, chunk.start + boxes.shape[1], device=device)[:, None]
        keys = conflicts.pack_key(conflicts.sortable_int32(cost), indices).where(candidate, conflicts.EMPTY_KEY)
        torch.minimum(cheapest_box, keys.amin(1), out=cheapest_box)
    return conflicts.unpack_index(torch.where(takers > 1, cheapest_box, taken))


def _chunks(targets: Targets, locations: Locations) -> Iterator[slice]:
    """Yield slices of the boxes whose pairs with all locations fit the budget."""
    batch, boxes = targets.valid.shape
    budget = CPU_BUDGET if targets.boxes.device.type == "cpu" else GPU_BUDGET
    step = max(1, budget // (batch * len(locations.xy)))
    for start in range(0, boxes, step):
        yield slice(start, start + step)


class _Costs:
    """IoUs and costs of the predictions of a batch for boxes."""

    def __init__(self, locations: Locations, outputs: HeadOutputs) -> None:
        self.predicted = boxes_from_ltrb(locations.xy, outputs.ltrb)
        self.gains, self.negatives = _classification(outputs)

    def of(
        self, boxes: Float[Tensor, "B M 4"], labels: Int[Tensor, "B M"]
    ) -> tuple[Float[Tensor, "B M P"], Float[Tensor, "B M P"]]:
        """Return the IoU of every box with every prediction, and its cost."""
        iou = ious(boxes[:, :, None], self.predicted[:, None])
        index = labels[:, None].expand(-1, self.predicted.shape[1], -1)
        cost = self.negatives[:, None] + self.gains.gather(2, index).mT - REGRESSION_WEIGHT * torch.log(iou + 1e-8)
        return iou, cost


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


def _inside_and_near(
    boxes: Float[Tensor, "B M 4"], locations: Locations, center_sampling_radius: float | None
) -> tuple[Bool[Tensor, "B M P"], Bool[Tensor, "B M P"]]:
    """Return which locations lie inside each box, and which near its center; without a radius all inside are near."""
    xy = locations.xy
    inside = strictly_inside(xy, boxes[:, :, None])
    if center_sampling_radius is None:
        return inside, inside
    centers = ((boxes[..., :2] + boxes[..., 2:]) / 2)[:, :, None]
    distance = (xy - centers).abs().amax(-1)
    return inside, distance < center_sampling_radius * locations.strides


def _take_cheapest(
    iou: Float[Tensor, "B M P"], cost: Float[Tensor, "B M P"], candidate: Bool[Tensor, "B M P"]
) -> tuple[Int[Tensor, "B M K"], Bool[Tensor, "B M K"]]:
    """Return the candidates of lowest cost of each box, and which of them it takes: the first k."""
    num_locations = cost.shape[-1]
    limit = min(MAX_CANDIDATES, num_locations)
    dynamic_k = iou.where(candidate, 0.0).topk(limit, dim=-1).values.sum(-1).long().clamp(min=1)
    # Keys are all different, so that topk resolves equal costs the same way on every device.
    location_keys = conflicts.pack_key(conflicts.sortable_int32(cost), torch.arange(num_locations, device=cost.device))
    cheapest = location_keys.where(candidate, conflicts.EMPTY_KEY).topk(limit, dim=-1, largest=False).indices
    chosen = torch.arange(limit, device=cost.device) < dynamic_k[..., None]
    return cheapest, chosen & candidate.gather(-1, cheapest)
