"""What a file records of itself is read back, or refused by name."""

import json

import pytest

from fcos.errors import ConfigError
from fcos.export.record import FORMAT, MAX_CHARACTERS, PREFIX, FileRecord
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
