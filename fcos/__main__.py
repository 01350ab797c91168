"""python -m fcos evaluate | predict | draw | draw-augmentation | compare-presets | score-iou | two-stage |
import-weights | export-weights.

Evaluate trained detectors, draw and compare target assignments, import and export weights.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fcos.errors import ConfigError, Transient
from fcos.streams import exit_code_of_closed_output, flush_output, replace_unprintable_characters

# torch and torchvision are imported inside functions, so that --help is fast.

EPILOG = """examples:
  python -m fcos evaluate outputs/NAME/trials/ID
  python -m fcos evaluate outputs/NAME/trials/ID --set model.postprocess.nms_threshold=0.5
  python -m fcos predict outputs/NAME/trials/ID photos/ --output found/
  python -m fcos draw outputs/NAME/trials/ID --image 000000000139.jpg --split val
  python -m fcos draw outputs/NAME/trials/ID --set model.assignment.center_sampling_radius=null
  python -m fcos draw-augmentation val2017/ --annotations annotations/instances_val2017.json
  python -m fcos compare-presets val2017/000000000139.jpg --annotations annotations/instances_val2017.json
  python -m fcos evaluate FCOS_R_50_1x.pth --set data.root=/data/coco
  python -m fcos evaluate FCOS_imprv_R_50_FPN_1x.pth --model official_improved --set data.root=/data/coco
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Returns 0 for success, 2 for a user's mistake (one message), 130 for an interrupt, 141 for a closed output.
    """
    replace_unprintable_characters()
    options = _parser().parse_args(arguments)
    from fcos.training.checkpoint import CheckpointError

    try:
        match options.command:
            case "evaluate":
                _evaluate(options)
            case "predict":
                _predict(options)
            case "draw":
                _draw(options)
            case "draw-augmentation":
                _draw_augmentation(options)
            case "compare-presets":
                _compare_presets(options)
            case "score-iou":
                _score_iou(options)
            case "two-stage":
                _two_stage(options)
            case "import-weights":
                _import(options)
            case "export-weights":
                _export(options)
        flush_output()
    except BrokenPipeError:
        return exit_code_of_closed_output("stopped: standard output was closed")
    except (ConfigError, CheckpointError, Transient, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    """Build the parser of all commands and their options."""
    # As a script of an installed wheel, or as a module.
    program = "fcos" if Path(sys.argv[0]).stem == "fcos" else "python -m fcos"
    parser = argparse.ArgumentParser(
        prog=program,
        description=(__doc__ or "").replace("python -m fcos", program),
        epilog=EPILOG.replace("python -m fcos", program),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True)
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument(
        "checkpoint", type=Path,
        help="a checkpoint folder, a run's folder (its newest checkpoint), or a .pth file of published weights",
    )  # fmt: skip
    shared.add_argument(
        "--model", metavar="NAME",
        help="the published model that a .pth file holds: torchvision, official_v1, official_improved, adelaidet or "
        "detectron2",
    )  # fmt: skip
    shared.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", dest="changes",
        help="change a setting of the checkpoint's config, e.g. data.root=/data/coco (may be repeated)",
    )  # fmt: skip
    shared.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")

    evaluate = commands.add_parser("evaluate", parents=[shared], help="COCO metrics on the validation images")
    evaluate.add_argument("--batch-size", type=_positive_int, default=8)
    evaluate.add_argument("--output", type=Path, help="also write the metrics to this JSON file")

    predict = commands.add_parser("predict", parents=[shared], help="detect objects in an image or a folder of images")
    predict.add_argument("images", type=Path)
    predict.add_argument("--output", type=Path, required=True, help="folder for detections.json and pictures")
    predict.add_argument("--score", type=float, default=0.3, help="lowest score in pictures; the JSON file has all")

    _add_drawing_commands(commands, shared)

    score = commands.add_parser("score-iou", parents=[shared], help="draw score against IoU (v1's Figure 7)")
    score.add_argument("--batch-size", type=_positive_int, default=8)
    score.add_argument("--output", type=Path, default=Path("score_iou.png"))

    two = commands.add_parser(
        "two-stage", parents=[shared], help="train Fast R-CNN's heads on this detector's proposals"
    )
    two.add_argument("--steps", type=_positive_int, default=500, help="number of batches to train the heads")
    two.add_argument("--batch-size", type=_positive_int, default=8)
    two.add_argument("--lr", type=_rate, default=0.001, help="peak learning rate of AdamW, with cosine decay")
    two.add_argument("--hidden", type=_positive_int, default=1024, help="channels of the two fully connected layers")
    two.add_argument("--output", type=Path, help="also write the metrics to this JSON file")

    import_ = commands.add_parser(
        "import-weights", parents=[shared], help="convert published weights to a checkpoint folder"
    )
    import_.add_argument("--output", type=Path, required=True, help="folder to write the checkpoint folder to")

    export = commands.add_parser("export-weights", parents=[shared], help="convert weights to torchvision's FCOS")
    export.add_argument("--output", type=Path, required=True, help="the .pth file to write")
    return parser


def _add_drawing_commands(commands: Any, shared: argparse.ArgumentParser) -> None:
    """Add the parsers of draw, draw-augmentation and compare-presets."""
    draw = commands.add_parser("draw", parents=[shared], help="draw the target assignment of an image")
    draw.add_argument("--split", choices=("train", "val"), default="val")
    draw.add_argument("--image", help="file name or id of the image; default: the first with boxes")
    draw.add_argument("--output", type=Path, default=Path("assignment.png"))

    augmentation = commands.add_parser(
        "draw-augmentation", help="draw what each augmentation of training does to an image"
    )
    augmentation.add_argument("images", type=Path, help="the folder of the images")
    augmentation.add_argument("--annotations", type=Path, required=True, help="a COCO file of images in that folder")
    augmentation.add_argument("--image", help="file name or id of the image; default: the first with boxes")
    augmentation.add_argument("--short-side", type=_positive_int, default=320)
    augmentation.add_argument("--epochs", type=_positive_int, default=4, help="pictures of each augmentation")
    augmentation.add_argument("--seed", type=int, default=0, help="seed of the training")
    augmentation.add_argument("--output", type=Path, default=Path("augmentation.png"))

    compare = commands.add_parser(
        "compare-presets", help="compare targets and losses of FCOS's implementations on an image"
    )
    compare.add_argument("image", type=Path)
    compare.add_argument("--annotations", type=Path, required=True, help="a COCO file with the image")
    compare.add_argument("--short-side", type=_positive_int, default=800)
    compare.add_argument("--long-side", type=_positive_int, default=1333)
    compare.add_argument(
        "--seed", type=int, default=0, help="seed of the random head outputs, which are the same for all"
    )
    compare.add_argument("--output", type=Path, default=Path("presets.png"))


def _positive_int(text: str) -> int:
    """Parse an integer above 0, for argparse."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number}: must be at least 1")
    return number


