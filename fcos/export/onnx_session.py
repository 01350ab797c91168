"""Open ONNX files, which may come from elsewhere, in onnxruntime: checked before, without other files or libraries."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fcos.errors import ConfigError, DataError, is_allocation_failure
from fcos.export.networks import ORIGINAL_SIZES, PIXELS, SIZES
from fcos.export.onnx_file import MAX_BYTES
from fcos.export.packages import require_onnxruntime
from fcos.export.record import FileRecord
from fcos.storage.reading import file_stat, read_bytes

# Operators of the standard alone: others could come from libraries, or open files, as EPContext of com.microsoft does.
DOMAINS: Final = ("", "ai.onnx")
PROVIDERS: Final[Mapping[str, str]] = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}


@dataclass(frozen=True)
class OnnxSession:
    """An open ONNX file: its record, the hash of its content, and the runtime's session."""

    path: Path
    record: FileRecord
    sha256: str
    outputs: tuple[str, ...]
    device: str
    session: Any

    def run(self, inputs: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
        """Return all outputs, in order; raises MemoryError where one does not fit."""
        try:
            outputs: list[NDArray[Any]] = self.session.run(None, dict(inputs))
        except Exception as error:  # the runtime's own classes
            if is_allocation_failure(error) or "allocate memory" in str(error):
                raise MemoryError(str(error).strip().splitlines()[0]) from None
            raise
        return outputs


def open_onnx(path: Path, *, device: str = "cpu", threads: int = 0) -> OnnxSession:
    """Open an ONNX file that `python -m fcos export` wrote.

    `device` is cpu, cuda, or auto for cuda where the runtime has it. `threads` are those of one operator, 0 takes one
    for each core. Raises ConfigError naming the file where it is
    too large, is not ONNX, keeps tensors in other files, has operators outside of the standard or no record, where
    onnxruntime is missing or does not have the device, and DataError where it cannot be read.
    """
    require_onnxruntime(str(path))
    import onnxruntime

    available = onnxruntime.get_available_providers()
    if device == "auto":
        device = "cuda" if PROVIDERS["cuda"] in available else "cpu"
    provider = PROVIDERS[device]
    if provider not in available:
        raise ConfigError(
            f"device={device}: this onnxruntime has no {provider}; use device=cpu, or install onnxruntime-gpu instead"
        )
    content = _content(path)
    record = FileRecord.from_properties(_checked_metadata(content, path), str(path))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    try:
        # From memory: what was checked and hashed is what runs, and no path leads to other files.
        session = onnxruntime.InferenceSession(content, options, providers=[provider])
    except Exception as error:  # the runtime's own classes, which have no common base
        raise ConfigError(f"{path}: onnxruntime does not run it ({_first_line(error)})") from None
    outputs = tuple(output.name for output in session.get_outputs())
    _check_inputs([each.name for each in session.get_inputs()], record, path)
    return OnnxSession(path, record, hashlib.sha256(content).hexdigest(), outputs, device, session)


def _content(path: Path) -> bytes:
    stat = file_stat(path)
    if stat is None:
        raise DataError(f"{path}: no such file")
    if stat.st_size > MAX_BYTES:
        raise ConfigError(f"{path}: has {stat.st_size / 1e9:.1f} GB, and an ONNX file holds 2 GB at most")
    return read_bytes(path, "ONNX file")


def _checked_metadata(content: bytes, path: Path) -> dict[str, str]:
    """Return the metadata of a file; raises ConfigError for what must not be run."""
    import onnx
    from google.protobuf.message import DecodeError

    try:
        model = onnx.load_model_from_string(content)
    except (DecodeError, ValueError) as error:
        raise ConfigError(f"{path}: is no ONNX file ({_first_line(error)})") from None
    for graph in (model.graph, *model.functions):
        for tensor in _tensors(graph):
            if tensor.data_location == onnx.TensorProto.EXTERNAL or tensor.external_data:
                raise ConfigError(
                    f"{path}: keeps its tensor {tensor.name} in another file, which is not opened; export the detector "
                    "again"
                )
        for node in _nodes(graph):
            if node.domain not in DOMAINS:
                raise ConfigError(
                    f"{path}: its operator {node.domain}::{node.op_type} is none of ONNX, and no library of operators "
                    "is loaded"
                )
    return {entry.key: entry.value for entry in model.metadata_props}


def _nodes(graph: Any) -> Iterator[Any]:
    """Iterate over the nodes of a graph or a function, and of the graphs in their attributes."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for inner in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
                yield from _nodes(inner)


def _tensors(graph: Any) -> Iterator[Any]:
    """Iterate over all tensors that a graph or a function holds, sparse ones too."""
    yield from getattr(graph, "initializer", ())
    for sparse in getattr(graph, "sparse_initializer", ()):
        yield from (sparse.values, sparse.indices)
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors
            sparse_tensors = [attribute.sparse_tensor] if attribute.HasField("sparse_tensor") else []
            for sparse in (*sparse_tensors, *attribute.sparse_tensors):
                yield from (sparse.values, sparse.indices)
            for inner in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
                yield from _tensors(inner)


def _check_inputs(names: Sequence[str], record: FileRecord, path: Path) -> None:
    expected = [PIXELS, SIZES, *([ORIGINAL_SIZES] if record.detects else [])]
    if sorted(names) != sorted(expected):
        raise ConfigError(
            f"{path}: has the inputs {', '.join(names)}, and its metadata let expect {', '.join(expected)}"
        )


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def as_array(tensor: Any) -> NDArray[Any]:
    """Return a tensor as an array in row-major order, as the runtime takes it."""
    return np.ascontiguousarray(tensor.cpu().numpy())
