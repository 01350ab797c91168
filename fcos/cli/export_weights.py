"""python -m fcos export-weights: weights as a file for torchvision's FCOS."""

import argparse
from pathlib import Path

from fcos.cli.options import Commands, add_trained_parser, load_checkpoint
from fcos.errors import ConfigError


def add_parser(commands: Commands) -> None:
    """Add the parser of the command."""
    parser = add_trained_parser(commands, "export-weights", "convert weights to torchvision's FCOS")
    parser.add_argument("--output", type=Path, required=True, help="the .pth file to write")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Convert the weights; returns the exit code.

    Raises ConfigError for a detector that torchvision's FCOS cannot be.
    """
    import torch

    from fcos.weights.torchvision import WeightsError, to_torchvision

    trained = load_checkpoint(options)
    model = trained.config.model
    for key in ("anchors_per_location", "targets_per_location"):
        if getattr(model, key) > 1:
            raise ConfigError(
                f"{options.checkpoint}: model.{key}={getattr(model, key)}: torchvision's FCOS has one prediction at "
                "each location"
            )
    weights = {name: value.cpu() for name, value in trained.detector.state_dict().items()}
    try:
        theirs = to_torchvision(weights)
    except WeightsError as error:
        raise ConfigError(f"{options.checkpoint}: {error}; only model=torchvision has a place there") from None
    options.output.parent.mkdir(parents=True, exist_ok=True)
    torch.save(theirs, options.output)
    print(f"for fcos_resnet50_fpn(weights=None, weights_backbone=None, num_classes={len(trained.classes)})")
    print(f"written: {options.output}")
    return 0
