"""Exported programs of torch: the trace of a detector, and the .pt2 files of torch.export."""

import io
from typing import Any

import torch
from torch.export import Dim, ExportedProgram

from fcos.exported.graph.fold import folded_copy
from fcos.exported.graph.networks import DetectingNetwork, RawNetwork, example_inputs
from fcos.exported.graph.same_padding import with_constant_padding
from fcos.exported.record import FileRecord
from fcos.inference import Trained

# Name of the record among the extra files of an archive.
RECORD_FILE = "fcos_lab.json"


def trace(trained: Trained, *, detects: bool) -> ExportedProgram:
    """Trace a detector for batches and canvases of any size, on the CPU and in float32.

    A canvas must be a multiple of model.size_divisor, as evaluation pads. With `detects` the graph ends in detections,
    else in head outputs.
    """
    model = trained.config.model
    detector = with_constant_padding(folded_copy(trained.detector), model.size_divisor)
    network = DetectingNetwork(detector, model) if detects else RawNetwork(detector)
    inputs = example_inputs(detector, model.size_divisor, detects=detects)
    batch = Dim("batch")
    sides = {2: model.size_divisor * Dim("height_blocks"), 3: model.size_divisor * Dim("width_blocks")}
    shapes: tuple[dict[int, Any], ...] = ({0: batch, **sides}, *({0: batch} for _ in inputs[1:]))
    with torch.no_grad():
        return torch.export.export(network.eval(), inputs, dynamic_shapes=shapes, strict=False)


def torch_file(program: ExportedProgram, record: FileRecord) -> bytes:
    """Return the content of a .pt2 file of a program, with its record as an extra file."""
    buffer = io.BytesIO()
    torch.export.save(program, buffer, extra_files={RECORD_FILE: record.model_dump_json()})
    return buffer.getvalue()
