"""Which sizes batches are padded to."""

import numpy as np
import pytest

from fcos.data.batching import canvas_size, largest_canvas
from fcos.data.sample_settings import SampleSettings, SampleSizes


def test_canvas_holds_the_largest_sides() -> None:
    assert canvas_size([(30, 70), (65, 20)], 32) == (96, 96)
    assert canvas_size([(64, 128)], 32) == (64, 128)


@pytest.mark.parametrize(
    ("indices", "resized", "own"),
    [
        ([0], (64, 128), (64, 96)),
        ([1], (128, 64), (96, 32)),
        ([2, 1], (128, 128), (96, 96)),
        ([2], (64, 128), (64, 96)),
    ],
)
def test_the_largest_canvas_is_that_of_the_orientations_of_some_images(
    indices: list[int], resized: tuple[int, int], own: tuple[int, int]
) -> None:
    # Landscape, portrait and square.
    images = np.array([[30, 70], [65, 20], [40, 40]])
    sizes = SampleSizes(images, SampleSettings((40, 50), 100), training=True)
    assert largest_canvas(sizes, indices, 32) == resized
    assert largest_canvas(SampleSizes(images, SampleSettings(), training=True), indices, 32) == own
