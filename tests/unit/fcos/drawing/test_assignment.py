"""Pictures of assignments have bounded sizes."""

from typing import Any

import torch

from fcos.assignment.build import build_assign, build_locate
from fcos.config.model import ModelConfig
from fcos.config.parse import parse
from fcos.data.batching import canvas_size
from fcos.data.coco import Sample
from fcos.data.loader import collate
from fcos.drawing.assignment import PANEL_LONG_SIDE, draw_assignment


def test_assignment_pictures_of_thin_images_have_bounded_sizes(read_group: Any) -> None:
    model = parse(ModelConfig, read_group("model", "fcos_small"))
    size = (4_000, 1)
    pixels = torch.zeros(3, *size, dtype=torch.uint8)
    sample = Sample(pixels, torch.tensor([[0.0, 100.0, 1.0, 500.0]]), torch.tensor([0]), 1, "thin.png", size, size)
    batch = collate([sample], canvas_size([size], model.size_divisor))
    locations = build_locate(model)(batch)
    assignment = build_assign(model)(batch.targets, locations)
    titles = [f"P{level}" for level in model.levels]
    picture = draw_assignment(pixels, batch.targets, assignment, locations, titles=titles)
    assert picture.width < 2 * PANEL_LONG_SIDE and picture.height < 3 * PANEL_LONG_SIDE