def _rate(text: str) -> float:
    """Parse a number between 0 and 1, for argparse."""
    number = float(text)
    if not 0 < number < 1:
        raise argparse.ArgumentTypeError(f"{number}: must lie between 0 and 1")
    return number


def _parse_changes(pairs: Sequence[str]) -> dict[str, Any]:
    """Parse KEY=VALUE pairs; values are JSON, or strings where they are not."""
    changes = {}
    for pair in pairs:
        key, separator, text = pair.partition("=")
        if not separator:
            raise ConfigError(f"--set {pair}: must be KEY=VALUE")
        try:
            changes[key] = json.loads(text)
        except ValueError:
            changes[key] = text
    return changes


def _load_trained(options: argparse.Namespace) -> Any:
    from fcos.device import pick_device
    from fcos.inference import load_trained

    device = pick_device(options.device)
    return load_trained(options.checkpoint, device, _parse_changes(options.changes), options.model)


def _show_progress(done: int, total: int) -> None:
    if sys.stderr.isatty():
        print(f"\r{done} of {total} images", end="\n" if done == total else "", file=sys.stderr, flush=True)


def _evaluate(options: argparse.Namespace) -> None:
    from fcos.inference import evaluate

    trained = _load_trained(options)
    metrics = evaluate(trained, batch_size=options.batch_size, progress=_show_progress)
    _print_metrics(options, trained.step, metrics)


def _print_metrics(options: argparse.Namespace, step: int, metrics: dict[str, float]) -> None:
    """Print metrics, and write them to the file of --output."""
    print(f"{options.checkpoint}, step {step}")
    for key, value in metrics.items():
        print(f"  {key:<28} {value:.4f}")
    if options.output is not None:
        options.output.write_text(json.dumps({"step": step, "metrics": metrics}, indent=1))
        print(f"written: {options.output}")


def _score_iou(options: argparse.Namespace) -> None:
    from fcos.studies.score_figure import draw_panels, format_summary, measure_panels

    panels = measure_panels(_load_trained(options), batch_size=options.batch_size, progress=_show_progress)
    for title, panel in panels.items():
        print(f"{title}: {len(panel.score)} detections, {format_summary(panel.numbers)}")
    options.output.parent.mkdir(parents=True, exist_ok=True)
    draw_panels(panels, options.output)
    print(f"written: {options.output}")


