"""Fold frozen batch norms into the convolutions before them, which leaves one operator of two."""

import copy

import torch
from torch import nn

from fcos.model.detector import FCOS
from fcos.model.norm import FoldedConv2d


def folded_copy(detector: FCOS) -> FCOS:
    """Return a copy of a detector on the CPU, in evaluation mode, with its frozen norms folded for good.

    Weights are multiplied in float64 and rounded once.
    """
    folded = copy.deepcopy(detector).cpu().eval().requires_grad_(False)
    # Runtimes choose the layout in memory themselves.
    folded.memory_format = torch.contiguous_format
    folded.to(memory_format=torch.contiguous_format)
    for parent in list(folded.modules()):
        for name, conv in list(parent.named_children()):
            if isinstance(conv, FoldedConv2d):
                setattr(parent, name, _plain(conv))
    return folded


def _plain(conv: FoldedConv2d) -> nn.Conv2d:
    (norm,) = conv.norm
    double = copy.deepcopy(norm).double()
    scale, shift = double.scale_and_shift()
    plain = nn.Conv2d(
        conv.in_channels, conv.out_channels, conv.kernel_size, conv.stride, conv.padding, conv.dilation,  # type: ignore[arg-type]
        conv.groups, bias=True, device="meta",
    )  # fmt: skip
    weight = conv.weight.double() * scale.view(-1, 1, 1, 1)
    plain.weight = nn.Parameter(weight.to(conv.weight.dtype), requires_grad=False)
    plain.bias = nn.Parameter(shift.to(torch.float32), requires_grad=False)
    return plain.eval()
