"""python -m fcos score-iou: score against IoU of the detections on the validation images (v1's Figure 7)."""

import argparse
from pathlib import Path

from fcos.cli.options import Commands, add_trained_parser, load_checkpoint, positive_int, show_progress


def add_parser(commands: Commands) -> None:
    """Add the parser of the command."""
    parser = add_trained_parser(commands, "score-iou", "draw score against IoU (v1's Figure 7)")
    parser.add_argument("--batch-size", type=positive_int, default=8)
    parser.add_argument("--output", type=Path, default=Path("score_iou.png"))
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Measure and draw the panels; returns the exit code."""
    from fcos.studies.score_figure import draw_panels, format_summary, measure_panels

    panels = measure_panels(load_checkpoint(options), batch_size=options.batch_size, progress=show_progress)
    for title, panel in panels.items():
        print(f"{title}: {len(panel.score)} detections, {format_summary(panel.numbers)}")
    options.output.parent.mkdir(parents=True, exist_ok=True)
    draw_panels(panels, options.output)
    print(f"written: {options.output}")
    return 0
