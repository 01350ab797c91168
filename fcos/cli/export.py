"""python -m fcos export: a detector as a file for other runtimes."""

import argparse
import os
import sys
from pathlib import Path

from fcos.cli.options import Commands, add_trained_parser, load_checkpoint
from fcos.errors import ConfigError


def add_parser(commands: Commands) -> None:
    """Add the parser of the command."""
    parser = add_trained_parser(commands, "export", "write a detector as a file for other runtimes")
    parser.add_argument("--onnx", action="store_true", help="an ONNX file, for onnxruntime and others")
    parser.add_argument("--torch-export", action="store_true", help="a .pt2 file of torch.export, with head outputs")
    parser.add_argument(
        "--output", type=Path, default=Path("detector"), metavar="NAME",
        help="name of the files; the suffix of the format is added (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--raw", action="store_true",
        help="head outputs, without the post-processing that an ONNX file has otherwise",
    )  # fmt: skip
    parser.add_argument("--opset", type=int, help="version of ONNX's operators, 18 to 23 (default: 20)")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Write the files; returns the exit code.

    Raises ConfigError for what a format cannot hold, before anything is loaded where that is known.
    """
    from fcos.exported.onnx_file import DEFAULT_OPSET, check_opset
    from fcos.exported.packages import require_onnx
    from fcos.exported.write_file import ExportOptions, FileFormat, export_detector
    from fcos.prediction.memory import bytes_per_pixel

    requested: dict[FileFormat, bool] = {"onnx": options.onnx, "pt2": options.torch_export}
    chosen = [name for name, is_requested in requested.items() if is_requested]
    if not chosen:
        raise ConfigError("export: names no format; give --onnx, --torch-export or both")
    opset = DEFAULT_OPSET if options.opset is None else options.opset
    check_opset(opset)
    if "onnx" in chosen:
        require_onnx("--onnx")
    targets = [(file_format, _target(options.output, file_format)) for file_format in chosen]
    trained = load_checkpoint(options)
    if trained.config.schedule.precision != "fp32":
        print(
            f"note: schedule.precision={trained.config.schedule.precision}: evaluation of the run computes in it, the "
            "files compute in fp32",
            file=sys.stderr,
        )
    pixel_bytes = bytes_per_pixel(trained.detector)
    for file_format, path in targets:
        what = ExportOptions(file_format, detects=not options.raw, opset=opset)
        record = export_detector(trained, path, what, pixel_bytes)
        if not record.identity:
            print(f"note: {options.checkpoint}: no finished run's folder, so {path} has no identity", file=sys.stderr)
        gives = "detections" if record.detects else "head outputs"
        print(f"written: {path}, {path.stat().st_size / 1e6:.1f} MB, {len(record.classes)} classes, gives {gives}")
    return 0


def _target(output: Path, suffix: str) -> Path:
    """Return the file of a format; raises ConfigError where none can be written there."""
    if output.name in ("", ".."):
        raise ConfigError(f"--output {output}: is a folder; give the name of a file in it, such as detector")
    path = output if output.suffix == f".{suffix}" else output.with_name(f"{output.name}.{suffix}")
    if path.is_dir():
        raise ConfigError(f"--output {output}: {path} is a folder; give another name")
    folder = next(parent for parent in path.parents if parent.exists())
    if not folder.is_dir():
        raise ConfigError(f"--output {output}: {folder} is a file, and no folder")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise ConfigError(f"--output {output}: {folder} cannot be written; give another folder")
    return path
