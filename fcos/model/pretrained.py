"""Pretrained backbone weights through torchvision's own loader."""

import difflib
from pathlib import Path

import torch
from torch import Tensor
from torchvision.models import WeightsEnum, get_model_weights

from fcos.errors import ConfigError


def pretrained_state_dict(backbone: str, weights: str) -> dict[str, Tensor]:
    """The state dict of one of torchvision's weight sets of a backbone, from torch.hub's cache or the net.

    Raises ConfigError for a name that torchvision does not know, and for a file that cannot be had or read.
    """
    choice = choose_weights(backbone, weights)
    file = Path(torch.hub.get_dir()) / "checkpoints" / Path(choice.url).name
    try:
        state_dict: dict[str, Tensor] = choice.get_state_dict(
            progress=False, check_hash=True, map_location="cpu", weights_only=True
        )
    except Exception as error:  # a damaged file makes the unpickler raise whatever its bytes lead to
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
    """One of torchvision's weight sets of a backbone; raises ConfigError with near matches for other names."""
    known = get_model_weights(backbone)
    names = list(known.__members__)
    if weights not in names:
        near = difflib.get_close_matches(weights, names, n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(near)}?" if near else f"torchvision has {', '.join(names)}"
        raise ConfigError(f"model.backbone.weights={weights}: no such weights of {backbone}; {hint}")
    return known[weights]
