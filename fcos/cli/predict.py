"""python -m fcos predict: detections of an image or a folder of images."""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fcos.cli.options import Commands, add_trained_parser, load_checkpoint, show_progress
from fcos.errors import ConfigError, DataError, ReadError

if TYPE_CHECKING:
    from fcos.structures import Detections


def add_parser(commands: Commands) -> None:
    """Add the parser of the command."""
    parser = add_trained_parser(commands, "predict", "detect objects in an image or a folder of images")
    parser.add_argument("images", type=Path)
    parser.add_argument("--output", type=Path, required=True, help="folder for detections.json and pictures")
    parser.add_argument("--score", type=float, default=0.3, help="lowest score in pictures; the JSON file has all")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Write detections and pictures of all images; returns the exit code."""
    from fcos.draw.boxes import draw_boxes
    from fcos.inference import list_images, predict

    images = list_images(options.images)
    root = options.images if options.images.is_dir() else options.images.parent
    if options.output.resolve().is_relative_to(root.resolve()) and options.images.is_dir():
        raise ConfigError(f"--output {options.output}: must not lie in the folder of the images")
    trained = load_checkpoint(options)
    options.output.mkdir(parents=True, exist_ok=True)
    results, unreadable = [], 0
    for done, path in enumerate(images, start=1):
        name = path.relative_to(root)
        try:
            pixels, detections = predict(trained, path)
        except (DataError, ReadError) as error:
            unreadable += 1
            print(f"left out: {error}", file=sys.stderr)
            continue
        results.append(_to_json(str(name), detections, trained.classes))
        above_score = detections.scores > options.score
        picture = draw_boxes(
            pixels,
            detections.boxes[above_score],
            detections.labels[above_score],
            trained.classes,
            detections.scores[above_score],
        )
        target = options.output / f"{name}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        picture.save(target)
        show_progress(done, len(images))
    (options.output / "detections.json").write_text(json.dumps(results, indent=1))
    print(f"{len(results)} images, {sum(len(item['detections']) for item in results)} detections: {options.output}")
    if unreadable:
        raise ConfigError(f"{unreadable} of {len(images)} images could not be read; the others are in {options.output}")
    return 0


def _to_json(name: str, detections: "Detections", classes: Sequence[str]) -> dict[str, Any]:
    """Return the detections of an image as plain values."""
    rows = zip(detections.boxes.tolist(), detections.scores.tolist(), detections.labels.tolist(), strict=True)
    return {
        "image": name,
        "detections": [{"box_xyxy": box, "score": score, "class": classes[label]} for box, score, label in rows],
    }
