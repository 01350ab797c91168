"""The size that an image is resized to, by either box convention."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fcos.images.resized_size import resized_size


@pytest.mark.parametrize(
    ("size", "plain", "inclusive"),
    [
        ((480, 640), (800, 1067), (800, 1066)),
        ((640, 480), (1067, 800), (1066, 800)),
        ((426, 640), (800, 1202), (800, 1201)),
        ((333, 1000), (444, 1333), (444, 1333)),
        ((375, 1000), (500, 1333), (500, 1333)),
        ((612, 612), (800, 800), (800, 800)),
        ((1, 2000), (1, 1333), (1, 2000)),
    ],
)
def test_sides_are_rounded_by_the_box_convention(
    size: tuple[int, int], plain: tuple[int, int], inclusive: tuple[int, int]
) -> None:
    assert resized_size(size, 800, 1333, "plain") == plain
    assert resized_size(size, 800, 1333, "inclusive") == inclusive


@given(st.integers(20, 3000), st.integers(20, 3000), st.sampled_from([64, 320, 800]))
def test_resized_size_fits_and_keeps_the_aspect_ratio(height: int, width: int, short_side: int) -> None:
    long_side = 2 * short_side
    new_height, new_width = resized_size((height, width), short_side, long_side)
    assert min(new_height, new_width) <= short_side
    assert max(new_height, new_width) <= long_side
    assert min(new_height, new_width) == short_side or max(new_height, new_width) == long_side
    scale = new_height / height
    assert abs(new_width - scale * width) <= 0.5 + 0.5 * width / height + 1e-6
