"""A detector that was written into a folder detects the same from there, and names no place of this machine."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from fcos.config.parse import parse
from fcos.config.run import Config
from fcos.inference import Trained
from fcos.prediction.detector_folder import RECORD, WEIGHTS, read_detector, write_detector
from fcos.prediction.predictor import Predictor
from fcos.storage.checkpoint_folder import CheckpointError

CPU = torch.device("cpu")


def test_it_detects_what_it_detected_before(trained: Trained, tmp_path: Path, save_image: Callable[..., Path]) -> None:
    record = write_detector(trained, tmp_path / "detector")
    again = read_detector(tmp_path / "detector", CPU)
    assert again.classes == trained.classes == record.classes and again.step == trained.step
    predictor, other = Predictor(trained), Predictor(again)
    picture = predictor.read(save_image(tmp_path / "photo.png"))
    (before,), (after,) = predictor.detect([picture.sample]), other.detect([picture.sample])
    assert len(before.scores) > 0
    assert torch.equal(before.labels, after.labels)
    torch.testing.assert_close(after.boxes, before.boxes, rtol=0, atol=1e-3)
    weights, read = trained.detector.state_dict(), again.detector.state_dict()
    assert weights.keys() == read.keys() and all(torch.equal(weights[name], read[name]) for name in weights)


def test_it_names_no_folder_of_this_machine(trained: Trained, tiny_values: dict[str, Any], tmp_path: Path) -> None:
    secret = tmp_path / "private"
    tiny_values["data"] |= {
        "name": "coco",
        "synthetic": None,
        "root": str(secret),
        "cache_dir": str(secret / "cache"),
        "train": {"annotations": str(secret / "train.json"), "images": str(secret / "train")},
        "val": {"annotations": "val.json", "images": "val"},
    }
    tiny_values["model"]["weights"] = str(secret / "weights.pth")
    tiny_values["model"]["backbone"]["weights"] = str(secret / "backbone.pth")
    write_detector(
        Trained(trained.detector, parse(Config, tiny_values), trained.classes, 3, CPU), tmp_path / "detector"
    )
    assert "private" not in (tmp_path / "detector" / RECORD).read_text()
    assert read_detector(tmp_path / "detector", CPU).config.data.name == "coco"


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        (WEIGHTS, b"\xff" * 64, "is damaged"),
        (RECORD, b"[]", "is damaged"),
        (RECORD, b'{"format": 1}', "is damaged"),
        (RECORD, b'{"format": 2}', "has the format 2, this version reads 1"),
        (RECORD, None, "cannot be read"),
        (WEIGHTS, None, "cannot be read"),
    ],
)
def test_a_damaged_folder_is_named(
    trained: Trained, tmp_path: Path, name: str, content: bytes | None, reason: str
) -> None:
    write_detector(trained, tmp_path)
    if content is None:
        (tmp_path / name).unlink()
    else:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(CheckpointError, match=f"{name}: {reason}"):
        read_detector(tmp_path, CPU)


def test_weights_of_another_model_are_refused(trained: Trained, tmp_path: Path) -> None:
    write_detector(trained, tmp_path)
    record = json.loads((tmp_path / RECORD).read_text())
    record["config"]["model"]["fpn"]["channels"] = 32
    (tmp_path / RECORD).write_text(json.dumps(record))
    with pytest.raises(CheckpointError, match="is no detector that this version can build"):
        read_detector(tmp_path, CPU)
