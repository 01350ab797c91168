"""python -m fcos evaluate-results: COCO metrics of saved detections, without a detector and a GPU."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from fcos.cli.options import Commands, print_metrics
from fcos.errors import ConfigError

if TYPE_CHECKING:
    from fcos.annotations.annotations import Annotations
    from fcos.annotations.coco_results import CocoResults

SUMMARY = "COCO metrics of saved detections and their annotations"


def add_parser(commands: Commands) -> None:
    """Add the parser of the command."""
    parser = commands.add_parser("evaluate-results", help=SUMMARY, description=SUMMARY)
    parser.add_argument(
        "results", type=Path,
        help="the folder of a run's saved evaluation, or COCO results of any tool (json or json.gz)",
    )  # fmt: skip
    parser.add_argument(
        "annotations", type=Path, nargs="?",
        help="the COCO annotations of the results (json or json.gz); a saved evaluation has its own",
    )  # fmt: skip
    parser.add_argument("--output", type=Path, help="also write the metrics to this JSON file")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Evaluate results; returns the exit code."""
    from fcos.evaluation.coco import result_metrics

    annotations, results, step = _read(options.results, options.annotations)
    for note in annotations.notes:
        print(f"note: {note}")
    title = f"{options.results}: {len(results)} detections on {len(annotations)} images"
    print_metrics(title, result_metrics(annotations, results), options.output, step)
    return 0


def _read(results: Path, annotations: Path | None) -> "tuple[Annotations, CocoResults, int | None]":
    """Return annotations, results, and the training step where the results name one.

    Raises DataError for files that cannot be used, and ConfigError for arguments that do not go together.
    """
    from fcos.annotations.annotations import build_annotations
    from fcos.annotations.coco_file import read_coco_file
    from fcos.annotations.coco_results import parse_coco_results
    from fcos.annotations.json_text import json_text
    from fcos.evaluation.saved.saved_evaluation import read_evaluation
    from fcos.storage.reading import file_stat, is_folder, read_bytes

    if is_folder(results):
        if annotations is not None:
            raise ConfigError(f"{annotations}: the saved evaluation {results} has its own annotations; leave them out")
        saved = read_evaluation(results)
        return saved.annotations, saved.results, saved.index.step
    if file_stat(results) is None:
        raise ConfigError(f"{results}: no such folder of a saved evaluation, and no such file of COCO results")
    if annotations is None:
        raise ConfigError(f"{results}: is no folder of a saved evaluation; name the annotations of these results too")
    truth = build_annotations(read_coco_file(annotations, cache=None), annotations, "plain")
    text = json_text(read_bytes(results, "file of COCO results"), results)
    return truth, parse_coco_results(text, results, truth), None
