"""Files from elsewhere: what is no ONNX, leads to other files or needs a library is refused by name."""

import importlib.util
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper

from fcos.errors import ConfigError, DataError
from fcos.exported import onnx_session, packages
from fcos.exported.file_detector import load_file_detector
from fcos.exported.graph.networks import DETECTIONS
from fcos.exported.onnx_session import OnnxSession, open_onnx
from fcos.exported.record import FileRecord
from tests.helpers.detections.exported_files import RECORD

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes a small ONNX file with the inputs of a detector, whose outputs are all zeros."""

    def write_file(change: Callable[[Any], None] = lambda model: None, record: FileRecord | None = RECORD) -> Path:
        inputs = [
            helper.make_tensor_value_info("pixels", TensorProto.UINT8, ["b", 3, "h", "w"]),
            helper.make_tensor_value_info("sizes", TensorProto.INT64, ["b", 2]),
            helper.make_tensor_value_info("original_sizes", TensorProto.INT64, ["b", 2]),
        ]
        shapes = {"boxes": [1, 4, 4], "scores": [1, 4], "labels": [1, 4], "counts": [1]}
        kinds = {"labels": TensorProto.INT64, "counts": TensorProto.INT64}
        nodes, outputs = [], []
        for name in DETECTIONS:
            kind = kinds.get(name, TensorProto.FLOAT)
            count = 1
            for side in shapes[name]:
                count *= side
            nodes.append(
                helper.make_node(
                    "Constant", [], [name], value=helper.make_tensor(name, kind, shapes[name], [0] * count)
                )
            )
            outputs.append(helper.make_tensor_value_info(name, kind, shapes[name]))
        graph = helper.make_graph(nodes, "g", inputs, outputs)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
        if record is not None:
            helper.set_model_props(model, record.to_properties())
        change(model)
        path = tmp_path / "a.onnx"
        path.write_bytes(model.SerializeToString())
        return path

    return write_file


def test_a_whole_file_is_opened_with_its_hash(write: Write) -> None:
    opened = open_onnx(write(), threads=1)
    assert opened.record == RECORD and len(opened.sha256) == 64 and opened.device == "cpu"


def test_tensors_in_other_files_are_not_read(write: Write, tmp_path: Path) -> None:
    (tmp_path / "private").write_bytes(b"\0" * 16)

    def add(model: Any) -> None:
        tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[4], data_location=TensorProto.EXTERNAL)
        tensor.external_data.add(key="location", value="private")
        model.graph.initializer.append(tensor)

    with pytest.raises(ConfigError, match=r"a\.onnx: keeps its tensor w in another file, which is not opened"):
        open_onnx(write(add))


def in_a_branch(model: Any, node: Any, tensor: Any = None) -> None:
    """Put a node, and a tensor, into a branch of a condition in a branch of a condition."""
    inner = helper.make_graph([node], "inner", [], [], initializer=[] if tensor is None else [tensor])
    middle = helper.make_graph([helper.make_node("If", ["c"], [], then_branch=inner, else_branch=inner)], "m", [], [])
    model.graph.node.append(helper.make_node("If", ["c"], [], then_branch=middle, else_branch=middle))


def test_a_tensor_of_an_inner_graph_in_another_file_is_refused(write: Write) -> None:
    tensor = TensorProto(name="deep", data_type=TensorProto.FLOAT, dims=[4], data_location=TensorProto.EXTERNAL)
    with pytest.raises(ConfigError, match="keeps its tensor deep in another file"):
        open_onnx(write(lambda model: in_a_branch(model, helper.make_node("Identity", ["x"], ["y"]), tensor)))


@pytest.mark.parametrize("domain", ["com.microsoft", "evil", "ai.onnx.contrib"])
@pytest.mark.parametrize("part", ["graph", "branch", "function"])
def test_operators_outside_of_the_standard_are_refused(domain: str, part: str, write: Write) -> None:
    node = helper.make_node("EPContext", [], ["x"], domain=domain)

    def add(model: Any) -> None:
        match part:
            case "graph":
                model.graph.node.append(node)
            case "branch":
                in_a_branch(model, node)
            case _:
                opsets = [helper.make_opsetid("", 20)]
                model.functions.append(helper.make_function("f", "F", [], ["x"], [node], opset_imports=opsets))

    with pytest.raises(ConfigError, match=rf"its operator {domain}::EPContext is none of ONNX"):
        open_onnx(write(add))


@pytest.mark.parametrize("content", [b"", b"\x00\xff\xff", b"PK\x03\x04 a zip", b"x" * 1000])
def test_what_is_no_onnx_is_named(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.onnx"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"a\.onnx: (is no ONNX file|was not written by)"):
        open_onnx(path)


def with_the_mark_of_the_runtime(path: Path) -> Path:
    """Name a producer whose letters stand where onnxruntime looks for its own format; it is ONNX as before."""
    content = b"\x12\x06xxORTM" + path.read_bytes()
    assert len(onnx.load_model_from_string(content).graph.output) == len(DETECTIONS)
    path.write_bytes(content)
    return path


def test_a_file_that_the_runtime_takes_for_its_own_format_is_refused(write: Write) -> None:
    with pytest.raises(ConfigError, match=r"a\.onnx: has the mark of onnxruntime's own format, and is no ONNX file"):
        open_onnx(with_the_mark_of_the_runtime(write()))


def test_the_runtime_reads_what_was_checked_as_onnx_alone(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_session, "ORT_MARK", b"none")
    assert open_onnx(with_the_mark_of_the_runtime(write())).outputs == DETECTIONS


def test_options_of_the_runtime_in_a_file_are_not_taken(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(lambda model: model.metadata_props.add(key="ort_config", value="no JSON"))
    assert open_onnx(path).outputs == DETECTIONS
    monkeypatch.setenv("ORT_LOAD_CONFIG_FROM_MODEL", "1")
    with pytest.raises(ConfigError, match="ORT_LOAD_CONFIG_FROM_MODEL=1: a file would set options of onnxruntime"):
        open_onnx(path)


def test_a_file_without_a_record_is_not_run(write: Write) -> None:
    with pytest.raises(ConfigError, match="was not written by `python -m fcos export`"):
        open_onnx(write(record=None))


def test_a_file_that_is_too_large_is_not_read(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write()
    monkeypatch.setattr(onnx_session, "MAX_BYTES", path.stat().st_size - 1)
    with pytest.raises(ConfigError, match="and an ONNX file holds 2 GB at most"):
        open_onnx(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"b\.onnx: no such file"):
        open_onnx(tmp_path / "b.onnx")


def test_what_the_runtime_refuses_is_reported_in_a_line(write: Write) -> None:
    with pytest.raises(ConfigError, match="onnxruntime does not run it") as caught:
        open_onnx(write(lambda model: model.graph.node.append(helper.make_node("NoSuchOperator", ["pixels"], ["x"]))))
    assert "\n" not in str(caught.value)


def test_inputs_must_be_those_of_the_record(write: Write) -> None:
    record = RECORD.model_copy(update={"detects": False})
    with pytest.raises(ConfigError, match="has the inputs pixels, sizes, original_sizes, and its metadata let expect"):
        open_onnx(write(record=record))


def test_a_record_whose_configuration_is_none_is_refused(write: Write) -> None:
    with pytest.raises(ConfigError, match=r"a\.onnx: its configuration is refused: model"):
        load_file_detector(write(), {})


@pytest.mark.parametrize(
    ("detects", "key"), [(True, "model.postprocess.nms_threshold"), (True, "seed"), (False, "model.head.norm")]
)
def test_what_is_fixed_in_a_file_is_not_changed(detects: bool, key: str, write: Write) -> None:
    def rename(model: Any) -> None:
        if not detects:
            del model.graph.input[2:]

    path = write(rename, RECORD.model_copy(update={"detects": detects}))
    with pytest.raises(ConfigError, match=rf"--set {key}: is fixed in .*a\.onnx"):
        load_file_detector(path, {key: 1})


def test_a_device_that_the_runtime_lacks_is_named(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    import onnxruntime

    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    with pytest.raises(ConfigError, match="device=cuda: this onnxruntime has no CUDAExecutionProvider"):
        open_onnx(write(), device="cuda")
    assert open_onnx(write(), device="auto").device == "cpu"


class WithoutCuda:
    """Sessions of a runtime whose CUDA does not start: of the processor without a word, or an error."""

    def __init__(self, error: Exception | None) -> None:
        import onnxruntime

        self.error = error
        self.start = onnxruntime.InferenceSession
        self.may_fall_back: list[bool] = []

    def __call__(self, content: bytes, options: Any, *, providers: list[str], **others: Any) -> Any:
        self.may_fall_back.append(bool(others.get("enable_fallback", True)))
        if providers == ["CUDAExecutionProvider"] and self.error is not None:
            raise self.error
        return self.start(content, options, providers=["CPUExecutionProvider"], **others)


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (None, "device=cuda: onnxruntime has CUDAExecutionProvider, but cannot start it"),
        (RuntimeError("CUDA failure 100: none\nin a file"), r"does not run it on cuda \(CUDA failure 100: none\)$"),
    ],
    ids=["silently", "with an error"],
)
def test_a_device_that_does_not_start_is_no_other_one_without_a_word(
    error: Exception | None,
    message: str,
    write: Write,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    import onnxruntime

    sessions = WithoutCuda(error)
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [*onnx_session.PROVIDERS.values()])
    monkeypatch.setattr(onnxruntime, "InferenceSession", sessions)
    path = write()
    with pytest.raises(ConfigError, match=message):
        open_onnx(path, device="cuda")
    assert not caplog.messages and open_onnx(path, device="auto").device == "cpu"
    (note,) = caplog.messages
    assert "cuda" in note and note.endswith("; cpu is tried")
    assert sessions.may_fall_back == [False] * 3


class RuntimeFailure(Exception):
    """As onnxruntime's own errors, which are no RuntimeError."""


