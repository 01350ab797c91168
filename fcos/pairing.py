"""Which of a location's two predictions learns which of its two boxes (EMD loss, arXiv 2003.09163, section 3.2)."""

from dataclasses import replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from fcos.structures import Assignment


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
