"""Options that several commands share: numbers, the checkpoint with its changes, progress, metrics."""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from fcos.errors import ConfigError
from fcos.storage.bucket.address import is_address

if TYPE_CHECKING:
    from fcos.exported.file_detector import FileDetector
    from fcos.exported.latency import Latency
    from fcos.inference import Trained

# Suffixes of the files that `export` writes.
EXPORTED = (".onnx", ".pt2")

# Where a command adds its own parser.
Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


def positive_int(text: str) -> int:
    """Parse an integer above 0, for argparse."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number}: must be at least 1")
    return number


def fraction(text: str) -> float:
    """Parse a number between 0 and 1, for argparse."""
    number = float(text)
    if not 0 < number < 1:
        raise argparse.ArgumentTypeError(f"{number}: must lie between 0 and 1")
    return number


def add_trained_parser(
    commands: Commands, name: str, summary: str, *, exported: bool = False
) -> argparse.ArgumentParser:
    """Add the parser of a command on trained weights: the checkpoint, --model, --set and --device.

    exported: whether the command takes an exported file too.
    """
    parser = commands.add_parser(name, help=summary, description=summary)
    file = ", or an .onnx file of `export`" if exported else ""
    parser.add_argument(
        "checkpoint", type=_path_or_address,
        help="a checkpoint folder, a run's folder (its newest checkpoint), both also in a bucket (s3://...), or a .pth "
        "file of published weights" + file,
    )  # fmt: skip
    parser.add_argument(
        "--model", metavar="NAME",
        help="the published model that a .pth file holds: torchvision, official_v1, official_improved, adelaidet or "
        "detectron2",
    )  # fmt: skip
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", dest="changes",
        help="change a setting of the checkpoint's config, e.g. data.root=/data/coco (may be repeated)",
    )  # fmt: skip
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    return parser


def _path_or_address(text: str) -> Path | str:
    """Return a local path as such, and an address as it is."""
    return text if is_address(text) else Path(text)


def fetch_from_bucket(options: argparse.Namespace) -> None:
    """Replace a checkpoint's address by a local copy of what it names; notes go to standard error.

    Raises ConfigError for an address or a bucket that cannot be used, and CheckpointError for no whole checkpoint.
    """
    address = getattr(options, "checkpoint", None)
    if isinstance(address, str):
        from fcos.storage.bucket.local_copy import copy_of

        options.checkpoint, notes = copy_of(address)
        for note in notes:
            print(f"note: {note}", file=sys.stderr)


def parse_changes(pairs: Sequence[str]) -> dict[str, Any]:
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


def load_checkpoint(options: argparse.Namespace) -> "Trained":
    """Load the trained detector that the options of `add_trained_parser` name.

    Raises CheckpointError, and ConfigError for a missing device or refused changes.
    """
    from fcos.device import pick_device
    from fcos.inference import load_trained

    refuse_exported(options.checkpoint)
    device = pick_device(options.device)
    return load_trained(options.checkpoint, device, parse_changes(options.changes), options.model)


def is_exported(path: Path) -> bool:
    """Return whether a path is that of a file that `export` writes, by its suffix."""
    return path.suffix in EXPORTED and not path.is_dir()


def refuse_exported(path: Path) -> None:
    """Raise ConfigError for an exported file, where a checkpoint is needed."""
    if is_exported(path):
        raise ConfigError(
            f"{path}: is an exported file, which evaluate and predict run; give the run's folder or a checkpoint"
        )


def load_file(options: argparse.Namespace) -> "FileDetector":
    """Open the exported file that the options of `add_trained_parser` name, on as many threads as torch has.

    Raises ConfigError where it cannot be run, and for options that are about checkpoints.
    """
    import torch

    from fcos.exported.file_detector import load_file_detector

    if options.model is not None:
        raise ConfigError(f"--model {options.model}: is for a file of published weights, not for {options.checkpoint}")
    return load_file_detector(
        options.checkpoint,
        parse_changes(options.changes),
        device=options.device,
        threads=torch.get_num_threads(),
    )


def show_progress(done: int, total: int, unit: str = "images") -> None:
    """Print the number of images done over the last one, on a terminal only."""
    if sys.stderr.isatty():
        print(f"\r{done} of {total} {unit}", end="\n" if done == total else "", file=sys.stderr, flush=True)


def print_metrics(title: str, metrics: Mapping[str, float], output: Path | None, step: int | None = None) -> None:
    """Print metrics below a title, and write them with the step that they are of to a JSON file."""
    print(title if step is None else f"{title}, step {step}")
    for key, value in metrics.items():
        print(f"  {key:<28} {value:.4f}")
    if output is not None:
        write_metrics(metrics, output, step)
        print(f"written: {output}")


def write_metrics(
    metrics: Mapping[str, float], output: Path, step: int | None = None, latency: "Latency | None" = None
) -> None:
    """Write metrics to a JSON file, with the step that they are of and the latency where there are."""
    values = {} if step is None else {"step": step}
    timed = {} if latency is None else {"latency": asdict(latency)}
    output.write_text(json.dumps({**values, "metrics": dict(metrics), **timed}, indent=1))
