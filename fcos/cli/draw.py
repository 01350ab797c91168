"""python -m fcos draw: the target assignment of one image, level by level."""

import argparse
from pathlib import Path

from fcos.cli.options import Commands, add_trained_parser, load_checkpoint, parse_changes, refuse_exported


def add_parser(commands: Commands) -> None:
    """Add the parser of the command."""
    parser = add_trained_parser(commands, "draw", "draw the target assignment of an image")
    parser.add_argument("--split", choices=("train", "val"), default="val")
    parser.add_argument("--image", help="file name or id of the image; default: the first with boxes")
    parser.add_argument("--output", type=Path, default=Path("assignment.png"))
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Draw the assignment and describe it; returns the exit code."""
    from fcos.inference import with_changes
    from fcos.studies.draw_assignment import assignment_picture
    from fcos.weights.find import find_checkpoint

    refuse_exported(options.checkpoint)
    config = with_changes(find_checkpoint(options.checkpoint, options.model).config, parse_changes(options.changes))
    trained = load_checkpoint(options) if config.model.assignment.by_outputs else None
    picture, lines = assignment_picture(config, options.split, options.image, trained)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    picture.save(options.output)
    print("\n".join(lines))
    print(f"written: {options.output}")
    return 0
