"""Weights that a backbone begins from: torchvision's sets, timm's, those of an installed package, and files."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torchvision.models import WeightsEnum, get_model_weights

from fcos.config.backbone import BackboneConfig
from fcos.errors import ConfigError, suggest
from fcos.model.efficientnet_layout import from_efficientnet_pytorch
from fcos.model.local_weights import INSTALLED, KEY, check_sha256
from fcos.model.weights_file import match, read_tensors, some

# Share of a backbone's tensors that a file must have.
LEAST_SHARE = 0.5


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


def load_file_weights(path: Path, config: BackboneConfig, namings: Sequence[Mapping[str, Tensor]]) -> tuple[str, ...]:
    """Copy the weights of a file into a backbone; return a note that names what is random or was left out.

    `namings` are the backbone's own tensors under different names, of which the one that fits best counts. Raises
    ConfigError for a file of other content than planned, and for one of another network.
    """
    check_sha256(path, config.weights_sha256, KEY)
    given = read_tensors(path)
    results = [(names, match(names, from_efficientnet_pytorch(given, names))) for names in namings]
    names, matched = max(results, key=lambda result: len(result[1].tensors))
    required = [name for name in names if not name.endswith("num_batches_tracked")]
    found = len(required) - len(matched.missing)
    if found < LEAST_SHARE * len(required):
        raise ConfigError(
            f"{KEY}={path}: only {found} of the {len(required)} tensors of {config.name} match by name and shape; "
            f"missing: {some(matched.missing)}; in the file instead: {some(matched.left_out)}; give the network of the "
            "file as model.backbone.name, or model.weights=<file> where it holds a whole detector"
        )
    with torch.no_grad():
        for name, value in matched.tensors.items():
            names[name].copy_(value)
    return _notes(path, config, matched.missing, matched.left_out)


def _notes(path: Path, config: BackboneConfig, missing: tuple[str, ...], left_out: tuple[str, ...]) -> tuple[str, ...]:
    parts = []
    if missing:
        parts.append(f"{len(missing)} tensors of {config.name} are not in it and start random: {some(missing)}")
    # Of the installed ones it is known that only the layers after the last stage are left out.
    if left_out and config.weights != INSTALLED:
        parts.append(f"{len(left_out)} of its tensors have no place in {config.name}: {some(left_out)}")
    return (f"{KEY}={path.name}: {'; '.join(parts)}",) if parts else ()


def tensors_of(network: nn.Module, used: nn.Module) -> dict[str, Tensor]:
    """Return the tensors of a network, by its names, that a part of it also has."""
    ids = {id(value) for value in used.state_dict(keep_vars=True).values()}
    return {name: value for name, value in network.state_dict(keep_vars=True).items() if id(value) in ids}
