"""Pretrained backbone weights from torchvision."""

from pathlib import Path

import torch
from torch import Tensor
from torchvision.models import WeightsEnum, get_model_weights

from fcos.errors import ConfigError, suggest


def pretrained_state_dict(backbone: str, weights: str) -> dict[str, Tensor]:
    """Return the state dict of one of torchvision's weight sets of a backbone, from torch.hub's cache or downloaded.

    Raises ConfigError for an unknown name, and for a file that cannot be downloaded or read.
    """
    choice = choose_weights(backbone, weights)
    file = Path(torch.hub.get_dir()) / "checkpoints" / Path(choice.url).name
    try:
        state_dict: dict[str, Tensor] = choice.get_state_dict(
            progress=False, check_hash=True, map_location="cpu", weights_only=True
        )
    except Exception as error:  # unpickling a damaged file can raise anything
        if file.exists():
            raise ConfigError(
                f"model.backbone.weights={weights}: {file} is not readable ({error!r}); remove it"
            ) from error
        raise ConfigError(
            f"model.backbone.weights={weights}: {choice.url} cannot be downloaded ({error}); "
            f"lay the file at {file}, or train from random weights with model.backbone.weights=null"
        ) from error
    return state_dict


def choose_weights(backbone: str, weights: str) -> WeightsEnum:
    """Return one of torchvision's weight sets of a backbone; raises ConfigError with suggestions for other names."""
    known = get_model_weights(backbone)
    names = list(known.__members__)
    if weights not in names:
        hint = suggest(weights, names) or f"torchvision has {', '.join(names)}"
        raise ConfigError(f"model.backbone.weights={weights}: no such weights of {backbone}; {hint}")
    return known[weights]
