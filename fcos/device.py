"""Choose a device by name, move structures of tensors to it, autocast on it."""

from dataclasses import fields, is_dataclass, replace
from typing import Any, TypeVar

import torch
from torch import Tensor

from fcos.config.choices import Precision
from fcos.errors import ConfigError


def autocast(device: torch.device, precision: Precision) -> torch.autocast:
    """Return the autocast context of a precision; fp32 disables it."""
    dtype = torch.float16 if precision == "fp16" else torch.bfloat16
    return torch.autocast(device.type, dtype=dtype, enabled=precision != "fp32")


def precision_notes(device: torch.device, precision: Precision) -> tuple[str, ...]:
    """Return a remark on a precision that the processor has no instructions for; nothing for another device."""
    if device.type != "cpu" or precision == "fp32" or _has_instructions(precision):
        return ()
    return (
        f"schedule.precision={precision}: this processor has no instructions for it; training takes several times as "
        "long as in fp32",
    )


def _has_instructions(precision: Precision) -> bool:
    """Return whether torch's convolutions on this processor compute in bf16 or fp16."""
    if not torch.backends.mkldnn.is_available():
        return False
    supported = torch.ops.mkldnn
    name = "_is_mkldnn_fp16_supported" if precision == "fp16" else "_is_mkldnn_bf16_supported"
    return bool(getattr(supported, name)())


def pick_device(name: str) -> torch.device:
    """Return the device of a name: cpu, cuda or auto (cuda where available).

    Raises ConfigError for cuda where no CUDA device is present.
    """
    cuda_available = torch.cuda.is_available()
    if name == "cuda" and not cuda_available:
        raise ConfigError("device=cuda: no CUDA device is present here; use device=cpu, or a machine with a GPU")
    return torch.device("cuda" if name == "cuda" or (name == "auto" and cuda_available) else "cpu")


StructureT = TypeVar("StructureT")


def to_device(structure: StructureT, device: torch.device) -> StructureT:
    """Return a copy of a dataclass with all of its tensors, nested ones too, on the device.

    Copies to a GPU do not block.
    """
    # A non-blocking copy to the host could be read before it is complete.
    non_blocking = device.type == "cuda"
    moved: dict[str, Any] = {}
    for field in fields(structure):  # type: ignore[arg-type]
        value = getattr(structure, field.name)
        if isinstance(value, Tensor):
            moved[field.name] = value.to(device, non_blocking=non_blocking)
        elif is_dataclass(value) and not isinstance(value, type):
            moved[field.name] = to_device(value, device)
    return replace(structure, **moved)  # type: ignore[type-var]
