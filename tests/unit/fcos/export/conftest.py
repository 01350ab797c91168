"""Small detectors of any kind with checkpoints, and their files."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from fcos.build import build_detector
from fcos.config.parse import parse, set_value
from fcos.config.presets import load_presets
from fcos.config.run import Config
from fcos.export.file_detector import FileDetector, load_file_detector
from fcos.export.write_file import ExportOptions, export_detector
from fcos.inference import Trained
from fcos.training import checkpoint
from tests.helpers.detections.exported_files import Export, MakeTrained, untyped_tracing

CLASSES = ("disc", "square", "ring")
TINY_BACKBONE = {"name": "small_resnet", "norm": "bn", "widths": [16, 16, 16, 16, 16]}


@pytest.fixture(autouse=True)
def untyped() -> Iterator[None]:
    """All of these tests trace detectors."""
    with untyped_tracing():
        yield


@pytest.fixture
def make_trained(tmp_path: Path, tiny_values: dict[str, Any]) -> MakeTrained:
    """Makes a tiny detector, of a preset where one is named, with random weights that find something everywhere."""

    def make(preset: str | None = None, **changes: Any) -> Trained:
        values = dict(tiny_values)
        if preset is not None:
            model = load_presets()[preset].model_dump(mode="json")
            model["backbone"] = TINY_BACKBONE
            model["fpn"]["channels"] = 16
            model["head"] |= {"num_convs": 1, "gn_groups": 8}
            values["model"] = model
        for key, value in {"model.postprocess.max_detections": 20, **changes}.items():
            values = set_value(values, key.replace("__", "."), value)
        config = parse(Config, values)
        torch.manual_seed(0)
        detector = build_detector(config.model, len(CLASSES), channels_last=config.schedule.channels_last).eval()
        _spread_scores(detector)
        folder = checkpoint.save(
            tmp_path / "checkpoints", step=7, config=config.model_dump(mode="json"), classes=CLASSES, model=detector,
            averages={}, state={},
        )  # fmt: skip
        return Trained(detector, config, CLASSES, 7, torch.device("cpu"), folder)

    return make


def _spread_scores(detector: torch.nn.Module) -> None:
    """Make random weights of the last layers large, so that scores and boxes differ and do not round to one another."""
    with torch.no_grad():
        for name, parameter in detector.named_parameters():
            if name.endswith("classification.weight"):
                parameter.mul_(60)
            elif name.endswith("classification.bias"):
                parameter.zero_()
            elif name.endswith("regression.weight"):
                parameter.mul_(10)
            elif name.endswith("regression.bias"):
                parameter.fill_(1.0)


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
