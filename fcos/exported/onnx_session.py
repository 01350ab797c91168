"""Open ONNX files, which may come from elsewhere, in onnxruntime: checked before, without other files or libraries."""

import hashlib
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from fcos.errors import MEMORY_MESSAGES, ConfigError, DataError, is_allocation_failure
from fcos.exported.graph.networks import ORIGINAL_SIZES, PIXELS, SIZES
from fcos.exported.onnx_file import MAX_BYTES
from fcos.exported.packages import require_onnxruntime
from fcos.exported.record import FileRecord
from fcos.storage.reading import file_stat, read_bytes

_log = logging.getLogger(__name__)
# Operators of the standard alone: others could come from libraries, or open files, as EPContext of com.microsoft does.
DOMAINS: Final = ("", "ai.onnx")
PROVIDERS: Final[Mapping[str, str]] = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
# By these bytes onnxruntime takes a file for one of its own format, whatever else it could be read as.
ORT_MARK: Final = b"ORTM"
ORT_MARK_AT: Final = 4
# Where it is 1, onnxruntime looks for options of its sessions in files, whatever the caller passes.
OPTIONS_FROM_FILES: Final = "ORT_LOAD_CONFIG_FROM_MODEL"
# Parts of onnxruntime's messages on failed allocations, beside those of torch and CUDA, in lower case.
RUNTIME_MEMORY_MESSAGES: Final = (*MEMORY_MESSAGES, "allocate memory", "smaller than requested bytes")


@runtime_checkable
class OnnxRuntime(Protocol):
    """What is called of a session of onnxruntime."""

    def run(self, output_names: Sequence[str] | None, input_feed: Mapping[str, NDArray[Any]], /) -> list[Any]:
        """Return the outputs of some inputs, all of them where no names are given."""


@dataclass(frozen=True)
class OnnxSession:
    """An open ONNX file: its record, the hash of its content, and the runtime's session."""

    path: Path
    record: FileRecord
    sha256: str
    outputs: tuple[str, ...]
    device: str
    session: OnnxRuntime

    def run(self, inputs: Mapping[str, NDArray[Any]]) -> list[Any]:
        """Return all outputs, in order; raises MemoryError where one does not fit, and ConfigError otherwise."""
        try:
            return self.session.run(None, dict(inputs))
        except Exception as error:  # the runtime's own classes, which are no RuntimeError
            if is_allocation_failure(error) or any(text in str(error).lower() for text in RUNTIME_MEMORY_MESSAGES):
                raise MemoryError(_first_line(error)) from None
            raise ConfigError(f"{self.path}: onnxruntime failed ({_first_line(error)})") from None


def open_onnx(path: Path, *, device: str = "cpu", threads: int = 0) -> OnnxSession:
    """Open an ONNX file that `python -m fcos export` wrote.

    `device` is cpu, cuda, or auto for cuda where the runtime has it and can start it. `threads` are those of one
    operator, 0 takes one for each core. Raises ConfigError naming the file where it is too large, is not ONNX, keeps
    tensors in other files, has operators outside of the standard or no record, where onnxruntime is missing, does not
    have the device or cannot start it, and DataError where it cannot be read.
    """
    require_onnxruntime(str(path))
    import onnxruntime

    if os.environ.get(OPTIONS_FROM_FILES) == "1":
        raise ConfigError(f"{OPTIONS_FROM_FILES}=1: a file would set options of onnxruntime; unset it")
    available = onnxruntime.get_available_providers()
    if device == "cuda" and PROVIDERS[device] not in available:
        raise ConfigError(
            f"device={device}: this onnxruntime has no {PROVIDERS[device]}; use device=cpu, or install "
            "onnxruntime-gpu instead"
        )
    content = _content(path)
    record = FileRecord.from_properties(_checked_metadata(content, path), str(path))
    devices = [device]
    if device == "auto":
        devices = ["cuda", "cpu"] if PROVIDERS["cuda"] in available else ["cpu"]
    device, session = _start_one(content, path, devices, threads)
    outputs = tuple(output.name for output in session.get_outputs())
    _check_inputs([each.name for each in session.get_inputs()], record, path)
    return OnnxSession(path, record, hashlib.sha256(content).hexdigest(), outputs, device, session)


def _start_one(content: bytes, path: Path, devices: Sequence[str], threads: int) -> tuple[str, Any]:
    """Return the first device that starts with its session; a note names those that do not, an error the last one."""
    *others, last = devices
    for device in others:
        try:
            return device, _start(content, path, device, threads)
        except ConfigError as error:
            _log.warning("%s; %s is tried", error, last)
    return last, _start(content, path, last, threads)


def _start(content: bytes, path: Path, device: str, threads: int) -> Any:
    """Return a session on a device; raises ConfigError where the file or the device cannot be started."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # What was checked is ONNX, so it is read as nothing else.
    options.add_session_config_entry("session.load_model_format", "ONNX")
    provider = PROVIDERS[device]
    try:
        # From memory: what was checked and hashed is what runs, and no path leads to other files. Neither settings in
        # the file nor other devices than this one are taken.
        session = onnxruntime.InferenceSession(
            content, options, providers=[provider], enable_fallback=0, read_config_from_model=0
        )
    except Exception as error:  # the runtime's own classes, which have no common base
        raise ConfigError(f"{path}: onnxruntime does not run it on {device} ({_first_line(error)})") from None
    # Where a provider's libraries are missing, the session is silently one of the processor.
    if session.get_providers()[0] != provider:
        raise ConfigError(
            f"device={device}: onnxruntime has {provider}, but cannot start it (its CUDA, cuDNN or the driver do not "
            "fit); use device=cpu"
        )
    return session


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

    if content[ORT_MARK_AT : ORT_MARK_AT + len(ORT_MARK)] == ORT_MARK:
        raise ConfigError(f"{path}: has the mark of onnxruntime's own format, and is no ONNX file")
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
