"""Files of others: what their outputs must be, and settings that no file follows."""

import importlib.metadata
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fcos.config.parse import parse, set_value
from fcos.config.run import Config
from fcos.data.synthetic import CLASSES
from fcos.errors import ConfigError
from fcos.exported.file_detector import FileDetector, evaluate_file
from fcos.exported.graph.networks import DETECTIONS
from fcos.exported.latency import Timed
from fcos.exported.onnx_session import OnnxSession
from tests.helpers.detections.exported_files import RECORD, noise_batch

# Two images on a canvas of 64 x 96, and the locations of levels 3 to 6 on it.
BATCH = noise_batch((64, 96), (60, 90))
LOCATIONS = (96, 24, 6, 2)
SLOTS = 4
Outputs = dict[str, Any]


class GivenOutputs:
    """A session that returns the same outputs for any input."""

    def __init__(self, outputs: Outputs) -> None:
        self.outputs = outputs

    def run(self, *_: object) -> list[Any]:
        return [*self.outputs.values()]


def detections(images: int = 2) -> Outputs:
    """Outputs of images of which the first has a detection; what lies in empty slots does not count."""
    labels = np.full((images, SLOTS), -1, dtype=np.int64)
    labels[0, 0] = 2
    counts = np.zeros(images, dtype=np.int64)
    counts[0] = 1
    boxes, scores = np.zeros((images, SLOTS, 4), np.float32), np.full((images, SLOTS), 0.5, np.float32)
    return dict(zip(DETECTIONS, (boxes, scores, labels, counts), strict=True))


def head_outputs() -> Outputs:
    outputs: Outputs = {
        f"logits_p{level}": np.zeros((2, count, len(CLASSES)), np.float32)
        for level, count in zip(range(3, 7), LOCATIONS, strict=True)
    }
    total = sum(LOCATIONS)
    return outputs | {"ltrb": np.ones((2, total, 4), np.float32), "quality": np.zeros((2, total), np.float32)}


def opened(
    values: dict[str, Any], outputs: Outputs, changes: dict[str, Any] | None = None, *, detects: bool = True
) -> FileDetector:
    """A file with these outputs and a configuration of these values."""
    config = parse(Config, values)
    record = RECORD.model_copy(
        update={
            "classes": CLASSES,
            "strides": config.model.strides,
            "detects": detects,
            "config": config.model_dump(mode="json"),
        }
    )
    session = OnnxSession(Path("a.onnx"), record, "ab" * 32, tuple(outputs), "cpu", GivenOutputs(outputs))
    return FileDetector(session, changes or {})


def test_outputs_as_expected_are_detections(tiny_values: dict[str, Any]) -> None:
    first, second = opened(tiny_values, detections()).detect(BATCH)
    assert first.labels.tolist() == [2] and len(second.labels) == 0
    assert len(opened(tiny_values, head_outputs(), detects=False).detect(BATCH)) == 2


def changed(outputs: Outputs, name: str, array: Any) -> Outputs:
    """Outputs with another array, or without one where it is None."""
    others = {key: value for key, value in outputs.items() if key != name}
    return others if array is None else {**others, name: array}


@pytest.mark.parametrize(
    ("name", "array", "message"),
    [
        ("boxes", None, "has no output boxes"),
        ("boxes", np.zeros((2, SLOTS), np.float32), "its output boxes must be 2 x any x 4, and is 2 x 4"),
        ("boxes", np.zeros((2, SLOTS, 5), np.float32), "its output boxes must be 2 x any x 4, and is 2 x 4 x 5"),
        ("boxes", np.zeros((2, 3, 4), np.float32), "gives boxes, scores and labels of different numbers"),
        ("boxes", [1.0], "its output boxes must be float32, and is no array"),
        ("scores", np.zeros((1, SLOTS), np.float32), "its output scores must be 2 x any, and is 1 x 4"),
        ("scores", np.full((2, SLOTS), "a"), "its output scores must be float32, and is <U1"),
        ("labels", np.zeros((2, SLOTS), np.float32), "its output labels must be int64, and is float32"),
        ("labels", np.full((2, SLOTS), 5), r"its output labels must lie in 0\.\.4, the classes of its metadata"),
        ("labels", np.full((2, SLOTS), -1), r"its output labels must lie in 0\.\.4, the classes of its metadata"),
        ("counts", np.array([1, SLOTS + 1]), r"its output counts must lie in 0\.\.4"),
        ("counts", np.array([-1, 1]), r"its output counts must lie in 0\.\.4"),
        ("counts", np.array(1), "its output counts must be 2, and is a single number"),
    ],
)
def test_detections_that_are_none_are_refused(name: str, array: Any, message: str, tiny_values: dict[str, Any]) -> None:
    outputs = changed(detections(), name, array)
    with pytest.raises(ConfigError, match=rf"^a\.onnx: {message}"):
        opened(tiny_values, outputs).detect(BATCH)