class FailingSession:
    """A session that runs nothing."""

    def __init__(self, message: str) -> None:
        self.message = message

    def run(self, output_names: Sequence[str] | None, input_feed: Mapping[str, NDArray[Any]], /) -> list[Any]:
        raise RuntimeFailure(self.message)


@pytest.mark.parametrize(
    "message",
    [
        "[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : Failed to allocate memory for requested buffer of size 8",
        "BFCArena: Available memory of 5 is smaller than requested bytes of 9",
        "[ONNXRuntimeError] : 1 : FAIL : std::bad_alloc",
        "CUDA failure 2: out of memory",
    ],
)
def test_what_does_not_fit_in_memory_is_distinguished(message: str) -> None:
    with pytest.raises(MemoryError):
        OnnxSession(Path("a.onnx"), RECORD, "", DETECTIONS, "cpu", FailingSession(message)).run({})


def test_a_failed_run_is_one_line() -> None:
    opened = OnnxSession(Path("a.onnx"), RECORD, "", DETECTIONS, "cpu", FailingSession("INVALID_ARGUMENT: Add\nmore"))
    with pytest.raises(ConfigError, match=r"^a\.onnx: onnxruntime failed \(INVALID_ARGUMENT: Add\)$"):
        opened.run({})


def test_a_program_of_torch_is_never_loaded(tmp_path: Path) -> None:
    (tmp_path / "a.pt2").write_bytes(b"")
    with pytest.raises(ConfigError, match=r"a\.pt2: torch loads such a file by executing what it holds"):
        load_file_detector(tmp_path / "a.pt2", {})


@pytest.mark.parametrize("missing", ["onnx", "onnxruntime"])
def test_without_the_extra_the_error_names_it(missing: str, write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(packages, "find_spec", lambda name: None if name == missing else find_spec(name))
    with pytest.raises(ConfigError, match=rf"a\.onnx: needs {missing}: pip install 'fcos-lab\[export\]'"):
        open_onnx(write())


def test_the_checker_takes_what_these_tests_write(write: Write) -> None:
    onnx.checker.check_model(onnx.load(write()))
