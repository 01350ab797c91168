"""Batches of noise with random boxes."""

import torch

from fcos.structures import Batch, Targets


def random_batch(*counts: int, with_masks: bool = False) -> Batch:
    """Return images of 64x64 with these numbers of boxes, of at most 8 each; the same for the same arguments."""
    generator = torch.Generator().manual_seed(0)
    corner = torch.rand(len(counts), 8, 2, generator=generator) * 40
    boxes = torch.cat((corner, corner + 8 + torch.rand(len(counts), 8, 2, generator=generator) * 16), dim=-1)
    valid = torch.arange(8) < torch.tensor(counts)[:, None]
    pixels = torch.randint(0, 256, (len(counts), 3, 64, 64), generator=generator, dtype=torch.uint8)
    sizes = torch.tensor([[64, 64]] * len(counts))
    masks = torch.rand(len(counts), 8, 32, 32, generator=generator) > 0.5 if with_masks else None
    targets = Targets(boxes, torch.zeros(len(counts), 8).long(), valid, masks)
    return Batch(pixels, sizes, sizes, targets, tuple(range(len(counts))), tuple("abcdefgh"[: len(counts)]))
