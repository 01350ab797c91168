"""Real images with their crowds, gray and empty images go the whole way."""

from pathlib import Path

import pytest
import torch

from fcos.config.parse import parse, set_value
from fcos.config.run import Config
from fcos.runtime import LocalRuntime
from fcos.training_run import run


def on_coco_tiny(values: dict, shared_data: Path, tmp_path: Path) -> dict:
    folder = shared_data / "coco_tiny"
    if not folder.is_dir():
        pytest.skip(f"needs {folder}")
    data = {
        "name": "coco", "root": str(folder), "cache_dir": str(tmp_path / "cache"),
        "train": {"annotations": "annotations/instances_train2017.json", "images": "train2017"},
        "val": {"annotations": "annotations/instances_val2017.json", "images": "val2017"},
        "short_sides": [96, 128], "long_side": 200,
    }  # fmt: skip
    return set_value(values, "data", data)


def test_coco_images_train_and_evaluate(tiny_values, shared_data: Path, tmp_path: Path) -> None:
    values = on_coco_tiny(tiny_values, shared_data, tmp_path)
    summary = run(parse(Config, values), LocalRuntime(tmp_path / "run", torch.device("cpu")))
    assert len(summary.classes) == 80
    assert 0 <= summary.metrics[""]["val/AP"] < 0.2
