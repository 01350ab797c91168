"""Sample pictures of an evaluation: drawing errors never fail a run."""

from pathlib import Path
from typing import Any

import pytest
import torch

from fcos.config.parse import parse
from fcos.config.run import Config
from fcos.drawing.boxes import save_detections
from fcos.runtime import LocalRuntime
from fcos.training_run import run


def test_fonts_that_cannot_be_searched_do_not_fail_the_training(
    tiny_values: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fcos.evaluation import samples

    def fail(classes: object) -> list[str]:
        raise RuntimeError("no font list")

    monkeypatch.setattr(samples, "undrawable_notes", fail)
    summary = run(parse(Config, tiny_values), LocalRuntime(tmp_path / "run", torch.device("cpu")))
    assert len(summary.pictures[""]) == 6 and "val/AP" in summary.metrics[""]
    assert "the names of classes could not be drawn (no font list)" in summary.notes


def test_a_failed_sample_picture_does_not_fail_the_training(
    tiny_values: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from fcos.evaluation import samples

    def fail_once(images: Any, classes: Any, folder: Path) -> list[Path]:
        if images[0][0] == "000002.png":
            raise OSError(5, "Input/output error")
        return save_detections(images, classes, folder)

    monkeypatch.setattr(samples, "save_detections", fail_once)
    summary = run(parse(Config, tiny_values), LocalRuntime(tmp_path / "run", torch.device("cpu")))
    assert len(summary.pictures[""]) == 5 and "val/AP" in summary.metrics[""]
    (note,) = [note for note in summary.notes if "drawn" in note]
    assert note == "the sample picture of 000002.png could not be drawn ([Errno 5] Input/output error)"
    assert "000002.png could not be drawn" in caplog.text
