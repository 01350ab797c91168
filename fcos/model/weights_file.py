"""Read tensors from weights files, and match them with those of a network by name and shape."""

import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from fcos.errors import ConfigError

# Sections of a file that hold the state dict, the first that is there.
SECTIONS = ("model", "state_dict")
# What others put before the names of a backbone's tensors.
PREFIXES = ("", "module.", "model.", "body.", "backbone.", "backbone.body.", "encoder.")
# Names that a message lists.
MOST_NAMES = 5


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read the tensors of a .safetensors file, or of one that torch.save wrote, by name and on the CPU.

    The prefix `module.` of distributed training is left out. Only tensors are unpickled. Raises ConfigError for a file
    that is missing or holds anything else.
    """
    try:
        content = (
            load_file(path)
            if path.suffix == ".safetensors"
            else torch.load(path, map_location="cpu", weights_only=True)
        )
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file") from None
    except (SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError, OSError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        if isinstance(error, pickle.UnpicklingError):
            # torch's own message advises to unpickle anything.
            reason = "it is no file of torch.save, or holds other objects than tensors, which are never unpickled"
        raise ConfigError(f"{path}: cannot be read as a state dict of tensors: {reason}") from None
    section = next((name for name in SECTIONS if isinstance(content, Mapping) and name in content), None)
    state_dict = content if section is None else content[section]
    if not isinstance(state_dict, Mapping) or not all(isinstance(value, Tensor) for value in state_dict.values()):
        raise ConfigError(f"{path}: holds no state dict (names to tensors, or that under {' or '.join(SECTIONS)})")
    return {str(key).removeprefix("module."): value for key, value in state_dict.items()}


@dataclass(frozen=True)
class Matched:
    """Tensors of a file by a network's names, and the names on either side that have no counterpart."""

    tensors: dict[str, Tensor]
    missing: tuple[str, ...]
    left_out: tuple[str, ...]


def match(wanted: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> Matched:
    """Match tensors by name and shape, without the prefix that fits most of them; . and _ are the same."""
    return max((_match(wanted, given, prefix) for prefix in PREFIXES), key=lambda matched: len(matched.tensors))


def _match(wanted: Mapping[str, Tensor], given: Mapping[str, Tensor], prefix: str) -> Matched:
    # timm's feature extractors write stages_0.blocks where the network itself has stages.0.blocks.
    ours = {name.replace(".", "_"): name for name in wanted}
    tensors, left_out = {}, []
    for key, value in given.items():
        name = ours.get(key.removeprefix(prefix).replace(".", "_")) if key.startswith(prefix) else None
        if name is not None and wanted[name].shape == value.shape:
            tensors[name] = value
        else:
            left_out.append(key)
    missing = (name for name in wanted if name not in tensors and not name.endswith("num_batches_tracked"))
    return Matched(tensors, tuple(missing), tuple(left_out))


def some(names: tuple[str, ...]) -> str:
    """List the first names of many for a message."""
    return f"{', '.join(names[:MOST_NAMES])}{', ...' if len(names) > MOST_NAMES else ''}"
