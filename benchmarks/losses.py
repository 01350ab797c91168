"""The whole loss against torchvision's FCOS: python benchmarks/losses.py

Assignment, focal, GIoU and center-ness loss, forward and backward, on head outputs of 800x1344; eager and compiled
(schedule.compile). Each side is given what its head ends in: torchvision's logits joined, ours level by level. The peer
is torchvision's compute_loss in eager mode, as it is run. Losses must be equal to 1e-5 of themselves and gradients to
1e-5 of the largest. The memory includes the gradients, which both must leave.
"""

from collections.abc import Iterator
from typing import Any

import torch
from inputs import CLASSES, RULE, SIZE, anchors, compute_loss, draw_targets, grid, peer_loss, shapes
from side_by_side import Case, main, require
from torch import Tensor

from fcos.assignment.fcos import assign_fcos
from fcos.losses.criterion import FCOSLoss
from fcos.structures import HeadOutputs

Outcome = tuple[list[Tensor], list[Tensor]]


def draw_outputs(batch: int, size: tuple[int, int]) -> dict[str, Tensor]:
    """Return torchvision's head outputs: logits around the prior of 0.01, boxes of some strides."""
    generator = torch.Generator().manual_seed(0)
    count = sum(rows * columns for rows, columns in shapes(size))
    return {
        "cls_logits": torch.randn(batch, count, CLASSES, generator=generator) - 4.6,
        "bbox_regression": torch.rand(batch, count, 4, generator=generator) * 4 + 0.1,
        "bbox_ctrness": torch.randn(batch, count, 1, generator=generator),
    }


def same(theirs: Outcome, ours: Outcome) -> str:
    """Compare three losses and three gradients."""
    for peer, mine in zip(theirs[0], ours[0], strict=True):
        require(bool((peer - mine).abs() <= 1e-5 * peer.abs()), f"losses {float(peer)} and {float(mine)}")
    for peer, mine in zip(theirs[1], ours[1], strict=True):
        apart = float((peer - mine.view_as(peer)).abs().max() / peer.abs().max())
        require(apart <= 1e-5, f"gradients are apart by {apart:.1e} of the largest")
    return "losses and gradients equal to 1e-5"


def make_rule(compiled: bool) -> FCOSLoss:
    """Return our loss with torchvision's settings."""
    return FCOSLoss(
        regression="giou", weight_by_centerness=False, quality="centerness", normalizer_scope="local",
        focal_alpha=0.25, focal_gamma=2.0, classification_weight=1.0, regression_weight=1.0, quality_weight=1.0,
        compiled=compiled,
    )  # fmt: skip


def case(
    name: str, count: int, batch: int, size: tuple[int, int], *, compiled: bool, goal: float | None, memory_goal: float
) -> Case:
    """Return the case of a batch whose images have `count` boxes each."""
    theirs, targets = draw_targets(count, batch, size)
    outputs = draw_outputs(batch, size)
    locations = grid(size)
    peer, (peer_anchors, per_level) = peer_loss(), anchors(size, batch)
    rule = make_rule(compiled)

    def run_peer() -> Outcome:
        leaves = {key: value.detach().requires_grad_() for key, value in outputs.items()}
        losses = compute_loss(peer, theirs, leaves, peer_anchors, per_level)
        sum(losses.values()).backward()
        parts = [losses[key].detach() for key in ("classification", "bbox_regression", "bbox_ctrness")]
        return parts, [leaf.grad for leaf in leaves.values() if leaf.grad is not None]

    pixels = outputs["bbox_regression"] * locations.strides[:, None]
    of_levels = [part.contiguous() for part in outputs["cls_logits"].split(per_level, dim=1)]

    def run_ours() -> Outcome:
        logits = tuple(part.detach().requires_grad_() for part in of_levels)
        quality = outputs["bbox_ctrness"].detach().squeeze(-1).requires_grad_()
        leaves = [pixels.detach().requires_grad_(), quality, *logits]
        assignment = assign_fcos(targets, locations, RULE, compiled=compiled)
        head = HeadOutputs(logits, leaves[0], quality, locations.shapes)
        losses = rule(head, assignment, locations, rule.normalizer([assignment]))
        losses.total.backward()
        parts = [losses.classification.detach(), losses.regression.detach(), losses.quality.detach()]
        return parts, [leaf.grad for leaf in leaves]

    def compare(peer_outcome: Outcome, outcome: Outcome) -> str:
        distances, quality, *logits = outcome[1]
        # torchvision's distances are in strides, ours in pixels.
        gradients = [torch.cat(logits, dim=1), distances * locations.strides[:, None], quality]
        return same(peer_outcome, (outcome[0], gradients))

    return Case(name, run_peer, run_ours, compare, goal=goal, memory_goal=memory_goal)


def cases() -> Iterator[Case]:
    """Yield the cases of a batch of 8, which has 14.3 million logits."""
    eager: dict[str, Any] = {"compiled": False, "goal": 6, "memory_goal": 4}
    compiled: dict[str, Any] = {"compiled": True, "memory_goal": 8}
    yield case("whole loss, eager, 7 boxes an image", 7, 8, SIZE, **eager)
    yield case("whole loss, eager, 50 boxes an image", 50, 8, SIZE, **eager)
    yield case("whole loss, compiled, 7 boxes an image", 7, 8, SIZE, goal=None, **compiled)
    yield case("whole loss, compiled, 50 boxes an image", 50, 8, SIZE, goal=15, **compiled)


if __name__ == "__main__":
    main(__doc__ or "", cases)
