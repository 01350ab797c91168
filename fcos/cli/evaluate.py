"""python -m fcos evaluate: COCO metrics on the validation images, and the latency beside them."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from fcos.cli.options import (
    Commands,
    add_trained_parser,
    is_exported,
    load_checkpoint,
    load_file,
    positive_int,
    print_metrics,
    show_progress,
    write_metrics,
)

if TYPE_CHECKING:
    from fcos.exported.file_detector import FileDetector
    from fcos.exported.latency import Latency
    from fcos.inference import Trained


def add_parser(commands: Commands) -> None:
    """Add the parser of the command."""
    parser = add_trained_parser(commands, "evaluate", "COCO metrics on the validation images", exported=True)
    parser.add_argument("--batch-size", type=positive_int, default=8)
    parser.add_argument("--output", type=Path, help="also write the metrics to this JSON file")
    parser.add_argument(
        "--latency", type=positive_int, metavar="RUNS",
        help="also time this many warm runs of the first validation images, from pixels to detections",
    )  # fmt: skip
    parser.add_argument("--latency-batch", type=positive_int, default=1, metavar="N", help="images of each run (1)")
    parser.add_argument("--threads", type=positive_int, metavar="N", help="threads on the CPU (default: one a core)")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Evaluate a checkpoint or an exported file; returns the exit code."""
    import torch

    if options.threads is not None:
        torch.set_num_threads(options.threads)
    detector: FileDetector | Trained
    if is_exported(options.checkpoint):
        from fcos.exported.file_detector import evaluate_file

        detector = load_file(options)
        step = detector.record.step
        metrics = evaluate_file(detector, batch_size=options.batch_size, progress=show_progress)
    else:
        from fcos.inference import evaluate

        detector = load_checkpoint(options)
        step = detector.step
        metrics = evaluate(detector, batch_size=options.batch_size, progress=show_progress)
    print_metrics(str(options.checkpoint), metrics, options.output, step)
    if options.latency is not None:
        # Last: whatever fails in it, the metrics are there.
        latency = _latency(detector, options)
        print(latency.describe())
        if options.output is not None:
            write_metrics(metrics, options.output, step, latency)
    return 0


def _latency(detector: "FileDetector | Trained", options: argparse.Namespace) -> "Latency":
    """Time the first validation images."""
    from fcos.exported.latency import Timed, measure_latency
    from fcos.inference import read_validation

    _, batches = read_validation(detector, batch_size=options.latency_batch)
    (latency,) = measure_latency([Timed.of(detector)], next(iter(batches)), runs=options.latency)
    return latency
