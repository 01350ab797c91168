"""python -m fcos draw-augmentation: what each augmentation of training does to one image."""

import argparse
from pathlib import Path

from fcos.cli.options import Commands, positive_int


def add_parser(commands: Commands) -> None:
    """Add the parser of the command."""
    summary = "draw what each augmentation of training does to an image"
    parser = commands.add_parser("draw-augmentation", help=summary, description=summary)
    parser.add_argument("images", type=Path, help="the folder of the images")
    parser.add_argument("--annotations", type=Path, required=True, help="a COCO file of images in that folder")
    parser.add_argument("--image", help="file name or id of the image; default: the first with boxes")
    parser.add_argument("--short-side", type=positive_int, default=320)
    parser.add_argument("--epochs", type=positive_int, default=4, help="pictures of each augmentation")
    parser.add_argument("--seed", type=int, default=0, help="seed of the training")
    parser.add_argument("--output", type=Path, default=Path("augmentation.png"))
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Draw the sheet and print what was left out; returns the exit code."""
    from fcos.annotations.annotations import read_annotations
    from fcos.studies.draw_augmentation import augmentation_sheet

    annotations = read_annotations(options.annotations)
    sheet, notes = augmentation_sheet(
        annotations, options.images, options.image, short_side=options.short_side, epochs=options.epochs,
        seed=options.seed,
    )  # fmt: skip
    options.output.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(options.output)
    print("\n".join([*notes, f"written: {options.output}"]))
    return 0
