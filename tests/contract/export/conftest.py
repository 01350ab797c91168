"""Small detectors with random weights, and their ONNX files."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from fcos.exported.file_detector import FileDetector, load_file_detector
from fcos.exported.write_file import ExportOptions, export_detector
from fcos.inference import Trained
from tests.helpers.detections.exported_files import Export, MakeTrained, untyped_tracing
from tests.helpers.detections.random_detectors import make_random_detector


@pytest.fixture(autouse=True)
def untyped() -> Iterator[None]:
    """All of these tests trace detectors."""
    with untyped_tracing():
        yield


@pytest.fixture
def make_trained(tmp_path: Path, tiny_values: dict[str, Any]) -> MakeTrained:
    """Makes a tiny detector, of a preset where one is named."""
    return partial(make_random_detector, tmp_path, tiny_values)


@pytest.fixture
def export(tmp_path: Path) -> Export:
    """Exports a detector as ONNX and opens the file."""

    def write(
        trained: Trained, *, raw: bool = False, changes: dict[str, Any] | None = None, **options: Any
    ) -> FileDetector:
        path = tmp_path / "detector.onnx"
        export_detector(trained, path, ExportOptions("onnx", detects=not raw, **options), bytes_per_pixel=100.0)
        return load_file_detector(path, changes or {}, threads=1)

    return write
