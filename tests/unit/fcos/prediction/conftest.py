"""A detector with random weights that detects something everywhere, and a folder of images."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from fcos.build import build_detector
from fcos.config.parse import parse
from fcos.config.run import Config
from fcos.inference import Trained
from fcos.prediction.predictor import Predictor

CLASSES = ("disc", "square", "ring")


@pytest.fixture
def trained(tiny_values: dict[str, Any]) -> Trained:
    tiny_values["model"]["postprocess"] |= {"score_threshold": 0.001, "max_detections": 5}
    config = parse(Config, tiny_values)
    torch.manual_seed(0)
    detector = build_detector(config.model, len(CLASSES), channels_last=False).eval()
    return Trained(detector, config, CLASSES, 0, torch.device("cpu"))


@pytest.fixture
def predictor(trained: Trained) -> Predictor:
    return Predictor(trained)


@pytest.fixture
def save_image() -> Callable[..., Path]:
    """Saves an image of noise, by default of 64 x 48 pixels (width x height)."""

    def save(path: Path, size: tuple[int, int] = (64, 48), **options: Any) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        noise = np.random.default_rng(len(str(path))).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
        Image.fromarray(noise).save(path, **options)
        return path

    return save
