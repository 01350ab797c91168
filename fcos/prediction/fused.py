"""Convolutions together with the norm and the activation that follow, as one oneDNN call; for predicting on a CPU."""

from copy import deepcopy
from itertools import zip_longest
from typing import Any, Final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from fcos.model.detector import FCOS
from fcos.model.norm import FoldedConv2d, FrozenBatchNorm2d

# Height and width of the noise that a fused detector is compared on; a multiple of all strides.
TRIAL_SIZE: Final = (128, 128)
# Largest difference that is taken for rounding, relative to the largest value of the same output.
TOLERANCE: Final = 1e-4
# Of timm: pads so that the output has ceil(side / stride) rows, one more at the end than at the start.
PADS_AT_END: Final = "Conv2dSame"
# What oneDNN calls an activation, and its parameters.
Activation = tuple[str, list[float]]
NO_ACTIVATION: Final[Activation] = ("none", [])


class FusedConv2d(nn.Module):
    """A convolution, the norm after it, as part of weight and bias, and an activation, without gradients.

    torch's own module takes a slower way than oneDNN for convolutions of 1x1.
    """

    def __init__(self, conv: nn.Conv2d, norm: nn.Module | None, activation: Activation) -> None:
        super().__init__()
        weight, bias = conv.weight.detach(), None if conv.bias is None else conv.bias.detach()
        if norm is not None:
            scale, shift = _scale_and_shift(norm)
            weight = weight * scale.view(-1, 1, 1, 1)
            bias = shift if bias is None else torch.addcmul(shift, bias, scale)
        # Not registered: a fused detector is not saved.
        self._weight = weight.contiguous(memory_format=torch.channels_last)
        self._bias = bias
        self._stride, self._dilation, self._groups = list(conv.stride), list(conv.dilation), conv.groups
        self._padding = None if type(conv).__name__ == PADS_AT_END else [int(side) for side in conv.padding]
        self._activation, self._limits = activation

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B D h w"]:
        if self._padding is not None:
            return self._convolve(x, self._padding)
        # In place of zeros at the ends, which cost a copy of the input: more zeros on all sides, and a first row and
        # column of the output that are left out.
        stride, dilation = self._stride, self._dilation
        kernel = self._weight.shape[2:]
        rows = [-(-side // step) for side, step in zip(x.shape[2:], stride, strict=True)]
        sides = zip(rows, stride, kernel, dilation, x.shape[2:], strict=True)
        totals = [max(0, (count - 1) * step + (size - 1) * gap + 1 - side) for count, step, size, gap, side in sides]
        skipped = [total % 2 for total in totals]
        padding = [total // 2 + step * skip for total, step, skip in zip(totals, stride, skipped, strict=True)]
        found = self._convolve(x, padding)
        return found[..., skipped[0] : skipped[0] + rows[0], skipped[1] : skipped[1] + rows[1]]

    def _convolve(self, x: Tensor, padding: list[int]) -> Tensor:
        found: Tensor = torch.ops.mkldnn._convolution_pointwise(
            x, self._weight, self._bias, padding, self._stride, self._dilation, self._groups,
            self._activation, self._limits, "",
        )  # fmt: skip
        return found


def fuse(detector: FCOS) -> FCOS:
    """Return a detector in evaluation mode that gives the same in less time, up to rounding; on a CPU, in float32.

    It shares the weights of the given one, which stays as it is, but those that a norm goes into. The given one is
    returned where oneDNN is not there, or where outputs for noise differ, as for a network that does not use its
    modules in the order of their names.
    """
    if not torch.backends.mkldnn.is_available() or not _has_operator():
        return detector
    shared: dict[int, Any] = {id(value): value for value in (*detector.parameters(), *detector.buffers())}
    fused = deepcopy(detector, shared).eval()
    with torch.no_grad():
        for parent in list(fused.modules()):
            _fuse_children(parent)
        return fused if _agree(detector, fused) else detector


def _has_operator() -> bool:
    return hasattr(torch.ops.mkldnn, "_convolution_pointwise")


def _fuse_children(parent: nn.Module) -> None:
    """Replace the convolutions among the children of a module, and the norms directly behind them."""
    children = list(parent.named_children())
    for (name, conv), (following, norm) in zip_longest(children, children[1:], fillvalue=("", nn.Identity())):
        if not _can_fuse(conv):
            continue
        assert isinstance(conv, nn.Conv2d)
        if isinstance(conv, FoldedConv2d):
            setattr(parent, name, FusedConv2d(conv, conv.norm[0], NO_ACTIVATION))
        elif _is_norm(norm, conv.out_channels) and not isinstance(parent, nn.ModuleList):
            # timm's norms include the activation.
            left = getattr(norm, "act", nn.Identity())
            known = _activation(left)
            setattr(parent, name, FusedConv2d(conv, norm, known or NO_ACTIVATION))
            setattr(parent, following, nn.Identity() if known else left)
        else:
            setattr(parent, name, FusedConv2d(conv, None, NO_ACTIVATION))


def _can_fuse(module: nn.Module) -> bool:
    if not isinstance(module, nn.Conv2d) or module.padding_mode != "zeros" or module.weight.dtype != torch.float32:
        return False
    plain = type(module) in (nn.Conv2d, FoldedConv2d) and not isinstance(module.padding, str)
    return plain or type(module).__name__ == PADS_AT_END


def _is_norm(module: nn.Module, channels: int) -> bool:
    if not isinstance(module, FrozenBatchNorm2d | nn.BatchNorm2d):
        return False
    return module.running_var is not None and module.running_var.numel() == channels


def _activation(module: nn.Module) -> Activation | None:
    """Return oneDNN's name of an activation, None for one that it does not apply."""
    if type(module) is nn.ReLU:
        return "relu", []
    return ("hardtanh", [0.0, 6.0]) if type(module) is nn.ReLU6 else None


def _scale_and_shift(norm: nn.Module) -> tuple[Float[Tensor, " C"], Float[Tensor, " C"]]:
    if isinstance(norm, FrozenBatchNorm2d):
        return norm.scale_and_shift()
    assert isinstance(norm, nn.BatchNorm2d) and norm.running_mean is not None and norm.running_var is not None
    scale = norm.weight * (norm.running_var + norm.eps).rsqrt()
    return scale, norm.bias - norm.running_mean * scale


def _agree(detector: FCOS, fused: FCOS) -> bool:
    """Return whether two detectors in evaluation mode give the same for noise."""
    noise = torch.randint(0, 256, (1, 3, *TRIAL_SIZE), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    sizes = torch.tensor([TRIAL_SIZE])
    expected = detector(noise, sizes)
    try:
        found = fused(noise, sizes)
    except (RuntimeError, NotImplementedError):  # an operator that this version of torch has in another form
        return False
    pairs = [*zip(expected.logits, found.logits, strict=True), (expected.ltrb, found.ltrb)]
    if expected.quality is not None and found.quality is not None:
        pairs.append((expected.quality, found.quality))
    return all(bool((one - other).abs().max() <= TOLERANCE * one.abs().max()) for one, other in pairs)
