"""Prediction reads images by the rules of the checkpoint's configuration, as training did."""

from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from fcos.build import build_detector
from fcos.config.parse import parse
from fcos.config.run import Config
from fcos.errors import DataError
from fcos.inference import Trained
from fcos.prediction.predictor import Picture, Predictor


def trained(values: dict[str, Any], **data: Any) -> Trained:
    values["data"] |= data
    config = parse(Config, values)
    detector = build_detector(config.model, 5, channels_last=False)
    return Trained(detector.eval(), config, ("a", "b", "c", "d", "e"), 1, torch.device("cpu"))


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (60, 40)).save(tmp_path / "photo.jpg", exif=exif)
    return tmp_path / "photo.jpg"


def read(photo: Path, values: dict[str, Any], **data: Any) -> Picture:
    return Predictor(trained(values, **data)).read(photo)


def test_an_orientation_is_marked_where_it_is_not_applied(tiny_values: dict[str, Any], photo: Path) -> None:
    picture = read(photo, tiny_values)
    assert picture.pixels.shape == (3, 40, 60) and picture.is_turned


def test_an_orientation_is_applied_as_in_training(tiny_values: dict[str, Any], photo: Path) -> None:
    picture = read(photo, tiny_values, exif_orientation="apply")
    assert picture.pixels.shape == (3, 60, 40) and not picture.is_turned


def test_the_limit_of_pixels_holds_in_prediction(tiny_values: dict[str, Any], photo: Path) -> None:
    with pytest.raises(DataError, match=r"more than data\.max_megapixels=0\.001 allows"):
        read(photo, tiny_values, max_megapixels=0.001)
