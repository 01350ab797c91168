"""The class logits of a level that may pass a threshold, found in one read of its memory."""

from dataclasses import dataclass, fields

import torch
from jaxtyping import Float, Int
from torch import Tensor

# Logits that are looked at together. Torch takes the largest of a multiple of 32 values that lie side by side at the
# speed of memory, and of 80, the classes of COCO, far more slowly.
CHUNK = 128
# Logits of an image and level from which on the calls for chunks cost less than a look at each logit.
MANY = 1 << 15


@dataclass(frozen=True)
class PassingLogits:
    """Logits at or above a minimum, in no order."""

    image: Int[Tensor, " N"]
    location: Int[Tensor, " N"]
    label: Int[Tensor, " N"]
    logit: Float[Tensor, " N"]

    def select(self, index: Tensor) -> "PassingLogits":
        return PassingLogits(*(getattr(self, field.name)[index] for field in fields(self)))


def find_passing(logits: Float[Tensor, "B N C"], min_logit: float) -> PassingLogits:
    """Return the logits that are at least the minimum, in float32; what is no number is left out.

    Reads them in the order in which they lie in memory, whether classes or locations are innermost.
    """
    by_class = logits.stride(2) != 1 and logits.stride(1) == 1
    stored = logits.mT if by_class else logits
    flat, inner = stored.flatten(1), stored.shape[2]
    whole = flat.shape[1] // CHUNK * CHUNK if flat.shape[1] >= MANY else 0
    image, position, logit = _look_at_each(flat[:, whole:], min_logit)
    if whole:
        parts = _look_at_chunks(flat[:, :whole], min_logit)
        each = zip(parts, (image, position + whole, logit), strict=True)
        image, position, logit = parts if len(image) == 0 else map(torch.cat, each)
    outer, within = position.div(inner, rounding_mode="floor"), position.remainder(inner)
    location, label = (within, outer) if by_class else (outer, within)
    return PassingLogits(image, location, label, logit)


def _look_at_each(flat: Float[Tensor, "B N"], min_logit: float) -> tuple[Tensor, Tensor, Tensor]:
    """Return image, position and value of the logits that pass."""
    # Compared in float32: in bf16 the minimum would be rounded too.
    values = flat.float()
    image, position = (values >= min_logit).nonzero(as_tuple=True)
    return image, position, values[image, position]


def _look_at_chunks(flat: Float[Tensor, "B N"], min_logit: float) -> tuple[Tensor, Tensor, Tensor]:
    """Return the same of whole chunks."""
    chunks = flat.unflatten(1, (-1, CHUNK))
    # Also where it is no number, which hides what is beside it in its chunk.
    image, chunk = (chunks.amax(2).float() < min_logit).logical_not_().nonzero(as_tuple=True)
    values = chunks[image, chunk].float()
    row, column = (values >= min_logit).nonzero(as_tuple=True)
    return image[row], chunk[row] * CHUNK + column, values[row, column]


def best_of_locations(passing: PassingLogits, locations: int) -> PassingLogits:
    """Return the logit of each location's best class, the first of equal ones; locations: of an image."""
    order = passing.label.argsort(stable=True)
    order = order[passing.logit[order].argsort(descending=True, stable=True)]
    slot = (passing.image * locations + passing.location)[order]
    grouped = slot.argsort(stable=True)
    slot, order = slot[grouped], order[grouped]
    is_first = torch.ones_like(slot, dtype=torch.bool)
    is_first[1:] = slot[1:] != slot[:-1]
    return passing.select(order[is_first])
