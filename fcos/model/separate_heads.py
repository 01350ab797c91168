"""A head of its own for each pyramid level, where the papers share one (v1 section 3.2)."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from fcos.model.head import Head
from fcos.structures import HeadOutputs


class SeparateHeads(nn.Module):
    """What `Head` gives, from one head of a single level for each level, finest first."""

    def __init__(self, heads: Sequence[Head]) -> None:
        super().__init__()
        self.heads = nn.ModuleList(heads)

    def forward(self, features: Sequence[Float[Tensor, "B C _ _"]]) -> HeadOutputs:
        outputs = [head([x]) for head, x in zip(self.heads, features, strict=True)]
        quality = [output.quality for output in outputs if output.quality is not None]
        return HeadOutputs(
            logits=tuple(output.logits[0] for output in outputs),
            ltrb=torch.cat([output.ltrb for output in outputs], dim=1),
            quality=torch.cat(quality, dim=1) if quality else None,
            shapes=tuple(output.shapes[0] for output in outputs),
        )