def _two_stage(options: argparse.Namespace) -> None:
    from fcos.studies.two_stage import run_two_stage

    def show_step(step: int, steps: int, loss: float) -> None:
        if sys.stderr.isatty():
            print(f"\rstep {step} of {steps}, loss {loss:.3f}", end="\n" if step == steps else "", file=sys.stderr)

    trained = _load_trained(options)
    metrics = run_two_stage(
        trained, steps=options.steps, batch_size=options.batch_size, lr=options.lr, hidden=options.hidden,
        on_step=show_step, on_image=_show_progress,
    )  # fmt: skip
    _print_metrics(options, trained.step, metrics)


def _predict(options: argparse.Namespace) -> None:
    from fcos.draw import draw_boxes
    from fcos.errors import DataError, ReadError
    from fcos.inference import list_images, predict

    images = list_images(options.images)
    root = options.images if options.images.is_dir() else options.images.parent
    if options.output.resolve().is_relative_to(root.resolve()) and options.images.is_dir():
        raise ConfigError(f"--output {options.output}: must not lie in the folder of the images")
    trained = _load_trained(options)
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
        _show_progress(done, len(images))
    (options.output / "detections.json").write_text(json.dumps(results, indent=1))
    print(f"{len(results)} images, {sum(len(item['detections']) for item in results)} detections: {options.output}")
    if unreadable:
        raise ConfigError(f"{unreadable} of {len(images)} images could not be read; the others are in {options.output}")


def _to_json(name: str, detections: Any, classes: Sequence[str]) -> dict[str, Any]:
    """Return the detections of an image as plain values."""
    rows = zip(detections.boxes.tolist(), detections.scores.tolist(), detections.labels.tolist(), strict=True)
    return {
        "image": name,
        "detections": [{"box_xyxy": box, "score": score, "class": classes[label]} for box, score, label in rows],
    }


def _draw(options: argparse.Namespace) -> None:
    from fcos.inference import find_checkpoint, with_changes
    from fcos.studies.draw_assignment import assignment_picture

    config = with_changes(find_checkpoint(options.checkpoint, options.model).config, _parse_changes(options.changes))
    trained = _load_trained(options) if config.model.assignment.by_outputs else None
    picture, lines = assignment_picture(config, options.split, options.image, trained)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    picture.save(options.output)
    print("\n".join(lines))
    print(f"written: {options.output}")


def _draw_augmentation(options: argparse.Namespace) -> None:
    from fcos.data.annotations import read_annotations
    from fcos.studies.draw_augmentation import augmentation_sheet

    annotations = read_annotations(options.annotations)
    sheet, notes = augmentation_sheet(
        annotations, options.images, options.image, short_side=options.short_side, epochs=options.epochs,
        seed=options.seed,
    )  # fmt: skip
    options.output.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(options.output)
    print("\n".join([*notes, f"written: {options.output}"]))


def _compare_presets(options: argparse.Namespace) -> None:
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


def _import(options: argparse.Namespace) -> None:
    from fcos.training.checkpoint import save

    trained = _load_trained(options)
    config = trained.config.model_dump(mode="json")
    folder = save(
        options.output, step=trained.step, config=config, classes=trained.classes, model=trained.detector, ema=None,
        state={},
    )  # fmt: skip
    print(f"{options.checkpoint}: {len(trained.classes)} classes, {config['model']['backbone']['name']}")
    print(f"written: {folder}")


def _export(options: argparse.Namespace) -> None:
    import torch

    from fcos.weights.torchvision import WeightsError, to_torchvision

    trained = _load_trained(options)
    model = trained.config.model
    for key in ("anchors_per_location", "targets_per_location"):
        if getattr(model, key) > 1:
            raise ConfigError(
                f"{options.checkpoint}: model.{key}={getattr(model, key)}: torchvision's FCOS has one prediction at "
                "each location"
            )
    weights = {name: value.cpu() for name, value in trained.detector.state_dict().items()}
    try:
        theirs = to_torchvision(weights)
    except WeightsError as error:
        raise ConfigError(f"{options.checkpoint}: {error}; only model=torchvision has a place there") from None
    options.output.parent.mkdir(parents=True, exist_ok=True)
    torch.save(theirs, options.output)
    print(f"for fcos_resnet50_fpn(weights=None, weights_backbone=None, num_classes={len(trained.classes)})")
    print(f"written: {options.output}")


if __name__ == "__main__":
    sys.exit(main())
