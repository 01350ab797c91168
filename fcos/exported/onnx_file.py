"""Write a detector as an ONNX file, with its record as metadata."""

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

import torch
from torch.export import ExportedProgram

from fcos.errors import ConfigError
from fcos.exported.graph.networks import ORIGINAL_SIZES, PIXELS, SIZES
from fcos.exported.onnx_operators import onnx_translations
from fcos.exported.packages import require_onnx
from fcos.exported.record import FileRecord

# Versions of ONNX's operators: torch writes from 18 on; deformable convolutions need 19.
OPSETS: Final = range(18, 24)
DEFAULT_OPSET: Final = 20
DEFORMABLE_OPSET: Final = 19
# Most that one file of protocol buffers holds.
MAX_BYTES: Final = (1 << 31) - 1


def onnx_file(
    program: ExportedProgram, record: FileRecord, outputs: Sequence[str], opset: int = DEFAULT_OPSET
) -> bytes:
    """Return the content of an ONNX file of a traced detector, weights included.

    Raises ConfigError where the extra export is not installed, for an operator that ONNX does not have in this opset,
    and for more weights than one file holds.
    """
    require_onnx("--onnx")
    _check_operators(program, opset)
    inputs = (PIXELS, SIZES, ORIGINAL_SIZES) if record.detects else (PIXELS, SIZES)
    with _quiet():
        try:
            exported = torch.onnx.export(
                program,
                (),
                input_names=inputs,
                output_names=outputs,
                opset_version=opset,
                dynamo=True,
                external_data=False,
                optimize=True,
                verbose=False,
                custom_translation_table=dict(onnx_translations()),
            )
        except torch.onnx.OnnxExporterError as error:
            raise ConfigError(f"--onnx --opset {opset}: {_reason(error)}") from error
    assert exported is not None, "what torch.export traced has an ONNX program"
    _describe(exported.model, record)
    proto = exported.model_proto
    if proto.ByteSize() > MAX_BYTES:
        raise ConfigError(
            f"--onnx: the weights take {proto.ByteSize() / 1e9:.1f} GB, and an ONNX file holds 2 GB; export with "
            "--torch-export"
        )
    content: bytes = proto.SerializeToString(deterministic=True)
    return content


def check_opset(opset: int) -> None:
    """Raise ConfigError for an opset that torch does not write."""
    if opset not in OPSETS:
        raise ConfigError(f"--opset {opset}: must lie in {OPSETS[0]}..{OPSETS[-1]}")


def _check_operators(program: ExportedProgram, opset: int) -> None:
    """Raise ConfigError where an opset lacks an operator of the program."""
    deformable = torch.ops.torchvision.deform_conv2d.default
    if opset < DEFORMABLE_OPSET and any(node.target is deformable for node in program.graph.nodes):
        raise ConfigError(
            f"--opset {opset}: model.backbone.deformable_stages needs the operator DeformConv, which ONNX has since "
            f"opset {DEFORMABLE_OPSET}"
        )


def _describe(model: Any, record: FileRecord) -> None:
    """Add the record to an onnx_ir model, and leave out torch's notes on nodes, such as paths of source files."""
    model.metadata_props.clear()
    model.metadata_props.update(record.to_properties())
    graph = model.graph
    graph.name = "fcos"
    graph.metadata_props.clear()
    for node in graph.all_nodes():
        node.metadata_props.clear()
        node.doc_string = None
        for value in node.outputs:
            value.metadata_props.clear()
    for value in (*graph.inputs, *graph.initializers.values()):
        value.metadata_props.clear()
    _name_axes(graph)


def _name_axes(graph: Any) -> None:
    """Name the free axes of the input after what they are: torch derives names from the trace."""
    pixels = graph.inputs[0]
    names = ("batch", None, "height", "width")
    pixels.shape = type(pixels.shape)(
        [side if name is None else name for name, side in zip(names, pixels.shape, strict=True)]
    )


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep notes of the exporter about itself from standard error."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for logger in loggers:
                logger.setLevel(logging.ERROR)
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _reason(error: BaseException) -> str:
    """Return the first line of the innermost cause of an exporter's error."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
