"""python -m fcos evaluate: COCO metrics on the validation images."""

import argparse
from pathlib import Path

from fcos.cli.options import Commands, add_trained_parser, load_checkpoint, positive_int, print_metrics, show_progress


def add_parser(commands: Commands) -> None:
    """Add the parser of the command."""
    parser = add_trained_parser(commands, "evaluate", "COCO metrics on the validation images")
    parser.add_argument("--batch-size", type=positive_int, default=8)
    parser.add_argument("--output", type=Path, help="also write the metrics to this JSON file")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Evaluate a checkpoint; returns the exit code."""
    from fcos.inference import evaluate

    trained = load_checkpoint(options)
    metrics = evaluate(trained, batch_size=options.batch_size, progress=show_progress)
    print_metrics(str(options.checkpoint), metrics, options.output, trained.step)
    return 0
