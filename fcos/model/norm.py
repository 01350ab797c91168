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
    """Batch norm with constant statistics and affine parameters.

    Buffers are named as in nn.BatchNorm2d. Unlike torchvision's, the output has the dtype of the input: there the
    float32 buffers promote every activation of an autocast backbone to float32.
    """

    def __init__(self, num_features: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.eps = eps
        # Whether the preceding convolution applies this norm; see fold_frozen_norms.
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
        """Return the factor and the offset of the norm."""
        scale = self.weight * (self.running_var + self.eps).rsqrt()
        return scale, self.bias - self.running_mean * scale

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
        return x if self.folded else self.normalize(x)

    def normalize(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
        """Apply the norm, folded or not."""
        scale, shift = self.scale_and_shift()
        # One pass over the activations; backward needs only the scale, not the input.
        return torch.addcmul(shift.to(x.dtype).view(1, -1, 1, 1), x, scale.to(x.dtype).view(1, -1, 1, 1))

    def extra_repr(self) -> str:
        return f"{self.weight.numel()}, eps={self.eps}"


class GroupNorm(nn.GroupNorm):
    """Group norm that an image alone gives the same as in a batch, also where a group has a single value.

    That is so on a level of one location with as many groups as channels: whatever its value, the norm returns its
    bias. torch's own module does so in a batch of several images and refuses a single one, also in evaluation.
    """

    def forward(self, input: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
        # torch's CPU kernel for bfloat16 and the channels last takes five times as long as both copies and the other.
        turns = input.device.type == "cpu" and input.dtype == torch.bfloat16 and not input.is_contiguous()
        values = input.contiguous() if turns else input
        # What torch.nn.functional.group_norm calls after its check.
        normed = torch.group_norm(
            values, self.num_groups, self.weight, self.bias, self.eps, torch.backends.cudnn.enabled
        )
        return normed.contiguous(memory_format=torch.channels_last) if turns else normed


class FoldedConv2d(nn.Conv2d):
    """A convolution together with the frozen batch norm that follows it.

    Under autocast the weight is multiplied by the norm's scale, and the shift is the bias: one pass over the weights
    instead of one over the activations, forward and backward. This is repeated in every call, in float32, so that the
    weight can be trained. In float32 both are applied one after the other, which gives the same numbers as
    torchvision's detector. Parameters and state dict are those of the two modules.
    """

    # In a tuple, as a module would be registered a second time.
    norm: tuple[FrozenBatchNorm2d]

    def forward(self, input: Float[Tensor, "B C H W"]) -> Float[Tensor, "B D h w"]:
        (norm,) = self.norm
        # torch cannot answer is_autocast_enabled for meta tensors, which only serve for counting.
        if input.is_meta or not torch.is_autocast_enabled(input.device.type):
            unfolded: Tensor = norm.normalize(super().forward(input))
            return unfolded
        scale, shift = norm.scale_and_shift()
        result: Tensor = self._conv_forward(input, self.weight * scale.view(-1, 1, 1, 1), shift)
        return result


def fold_frozen_norms(model: nn.Module) -> None:
    """Fold every frozen batch norm into the convolution directly before it."""
    for parent in list(model.modules()):
        for (name, conv), (_, norm) in pairwise(list(parent.named_children())):
            if not (type(conv) is nn.Conv2d and isinstance(norm, FrozenBatchNorm2d)) or conv.bias is not None:
                continue
            folded = FoldedConv2d(
                conv.in_channels, conv.out_channels, conv.kernel_size, conv.stride, conv.padding, conv.dilation,  # type: ignore[arg-type]
                conv.groups, bias=False, device="meta",
            )  # fmt: skip
            folded.weight, folded.norm, norm.folded = conv.weight, (norm,), True
            setattr(parent, name, folded)


def batch_norm(name: BackboneNorm, *, eps: float = 1e-5, momentum: float = 0.1) -> Callable[[int], nn.Module]:
    """Return a constructor of batch norms from the number of channels.

    In a single process sync_bn computes the same as bn. Raises ConfigError for sync_bn with CPU workers.
    """
    match name:
        case "frozen_bn":
            return partial(FrozenBatchNorm2d, eps=eps)
        case "bn":
            return partial(nn.BatchNorm2d, eps=eps, momentum=momentum)
        case "sync_bn":
            require_cuda_workers()
            return partial(nn.SyncBatchNorm, eps=eps, momentum=momentum)
        case "own":
            raise AssertionError("the configuration refuses norm=own but for timm")


def require_cuda_workers() -> None:
    """Raise ConfigError where the workers of a training are processes on the CPU."""
    # torch refuses CPU tensors once a process group exists, but only at the first training step.
    distributed = torch.distributed
    if distributed.is_available() and distributed.is_initialized() and distributed.get_backend() == "gloo":
        raise ConfigError(
            "norm=sync_bn: torch synchronises batch norm between CUDA devices only, not on CPU workers; "
            "use norm=bn (in the head also gn), or device=cuda"
        )
