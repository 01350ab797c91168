"""Export of a trained detector: the record of a file, its content, and the write."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from fcos.errors import ConfigError
from fcos.exported.graph.networks import output_names
from fcos.exported.graph.postprocess import check_exportable
from fcos.exported.onnx_file import DEFAULT_OPSET, check_opset, onnx_file
from fcos.exported.origin import find_origin
from fcos.exported.packages import require_onnx
from fcos.exported.record import FileRecord, without_paths
from fcos.exported.torch_file import torch_file, trace
from fcos.inference import Trained
from fcos.storage.files import write_atomically

FileFormat = Literal["onnx", "pt2"]


@dataclass(frozen=True)
class ExportOptions:
    """What a file contains: with `detects` post-processing too, which .pt2 files never have."""

    format: FileFormat
    detects: bool = True
    opset: int = DEFAULT_OPSET


def export_detector(trained: Trained, path: Path, options: ExportOptions, bytes_per_pixel: float) -> FileRecord:
    """Write a detector to a file and return its record.

    Raises ConfigError for what the format cannot hold, before anything is traced where that is known.
    """
    detects = options.detects and options.format == "onnx"
    if options.format == "onnx":
        require_onnx("--onnx")
        check_opset(options.opset)
    if detects:
        check_exportable(trained.config.model.postprocess)
    record = make_record(trained, detects=detects, bytes_per_pixel=bytes_per_pixel)
    program = trace(trained, detects=detects)
    if options.format == "onnx":
        has_quality = trained.config.model.head.quality != "none"
        names = output_names(trained.detector, detects=detects, has_quality=has_quality)
        content = onnx_file(program, record, names, options.opset)
    else:
        content = torch_file(program, record)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, content)
    return record


def make_record(trained: Trained, *, detects: bool, bytes_per_pixel: float) -> FileRecord:
    """Return the record of a file of a detector."""
    config = trained.config
    if trained.path is None:
        raise ConfigError("a detector without a checkpoint has no origin to record; load it from one")
    origin = find_origin(trained.path)
    sides = config.data.short_sides
    return FileRecord(
        classes=trained.classes,
        pixel_mean=config.model.pixel_mean,
        pixel_std=config.model.pixel_std,
        size_divisor=config.model.size_divisor,
        strides=config.model.strides,
        short_side=None if sides is None else max(sides),
        long_side=config.data.long_side,
        detects=detects,
        step=trained.step,
        identity=origin.identity,
        data_digest=origin.data_digest,
        weights_sha256=origin.weights_sha256,
        bytes_per_pixel=bytes_per_pixel,
        torch_version=str(torch.__version__),
        config=without_paths(config.model_dump(mode="json")),
    )
