"""python -m fcos two-stage: Fast R-CNN's heads, trained on this detector's proposals."""

import argparse
import sys
from pathlib import Path

from fcos.cli.options import (
    Commands,
    add_trained_parser,
    fraction,
    load_checkpoint,
    positive_int,
    print_metrics,
    show_progress,
)


def add_parser(commands: Commands) -> None:
    """Add the parser of the command."""
    parser = add_trained_parser(commands, "two-stage", "train Fast R-CNN's heads on this detector's proposals")
    parser.add_argument("--steps", type=positive_int, default=500, help="number of batches to train the heads")
    parser.add_argument("--batch-size", type=positive_int, default=8)
    parser.add_argument("--lr", type=fraction, default=0.001, help="peak learning rate of AdamW, with cosine decay")
    parser.add_argument("--hidden", type=positive_int, default=1024, help="channels of the two fully connected layers")
    parser.add_argument("--output", type=Path, help="also write the metrics to this JSON file")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Train and evaluate the heads; returns the exit code."""
    from fcos.studies.two_stage import run_two_stage

    trained = load_checkpoint(options)
    metrics = run_two_stage(
        trained, steps=options.steps, batch_size=options.batch_size, lr=options.lr, hidden=options.hidden,
        on_step=_show_step, on_image=show_progress,
    )  # fmt: skip
    print_metrics(str(options.checkpoint), metrics, options.output, trained.step)
    return 0


def _show_step(step: int, steps: int, loss: float) -> None:
    if sys.stderr.isatty():
        print(f"\rstep {step} of {steps}, loss {loss:.3f}", end="\n" if step == steps else "", file=sys.stderr)
