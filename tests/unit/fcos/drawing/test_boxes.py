"""Pictures of boxes have bounded sizes, and their texts can be read wherever the box lies."""

import numpy as np
import pytest
import torch
from PIL import Image

from fcos.drawing.boxes import draw_boxes
from fcos.drawing.canvas import LONG_SIDE, SHORT_SIDE, TITLE_HEIGHT
from fcos.drawing.fonts import drawable_names

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


def drawn_pixels(box: tuple[float, float, float, float], size: tuple[int, int]) -> int:
    """The number of pixels that a box and its text change on a grey image of this (width, height)."""
    pixels = torch.full((3, size[1], size[0]), 128, dtype=torch.uint8)
    picture: Image.Image = draw_boxes(pixels, torch.tensor([box]), LABEL, ["a class"], torch.tensor([0.5]))
    return int((np.asarray(picture)[TITLE_HEIGHT:] != 128).any(axis=2).sum())


def test_texts_of_boxes_at_the_right_and_lower_border_lie_on_the_picture() -> None:
    inside = drawn_pixels((300.0, 300.0, 304.0, 304.0), (640, 640))
    assert drawn_pixels((635.0, 635.0, 639.0, 639.0), (640, 640)) >= 0.9 * inside


def test_lines_and_letters_grow_with_the_picture() -> None:
    small = drawn_pixels((100.0, 100.0, 101.0, 101.0), (640, 640))
    assert drawn_pixels((100.0, 100.0, 101.0, 101.0), (3200, 3200)) > 4 * small


def test_control_characters_of_names_are_not_drawn() -> None:
    assert drawable_names(["a\n\0b", "Käfer"]) == ("a??b", "Käfer")
