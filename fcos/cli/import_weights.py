"""python -m fcos import-weights: published weights as a checkpoint folder."""

import argparse
from pathlib import Path

from fcos.cli.options import Commands, add_trained_parser, load_checkpoint


def add_parser(commands: Commands) -> None:
    """Add the parser of the command."""
    parser = add_trained_parser(commands, "import-weights", "convert published weights to a checkpoint folder")
    parser.add_argument("--output", type=Path, required=True, help="folder to write the checkpoint folder to")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Convert the weights; returns the exit code."""
    from fcos.training.checkpoint import save

    trained = load_checkpoint(options)
    config = trained.config.model_dump(mode="json")
    folder = save(
        options.output, step=trained.step, config=config, classes=trained.classes, model=trained.detector, averages={},
        state={},
    )  # fmt: skip
    print(f"{options.checkpoint}: {len(trained.classes)} classes, {config['model']['backbone']['name']}")
    print(f"written: {folder}")
    return 0
