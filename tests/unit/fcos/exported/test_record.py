"""What a file records of itself is read back, or refused by name."""

import json

import pytest

from fcos.errors import ConfigError
from fcos.exported.record import FORMAT, MAX_CHARACTERS, PREFIX, FileRecord, find_unknown_paths, without_paths
from tests.helpers.detections.exported_files import RECORD


def test_a_record_survives_the_texts_of_a_file() -> None:
    properties = RECORD.to_properties()
    assert json.loads(properties[f"{PREFIX}classes"]) == ["disc", "ring"]
    assert FileRecord.from_properties({**properties, "producer": "x"}, "a.onnx") == RECORD


def test_a_file_of_others_has_no_record() -> None:
    with pytest.raises(ConfigError, match=r"a\.onnx: was not written by `python -m fcos export`"):
        FileRecord.from_properties({"names": "{}"}, "a.onnx")


def test_a_newer_format_is_refused() -> None:
    properties = RECORD.to_properties() | {f"{PREFIX}format": str(FORMAT + 1)}
    with pytest.raises(ConfigError, match=rf"have the format {FORMAT + 1}, this version reads {FORMAT}"):
        FileRecord.from_properties(properties, "a.onnx")


@pytest.mark.parametrize(
    "text", ["", "{", "[" * 100_000, '"' + "x" * (MAX_CHARACTERS + 1) + '"'], ids=["empty", "open", "deep", "long"]
)
def test_a_text_that_is_not_readable_is_named(text: str) -> None:
    with pytest.raises(ConfigError, match=rf"a\.onnx: its metadata {PREFIX}classes is not readable"):
        FileRecord.from_properties(RECORD.to_properties() | {f"{PREFIX}classes": text}, "a.onnx")


@pytest.mark.parametrize(
    ("key", "text"), [("classes", "[]"), ("strides", '"x"'), ("size_divisor", "0"), ("config", "7")]
)
def test_a_value_of_another_kind_is_named(key: str, text: str) -> None:
    with pytest.raises(ConfigError, match=rf"a\.onnx: its metadata are damaged \({key}"):
        FileRecord.from_properties(RECORD.to_properties() | {f"{PREFIX}{key}": text}, "a.onnx")


def test_a_file_names_no_path_of_a_machine() -> None:
    split = {"annotations": "annotations/a.json", "images": "/pool/alice/train"}
    data = {"name": "coco", "root": "/home/alice/coco", "cache_dir": "/home/alice/.cache", "num_workers": 8}
    model = {"weights": "/home/alice/first", "backbone": {"name": "resnet50", "weights": "/home/alice/r50.pth"}}
    values = without_paths({"model": model, "data": {**data, "train": split, "val": split}, "seed": 3})
    assert "alice" not in json.dumps(values)
    assert values["data"]["val"] == {"annotations": "annotations/a.json", "images": "<data.val.images>"}
    assert values["data"]["root"] == "<data.root>" and values["seed"] == 3
    assert not {"cache_dir", "num_workers"} & set(values["data"])
    assert set(find_unknown_paths(values)) == {
        *("data.root", "data.train.images", "data.val.images"),
        *("model.weights", "model.backbone.weights"),
    }
    assert without_paths(values) == values


@pytest.mark.parametrize("path", ["../../etc/passwd", "~/x", "/x"])
def test_annotations_outside_of_the_root_are_a_path_of_a_machine(path: str) -> None:
    values = without_paths({"data": {"val": {"annotations": path, "images": "val"}}})
    assert values["data"]["val"] == {"annotations": "<data.val.annotations>", "images": "val"}


def test_published_sets_of_weights_are_no_path() -> None:
    values = {"model": {"backbone": {"weights": "IMAGENET1K_V1"}}}
    assert without_paths(values) == values
