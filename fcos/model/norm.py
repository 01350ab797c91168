"""Normalisation layers by name."""

from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from fcos.config import ConfigError


class FrozenBatchNorm2d(nn.Module):
    """Batch norm whose statistics and affine parameters are constants.

    Buffers are named as in nn.BatchNorm2d. Unlike torchvision's, the result has the dtype of the input: there
    the float32 buffers lift every activation of an autocast backbone to float32.
    """

    def __init__(self, num_features: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.eps = eps
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

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
        scale = self.weight * (self.running_var + self.eps).rsqrt()
        shift = self.bias - self.running_mean * scale
        # One pass over the activations, and backward keeps only the scale, not the input.
        return torch.addcmul(shift.to(x.dtype).view(1, -1, 1, 1), x, scale.to(x.dtype).view(1, -1, 1, 1))

    def extra_repr(self) -> str:
        return f"{self.weight.numel()}, eps={self.eps}"


def batch_norm(
    name: Literal["frozen_bn", "bn", "sync_bn"], *, eps: float = 1e-5, momentum: float = 0.1
) -> Callable[[int], nn.Module]:
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
