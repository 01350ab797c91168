"""Normalisation layers by name."""

from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from fcos.config.choices import BackboneNorm
from fcos.errors import ConfigError


class FrozenBatchNorm2d(nn.Module):
    """Batch norm whose statistics and affine parameters are constants.

    Buffers are named as in nn.BatchNorm2d. Unlike torchvision's, the result has the dtype of the input: there
    the float32 buffers lift every activation of an autocast backbone to float32.
    """

    def __init__(self, num_features: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.eps = eps
        # Whether the convolution before it does its work; see fold_frozen_norms.
        self.folded = False
        self.register_buffer("weight", torch.ones(num_features))
        self.register_buffer("bias", torch.zeros(num_features))
        self.register_buffer("running_mean", torch.zeros(num_features))
        self.register_buffer("running_var", torch.ones(num_features))

    weight: Tensor
    bias: Tensor
    running_mean: Tensor
    running_var: Tensor

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any) -> None:
        state_dict.pop(f"{prefix}num_batches_tracked", None)
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)

    def scale_and_shift(self) -> tuple[Float[Tensor, " C"], Float[Tensor, " C"]]:
        """What it multiplies by, and then adds."""
        scale = self.weight * (self.running_var + self.eps).rsqrt()
        return scale, self.bias - self.running_mean * scale

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
        return x if self.folded else self.normalize(x)

    def normalize(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
        """The norm itself, whoever asks for it."""
        scale, shift = self.scale_and_shift()
        # One pass over the activations, and backward keeps only the scale, not the input.
        return torch.addcmul(shift.to(x.dtype).view(1, -1, 1, 1), x, scale.to(x.dtype).view(1, -1, 1, 1))

    def extra_repr(self) -> str:
        return f"{self.weight.numel()}, eps={self.eps}"


class FoldedConv2d(nn.Conv2d):
    """A convolution and the frozen batch norm that follows it.

    Under autocast the weight is multiplied by the norm's scale, and the shift is the bias: one pass over the weights
    instead of one over the activations, forward and backward. That is done anew each time, in float32, so that the
    weight goes on learning. In float32 both come one after the other, which keeps the numbers of torchvision's
    detector. Parameters and state dict are those of the two apart.
    """

    # In a tuple, as a module would be registered a second time.
    norm: tuple[FrozenBatchNorm2d]

    def forward(self, input: Float[Tensor, "B C H W"]) -> Float[Tensor, "B D h w"]:
        (norm,) = self.norm
        # Torch refuses the question for tensors without memory, which are asked for counts only.
        if input.is_meta or not torch.is_autocast_enabled(input.device.type):
            separate: Tensor = norm.normalize(super().forward(input))
            return separate
        scale, shift = norm.scale_and_shift()
        together: Tensor = self._conv_forward(input, self.weight * scale.view(-1, 1, 1, 1), shift)
        return together


def fold_frozen_norms(model: nn.Module) -> None:
    """Let every convolution that stands right before a frozen batch norm do its work too."""
    for parent in list(model.modules()):
        for (name, conv), (_, norm) in pairwise(list(parent.named_children())):
            if not (isinstance(conv, nn.Conv2d) and isinstance(norm, FrozenBatchNorm2d)) or conv.bias is not None:
                continue
            folded = FoldedConv2d(
                conv.in_channels, conv.out_channels, conv.kernel_size, conv.stride, conv.padding, conv.dilation,  # type: ignore[arg-type]
                conv.groups, bias=False, device="meta",
            )  # fmt: skip
            folded.weight, folded.norm, norm.folded = conv.weight, (norm,), True
            setattr(parent, name, folded)


def batch_norm(name: BackboneNorm, *, eps: float = 1e-5, momentum: float = 0.1) -> Callable[[int], nn.Module]:
    """A constructor of batch norms from the number of channels.

    Alone in a process sync_bn computes what bn does. Raises ConfigError for it in a group of CPU workers.
    """
    match name:
        case "frozen_bn":
            return partial(FrozenBatchNorm2d, eps=eps)
        case "bn":
            return partial(nn.BatchNorm2d, eps=eps, momentum=momentum)
        case "sync_bn":
            _require_cuda_workers()
            return partial(nn.SyncBatchNorm, eps=eps, momentum=momentum)


def _require_cuda_workers() -> None:
    # torch refuses CPU tensors as soon as a process group exists, and only at the first training step.
    distributed = torch.distributed
    if distributed.is_available() and distributed.is_initialized() and distributed.get_backend() == "gloo":
        raise ConfigError(
            "norm=sync_bn: torch synchronises batch norm between CUDA devices only, not on CPU workers; "
            "use norm=bn (in the head also gn), or device=cuda"
        )
