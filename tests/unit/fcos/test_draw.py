"""Pictures have bounded sizes, and drawing errors never fail a run."""

from pathlib import Path
from typing import Any

import pytest
import torch

from fcos.assignment.build import build_assign, build_locate
from fcos.config.model import ModelConfig
from fcos.config.parse import parse
from fcos.config.run import Config
from fcos.data.coco import Sample
from fcos.data.loader import canvas_size, collate
from fcos.draw import LONG_SIDE, SHORT_SIDE, TITLE_HEIGHT, draw_assignment, draw_boxes, picture_or_note, save_detections
from fcos.runtime import LocalRuntime
from fcos.train import run

BOX = torch.tensor([[0.0, 0.0, 1.0, 1.0]])
LABEL = torch.tensor([0])


@pytest.mark.parametrize(("height", "width"), [(12_000, 1), (1, 12_000), (3, 2_000), (1, 1)])
def test_pictures_of_thin_images_have_bounded_sizes(height: int, width: int) -> None:
    pixels = torch.zeros(3, height, width, dtype=torch.uint8)
    picture = draw_boxes(pixels, BOX, LABEL, ["a long name of a class"], torch.tensor([0.5]), title="found")
    assert max(picture.size) <= LONG_SIDE + TITLE_HEIGHT
    assert min(picture.size) >= SHORT_SIDE


def test_images_of_common_shapes_are_enlarged_uniformly() -> None:
    assert draw_boxes(torch.zeros(3, 64, 96, dtype=torch.uint8), BOX, LABEL, ["a"]).size == (480, 320 + TITLE_HEIGHT)
    large = torch.zeros(3, 500, 700, dtype=torch.uint8)
    assert draw_boxes(large, BOX, LABEL, ["a"]).size == (700, 500 + TITLE_HEIGHT)


def test_assignment_pictures_of_thin_images_have_bounded_sizes(read_group: Any) -> None:
    model = parse(ModelConfig, read_group("model", "fcos_small"))
    size = (4_000, 1)
    pixels = torch.zeros(3, *size, dtype=torch.uint8)
    sample = Sample(pixels, torch.tensor([[0.0, 100.0, 1.0, 500.0]]), LABEL, 1, "thin.png", size, size)
    batch = collate([sample], canvas_size([size], model.size_divisor))
    locations = build_locate(model)(batch)
    assignment = build_assign(model)(batch.targets, locations)
    titles = [f"P{level}" for level in model.levels]
    picture = draw_assignment(pixels, batch.targets, assignment, locations, titles=titles)
    assert picture.width < 2 * LONG_SIDE and picture.height < 3 * LONG_SIDE


def test_a_drawing_error_becomes_a_note() -> None:
    def fail() -> int:
        raise MemoryError

    assert picture_or_note(fail, "the map") == (None, "the map could not be drawn (MemoryError)")
    assert picture_or_note(lambda: 3, "the map") == (3, "")


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
