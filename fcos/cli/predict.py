"""python -m fcos predict: detections of images, folders of images and videos."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fcos.cli.options import (
    Commands,
    add_trained_parser,
    is_exported,
    load_checkpoint,
    load_file,
    positive_int,
    show_progress,
)
from fcos.errors import ConfigError, suggest

if TYPE_CHECKING:
    from fcos.prediction.sources import Sources


def add_parser(commands: Commands) -> None:
    """Add the parser of the command."""
    summary = "detect objects in images, folders of images and videos"
    parser = add_trained_parser(commands, "predict", summary, exported=True)
    parser.add_argument(
        "images", nargs="+", metavar="IMAGES",
        help="image files of any kind that Pillow decodes, folders with all folders below them, patterns such as "
        "'photos/**/*.jpg', or video files",
    )  # fmt: skip
    parser.add_argument(
        "--output", type=Path, required=True,
        help="folder for detections.json (COCO results), images.json (what their ids stand for) and pictures/",
    )  # fmt: skip
    parser.add_argument("--batch", type=positive_int, default=8, metavar="N", help="images at a time (8)")
    parser.add_argument(
        "--score", type=_score, metavar="S",
        help="lowest score that is kept; without it the results have all, and pictures those from 0.3",
    )  # fmt: skip
    parser.add_argument(
        "--classes", nargs="+", metavar="NAME", help="classes that are kept, of what max_detections leaves"
    )
    parser.add_argument("--no-pictures", action="store_false", dest="pictures", help="results alone")
    parser.set_defaults(run=run)


def _score(text: str) -> float:
    """Parse a score, 0 and 1 included, for argparse."""
    number = float(text)
    if not 0 <= number <= 1:
        raise argparse.ArgumentTypeError(f"{number}: must lie between 0 and 1")
    return number


def run(options: argparse.Namespace) -> int:
    """Write detections and pictures of all images.

    Returns 0, or 1 where an image or a video failed and the others are done. Raises ConfigError for a user's mistake.
    """
    from fcos.prediction.predictor import Predictor
    from fcos.prediction.run import PredictionProgress, Request, run_prediction
    from fcos.prediction.sources import find_sources

    sources = find_sources(options.images)
    _check_videos(sources)
    if options.output.exists() and not options.output.is_dir():
        raise ConfigError(f"--output {options.output}: is a file; give a folder")
    detector = load_file(options) if is_exported(options.checkpoint) else load_checkpoint(options)
    labels = _labels(options.classes, detector.classes)
    request = Request(options.output, detector.classes, options.batch, options.score, labels, options.pictures)
    for note in sources.notes:
        print(f"note: {note}", file=sys.stderr)
    progress = PredictionProgress(
        on_done=lambda unit, done, total: show_progress(done, total, unit),
        on_failure=lambda message: print(f"failed: {message}", file=sys.stderr),
    )
    try:
        outcome = run_prediction(Predictor(detector), sources, request, progress)
    except KeyboardInterrupt:
        print(f"kept: what was predicted until now, in {options.output}", file=sys.stderr)
        raise
    if progress.num_turned:
        print(
            f"note: {progress.num_turned} images whose EXIF data ask for another orientation: it is not applied, as in "
            "training; --set data.exif_orientation=apply does",
            file=sys.stderr,
        )
    frames = " and frames" if sources.videos else ""
    print(f"{outcome.num_images} images{frames}, {outcome.num_detections} detections: {options.output}")
    if outcome.num_failures:
        print(f"{outcome.num_failures} failed, named above; the others are complete", file=sys.stderr)
    return 1 if outcome.num_failures else 0


def _check_videos(sources: "Sources") -> None:
    """Raise ConfigError where a video cannot be read for want of PyAV."""
    if sources.videos:
        from fcos.prediction.video import check_pyav

        check_pyav(sources.videos[0].path)


def _labels(names: Sequence[str] | None, classes: Sequence[str]) -> tuple[int, ...] | None:
    """Return the indices of classes by name; raises ConfigError for a name that the detector does not know."""
    if names is None:
        return None
    for name in names:
        if name not in classes:
            known = suggest(name, classes) or f"the detector knows {', '.join(classes)}"
            raise ConfigError(f"--classes {name}: no such class; {known}")
    return tuple(classes.index(name) for name in names)
