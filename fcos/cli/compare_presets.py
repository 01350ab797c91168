"""python -m fcos compare-presets: targets and losses of FCOS's implementations on one image."""

import argparse
from pathlib import Path

from fcos.cli.options import Commands, positive_int


def add_parser(commands: Commands) -> None:
    """Add the parser of the command."""
    summary = "compare targets and losses of FCOS's implementations on an image"
    parser = commands.add_parser("compare-presets", help=summary, description=summary)
    parser.add_argument("image", type=Path)
    parser.add_argument("--annotations", type=Path, required=True, help="a COCO file with the image")
    parser.add_argument("--short-side", type=positive_int, default=800)
    parser.add_argument("--long-side", type=positive_int, default=1333)
    parser.add_argument(
        "--seed", type=int, default=0, help="seed of the random head outputs, which are the same for all"
    )
    parser.add_argument("--output", type=Path, default=Path("presets.png"))
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Compare all presets, print the table and draw the differences; returns the exit code."""
    from fcos.studies.compare_presets import compare_presets, draw_comparison, format_table, identical_presets

    results = compare_presets(
        options.image,
        options.annotations,
        short_side=options.short_side,
        long_side=options.long_side,
        seed=options.seed,
    )
    options.output.parent.mkdir(parents=True, exist_ok=True)
    draw_comparison(results).save(options.output)
    print("\n".join(format_table(results)))
    print(f"differ: locations assigned another box than with {results[0].name}; unassigned: boxes without a location")
    print("losses and detections (without max_detections): of the same random outputs")
    for names in identical_presets(results):
        print(f"same targets: {names}")
    print(f"written: {options.output}")
    return 0