@pytest.mark.parametrize(
    ("name", "array", "message"),
    [
        ("logits_p4", None, "has no output logits_p4"),
        ("quality", None, "has no output quality"),
        ("logits_p3", np.zeros((2, 96, 4), np.float32), "its output logits_p3 must be 2 x 96 x 5, and is 2 x 96 x 4"),
        ("logits_p3", np.zeros((2, 95, 5), np.float32), "its output logits_p3 must be 2 x 96 x 5, and is 2 x 95 x 5"),
        ("ltrb", np.zeros((1, 128, 4), np.float32), "its output ltrb must be 2 x 128 x 4, and is 1 x 128 x 4"),
        ("quality", np.zeros((2, 128, 1), np.float32), "its output quality must be 2 x 128, and is 2 x 128 x 1"),
        ("quality", np.zeros((2, 128)), "its output quality must be float32, and is float64"),
    ],
)
def test_head_outputs_that_are_none_are_refused(
    name: str, array: Any, message: str, tiny_values: dict[str, Any]
) -> None:
    outputs = changed(head_outputs(), name, array)
    with pytest.raises(ConfigError, match=rf"^a\.onnx: {message}"):
        opened(tiny_values, outputs, detects=False).detect(BATCH)


def test_scaled_canvases_are_refused_for_files(tiny_values: dict[str, Any]) -> None:
    key = "model.postprocess.tta_scales"
    message = r"model\.postprocess\.tta_scales=\[0\.5, 1\.0\]: scaled canvases are no multiples of model\.size_divisor"
    with pytest.raises(ConfigError, match=message):
        opened(tiny_values, head_outputs(), {key: [0.5, 1.0]}, detects=False)
    recorded = set_value(tiny_values, key, [0.5, 1.0])
    with pytest.raises(ConfigError, match=message):
        opened(recorded, head_outputs(), detects=False)
    opened(recorded, head_outputs(), {key: [1.0]}, detects=False)
    mirrored = opened(tiny_values, head_outputs(), {"model.postprocess.tta_flip": True}, detects=False)
    assert len(mirrored.detect(BATCH)) == 2


def test_analyses_of_the_detector_are_no_silent_gap(
    tiny_values: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    key = "model.postprocess.analyses"
    with pytest.raises(ConfigError, match=r"--set model\.postprocess\.analyses: cost needs the detector itself"):
        opened(tiny_values, head_outputs(), {key: ["cost", "proposals"]}, detects=False)
    cache = {"data.cache_dir": tiny_values["data"]["cache_dir"]}
    recorded = opened(set_value(tiny_values, key, ["cost", "proposals"]), detections(images=6), cache)
    metrics = evaluate_file(recorded, batch_size=6)
    assert any(name.startswith("val/proposals/") for name in metrics)
    assert "a.onnx: without the analyses of the detector itself: cost" in caplog.messages


def test_a_file_is_timed_whatever_package_the_runtime_is_of(
    tiny_values: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    import onnxruntime

    def missing(name: str) -> importlib.metadata.Distribution:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata.Distribution, "from_name", missing)
    assert Timed.of(opened(tiny_values, detections())).runtime == f"onnxruntime {onnxruntime.__version__}"


def test_no_folder_is_taken_from_a_file(tiny_values: dict[str, Any], tmp_path: Path) -> None:
    split = {"annotations": "annotations/val.json", "images": "val"}
    data = {"name": "coco", "root": str(tmp_path / "theirs"), "cache_dir": str(tmp_path / "cache"), "train": split}
    recorded = {**tiny_values, "data": {**data, "val": split}}
    file = opened(recorded, detections(), {"data.num_workers": 0})
    assert file.config.data.cache_dir is None
    refusal = r"^a\.onnx: does not say where its data are .*; give --set data\.root=\.\.\.$"
    with pytest.raises(ConfigError, match=refusal):
        evaluate_file(file, batch_size=1)
    # Prediction needs no data; a given root is where the data are read.
    assert len(file.detect(BATCH)) == 2
    given = opened(recorded, detections(), {"data.root": str(tmp_path / "ours")})
    with pytest.raises(ConfigError, match="ours"):
        evaluate_file(given, batch_size=1)
