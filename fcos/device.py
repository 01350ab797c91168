"""Devices: choose one by name, move tensors to it, autocast on it."""

from dataclasses import fields, is_dataclass, replace
from typing import Any, TypeVar

import torch
from torch import Tensor

from fcos.config.choices import Precision
from fcos.errors import ConfigError


def autocast(device: torch.device, precision: Precision) -> torch.autocast:
    """bf16 or fp16 where the precision asks for it, nothing otherwise."""
    dtype = torch.float16 if precision == "fp16" else torch.bfloat16
    return torch.autocast(device.type, dtype=dtype, enabled=precision != "fp32")


def pick_device(name: str) -> torch.device:
    """The device of a name: cpu, cuda or auto (cuda where there is one).

    Raises ConfigError where cuda is asked for and none is present.
    """
    present = torch.cuda.is_available()
    if name == "cuda" and not present:
        raise ConfigError("device=cuda: no CUDA device is present here; use device=cpu, or a machine with a GPU")
    return torch.device("cuda" if name == "cuda" or (name == "auto" and present) else "cpu")


NounT = TypeVar("NounT")


def to_device(noun: NounT, device: torch.device) -> NounT:
    """The same noun with every tensor in it, nested ones too, on the device; copies to a GPU do not block."""
    # A copy to the host that did not block could be read before it has arrived.
    non_blocking = device.type == "cuda"
    moved: dict[str, Any] = {}
    for field in fields(noun):  # type: ignore[arg-type]
        value = getattr(noun, field.name)
        if isinstance(value, Tensor):
            moved[field.name] = value.to(device, non_blocking=non_blocking)
        elif is_dataclass(value) and not isinstance(value, type):
            moved[field.name] = to_device(value, device)
    return replace(noun, **moved)  # type: ignore[type-var]
