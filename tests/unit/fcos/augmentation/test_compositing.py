"""Mosaic, mixup and copy-paste put the objects of several images where their pixels are."""

import numpy as np
import pytest
import torch

from fcos.augmentation.compositing import copy_paste, mixup, mosaic
from fcos.augmentation.labeled_image import LabeledImage
from tests.helpers.data.labeled_images import OBJECT_COLORS, labeled_image, object_extent
from tests.helpers.present import present

SIZE = (96, 128)


def color_at(item: LabeledImage, y: float, x: float) -> list[int]:
    pixels: list[int] = item.image[:, int(y), int(x)].tolist()
    return pixels


@pytest.mark.parametrize("seed", range(10))
def test_a_mosaic_has_four_images_at_half_their_size(seed: int) -> None:
    images = [labeled_image(SIZE, [(40, 30, 90, 70)], first_label=label) for label in range(4)]
    result = mosaic(images[0], images[1:], np.random.default_rng(seed), min_visible=0.0)
    assert result.size == SIZE
    for label, box in zip(result.labels.tolist(), result.boxes, strict=True):
        torch.testing.assert_close(object_extent(result, label), box, rtol=0, atol=1.5)
        assert (box[2:] - box[:2] <= torch.tensor([25.5, 20.5])).all()
    assert len(set(result.labels.tolist())) == len(result.labels) >= 2


def test_a_mosaic_fits_images_of_other_sizes_and_keeps_their_aspect() -> None:
    tall = labeled_image((200, 50), [(0, 0, 50, 200)], first_label=1)
    for seed in range(10):
        result = mosaic(labeled_image(SIZE), [tall] * 3, np.random.default_rng(seed), min_visible=0.0)
        widths, heights = (result.boxes[:, 2:] - result.boxes[:, :2]).T
        # Half of 96 pixels high at most, a quarter as wide.
        assert (heights <= 48.5).all() and (widths <= 12.5).all()


def test_a_mosaic_of_small_images_needs_no_pixel_for_each() -> None:
    one = labeled_image((1, 1), [(0, 0, 1, 1)])
    assert mosaic(one, [one] * 3, np.random.default_rng(0), 0.1).size == (1, 1)


def test_mixup_blends_pixels_and_keeps_all_boxes() -> None:
    first = labeled_image(SIZE, [(10, 10, 40, 40)])
    second = labeled_image((48, 128), [(60, 4, 100, 40)], first_label=1)
    result = mixup(first, second, np.random.default_rng(0))
    assert result.labels.tolist() == [0, 1]
    assert torch.equal(result.boxes, torch.cat([first.boxes, second.boxes]))
    blended = torch.tensor(color_at(result, 20, 80)) - 40
    pure = torch.tensor(OBJECT_COLORS[1]) - 40
    weight = 1 - float(blended[1] / pure[1])
    assert 0.25 < weight < 0.75
    torch.testing.assert_close(blended.float(), pure * (1 - weight), rtol=0, atol=1.1)
    # Where the second image does not reach, the first is as it was.
    assert torch.equal(result.image[:, 48:], first.image[:, 48:])


def test_pasted_objects_cover_what_lies_below() -> None:
    first = labeled_image(SIZE, [(0, 0, 128, 96)], masks=True)
    second = labeled_image(SIZE, [(20, 10, 60, 40), (80, 50, 120, 90)], masks=True, first_label=1)
    seen = set()
    for seed in range(12):
        result = copy_paste(first, second, np.random.default_rng(seed), min_visible=0.1)
        seen.add(tuple(result.labels.tolist()))
        for label, (x1, y1, x2, y2) in zip(result.labels.tolist(), result.boxes.tolist(), strict=True):
            if label:
                assert color_at(result, y1 + (y2 - y1) / 4, (x1 + x2) / 2) == list(OBJECT_COLORS[label])
                # Below the mask of the pasted object is what was there.
                assert color_at(result, y1 + 0.75 * (y2 - y1), (x1 + x2) / 2) != list(OBJECT_COLORS[label])
    assert seen == {(0,), (0, 1), (0, 2), (0, 1, 2)}


def test_a_covered_object_keeps_its_visible_part_or_is_dropped() -> None:
    # The mask is the upper half: rows 0 to 32 of the first, 0 to 48 of the second.
    below = labeled_image((64, 64), [(0, 0, 64, 64), (4, 8, 20, 24)], masks=True)
    above = labeled_image((64, 64), [(0, 0, 32, 64)], masks=True, first_label=2)
    pasted = [copy_paste(below, above, np.random.default_rng(seed), min_visible=0.1) for seed in range(8)]
    result = next(each for each in pasted if 2 in each.labels.tolist())
    assert result.labels.tolist() == [0, 2]
    assert result.boxes[0].tolist() == [32, 0, 64, 64]
    visible = torch.zeros(32, 32, dtype=torch.bool)
    visible[:16] = True
    assert torch.equal(present(result.masks)[0], visible)
    kept = copy_paste(below, labeled_image((64, 64), masks=True), np.random.default_rng(0), 0.1)
    assert kept is below


def test_masks_are_needed_to_paste() -> None:
    with pytest.raises(AssertionError, match="masks"):
        copy_paste(labeled_image(SIZE), labeled_image(SIZE), np.random.default_rng(0), 0.1)
