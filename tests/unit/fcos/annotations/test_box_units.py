"""Boxes that cannot be [x, y, width, height] in pixels are refused or noted; those that can never are."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fcos.annotations.box_units import MIN_BOXES, check_units
from fcos.errors import DataError

FILE = Path("folder/train.json")
# Pixels of images of 100x80.
PIXELS = np.array([[10, 5, 40, 30], [50, 40, 20, 20], [0, 0, 100, 80], [90, 70, 10, 10]] * 3, dtype=np.float64)
WIDTH_HEIGHT = np.array([100, 80, 100, 80])


def notes_of(boxes: np.ndarray, size: tuple[int, int] = (80, 100)) -> list[str]:
    return check_units(boxes, np.tile(np.array(size), (len(boxes), 1)), FILE)


def as_corners(boxes: np.ndarray) -> np.ndarray:
    return np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)


def test_boxes_in_pixels_pass_without_a_note() -> None:
    assert notes_of(PIXELS) == []
    assert notes_of(np.zeros((0, 4))) == []


def test_boxes_within_the_unit_square_are_refused_with_count_rule_and_way_out() -> None:
    with pytest.raises(DataError) as error:
        notes_of(PIXELS / WIDTH_HEIGHT)
    assert str(error.value) == (
        "folder/train.json: all 12 boxes lie within the unit square (0 to 1), as fractions of an image's sides do; "
        "COCO's boxes are [x, y, width, height] in pixels: multiply x and width by the width of the image, y and "
        "height by its height"
    )


def test_fractions_as_corners_are_refused() -> None:
    with pytest.raises(DataError, match=r"all 9 boxes are smaller than a pixel in width and height; .* multiply"):
        notes_of(as_corners(PIXELS[[0, 1, 3] * 3] / (1.01 * WIDTH_HEIGHT)))


@pytest.mark.parametrize("box", [[0.3, 0.2, 1.0, 0.9], [0.5, 0.5, 1.0, 1.0]], ids=["corners", "center"])
def test_fractions_of_which_one_touches_the_border_are_refused(box: list[float]) -> None:
    # As [x, y, width, height] it reaches beyond the unit square and is a pixel wide.
    others = [[0.1, 0.1, 0.4, 0.5], [0.2, 0.3, 0.6, 0.7]]
    with pytest.raises(DataError, match=r"all 3 boxes have no number above 1, .* multiply fractions by the sides"):
        notes_of(np.array([*others, box]))
    assert notes_of(np.array([box, [10, 10, 20, 20]]), size=(40, 40)) == []


@pytest.mark.parametrize("box", [[1, 1, 1, 1], [0, 0, 1, 1], [1, 0, 1, 1]])
def test_a_few_boxes_of_a_pixel_are_no_fractions(box: list[int]) -> None:
    pixel = np.array([box], dtype=np.float64)
    assert notes_of(pixel) == notes_of(np.repeat(pixel, MIN_BOXES - 1, axis=0)) == []
    with pytest.raises(DataError, match="as fractions of an image's sides"):
        notes_of(np.repeat(pixel, MIN_BOXES, axis=0))
    with pytest.raises(DataError, match="as fractions of an image's sides"):
        notes_of(np.concatenate([pixel, [[0.5, 0.5, 1.0, 1.0]]]))


def test_one_box_in_pixels_among_fractions_makes_it_a_note() -> None:
    boxes = PIXELS[:3] / WIDTH_HEIGHT
    assert notes_of(np.concatenate([boxes[:2], PIXELS[:1]])) == [
        "train.json: 2 of 3 boxes are smaller than a pixel in width and height"
    ]


def test_images_of_a_few_pixels_and_empty_boxes_are_not_judged() -> None:
    assert notes_of(np.array([[0, 0, 1, 1.0]]), size=(1, 1)) == []
    assert notes_of(np.array([[0.5, 0.5, 0, 0.2]])) == []
    assert notes_of(np.array([[0.5, 0.5, 0, 0.2], [1, 1, 20, 20]])) == []


def test_corners_are_refused_where_many_boxes_fit_only_as_such() -> None:
    with pytest.raises(DataError, match=r"reach far beyond their image .* write \[x1, y1, x2 - x1, y2 - y1\]"):
        notes_of(as_corners(PIXELS))
    few = as_corners(PIXELS[: MIN_BOXES - 1])
    (note,) = notes_of(few)
    assert "all of them fit as corners [x1, y1, x2, y2]; are they corners?" in note


def test_boxes_beyond_their_image_that_are_no_corners_pass() -> None:
    # The second box would have its right side left of its left one.
    beyond = np.concatenate([as_corners(PIXELS), [[60, 10, 20, 20]]])
    assert notes_of(beyond) == []


def test_large_boxes_that_end_a_pixel_late_are_no_corners() -> None:
    assert notes_of(np.array([[1, 1, 100, 80.0]] * 20)) == []


def test_possible_percentages_are_noted_in_large_images_only() -> None:
    percent = 100 * PIXELS / WIDTH_HEIGHT
    (note,) = notes_of(percent, size=(480, 640))
    assert note == (
        "train.json: all 12 boxes lie within the first 100 pixels of images of at least 640x480; are they percentages? "
        "COCO's boxes are in pixels"
    )
    assert notes_of(percent, size=(120, 160)) == []
    (note,) = notes_of(as_corners(percent), size=(480, 640))
    assert note == (
        "train.json: all 12 boxes have no number above 100, in images of at least 640x480; are they percentages? "
        "COCO's boxes are in pixels"
    )


@given(st.integers(0, 2**31), st.integers(1, 40))
def test_random_boxes_inside_their_images_are_never_refused(seed: int, count: int) -> None:
    generator = np.random.default_rng(seed)
    low = generator.uniform(0, 90, (count, 2)) * [1, 0.8]
    size = generator.uniform(1.5, [100, 80] - low)
    check_units(np.concatenate([low, size], axis=1), np.tile([80, 100], (count, 1)), FILE)
