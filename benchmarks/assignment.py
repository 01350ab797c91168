"""Target assignment against torchvision's FCOS: python benchmarks/assignment.py

Both give the index of the box that each location answers for; the indices must be equal. Anchors are made beforehand.
"""

from collections.abc import Iterator

import torch
from inputs import RULE, SIZE, anchors, compute_loss, draw_targets, grid, peer_matcher
from side_by_side import Case, main, require
from torch import Tensor

from fcos.assignment.fcos import match_fcos


def case(count: int, batch: int, size: tuple[int, int], goal: float | None = None) -> Case:
    """Return the case of a batch whose images have `count` boxes each."""
    theirs, ours = draw_targets(count, batch, size)
    peer_anchors, per_level = anchors(size, batch)
    peer, locations = peer_matcher(), grid(size)

    def same(matched: list[Tensor], found: Tensor) -> str:
        require(torch.equal(torch.stack(matched), found), f"{int((torch.stack(matched) != found).sum())} indices")
        require(bool((found >= 0).any()), "no location answers for any box")
        return f"equal, {int((found >= 0).sum())} positives"

    return Case(
        name=f"assignment, {count} boxes an image",
        peer=lambda: compute_loss(peer, theirs, {}, peer_anchors, per_level),
        ours=lambda: match_fcos(ours, locations, RULE),
        same=same,
        goal=goal,
        memory_goal=10,
    )


def cases() -> Iterator[Case]:
    """Yield the cases of a batch of 8 at 800x1344, which has 22,400 locations an image."""
    yield case(7, 8, SIZE, goal=30)
    yield case(50, 8, SIZE)
    yield case(300, 8, SIZE, goal=100)


if __name__ == "__main__":
    main(__doc__ or "", cases)
