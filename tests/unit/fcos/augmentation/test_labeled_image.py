"""Crops, resizes and paddings move pixels, boxes and masks together."""

import torch

from fcos.augmentation.labeled_image import (
    FILL,
    LabeledImage,
    Window,
    blank,
    crop,
    fitting_size,
    keep_objects,
    pad,
    reframe_masks,
    resize,
)
from fcos.model.detector import PIXEL_MEAN
from tests.helpers.data.labeled_images import labeled_image, object_extent
from tests.helpers.present import present

SIZE = (40, 60)


def test_the_fill_is_the_mean_that_images_are_normalised_by() -> None:
    assert tuple(round(255 * mean) for mean in PIXEL_MEAN) == FILL
    assert blank((2, 3)).permute(1, 2, 0).tolist() == [[list(FILL)] * 3] * 2


def test_a_crop_clips_boxes_and_drops_what_is_hardly_visible() -> None:
    item = labeled_image(SIZE, [(0, 0, 20, 20), (10, 10, 30, 30), (40, 20, 50, 40), (0, 30, 11, 40)])
    cropped = crop(item, Window(5, 10, 30, 40), min_visible=0.2)
    assert cropped.size == (30, 40)
    assert cropped.labels.tolist() == [0, 1, 2]
    assert cropped.boxes.tolist() == [[0, 0, 10, 15], [0, 5, 20, 25], [30, 15, 40, 30]]
    assert torch.equal(object_extent(cropped, 2), cropped.boxes[2])
    # A twentieth of the last box lies inside.
    assert crop(item, Window(5, 10, 30, 40), min_visible=0.04).labels.tolist() == [0, 1, 2, 3]
    assert crop(item, Window(0, 50, 20, 10), min_visible=0.0).labels.tolist() == []


def test_a_crop_cuts_masks_like_their_pixels() -> None:
    item = labeled_image(SIZE, [(10, 8, 42, 40)], masks=True)
    # The upper half is mask: of the window's rows 0 to 16, the first 8.
    cropped = crop(item, Window(16, 10, 16, 32), min_visible=0.0)
    expected = torch.zeros(32, 32, dtype=torch.bool)
    expected[:16] = True
    assert torch.equal(present(cropped.masks)[0], expected)


def test_masks_in_their_own_frames_stay_as_they_are() -> None:
    masks = torch.rand(5, 32, 32, generator=torch.Generator().manual_seed(0)) < 0.5
    boxes = torch.tensor([[3.3, 4.7, 9.1, 30.2]]).repeat(5, 1)
    assert torch.equal(reframe_masks(masks, boxes, boxes), masks)
    left = boxes.clone()
    left[:, 2] = (boxes[:, 0] + boxes[:, 2]) / 2
    assert torch.equal(reframe_masks(masks, boxes, left)[:, :, ::2], masks[:, :, :16])


def test_resizing_scales_boxes_and_drops_those_below_a_pixel() -> None:
    item = labeled_image(SIZE, [(10, 10, 30, 30), (50, 30, 53, 40)])
    small = resize(item, (10, 15))
    assert small.image.shape == (3, 10, 15) and small.labels.tolist() == [0]
    assert small.boxes.tolist() == [[2.5, 2.5, 7.5, 7.5]]
    assert resize(item, SIZE) is item


def test_resized_boxes_never_reach_beyond_the_edge() -> None:
    for side in range(2, 200):
        item = LabeledImage(
            torch.zeros(3, 7, 7, dtype=torch.uint8),
            torch.tensor([[0.0, 0.0, 7.0, 7.0]]),
            torch.zeros(1, dtype=torch.long),
        )
        assert (resize(item, (side, side)).boxes <= side).all()


def test_padding_moves_the_image_and_its_boxes() -> None:
    item = labeled_image((10, 12), [(2, 3, 9, 8)])
    padded = pad(item, (20, 30), top=6, left=7)
    assert torch.equal(object_extent(padded, 0), torch.tensor([9.0, 9.0, 16.0, 14.0]))
    assert torch.equal(padded.boxes[0], object_extent(padded, 0))
    assert padded.image[:, 0, 0].tolist() == list(FILL)
    assert pad(item, (10, 12)) is item


def test_a_fitting_size_touches_one_side_and_exceeds_none() -> None:
    assert fitting_size((10, 20), (40, 40)) == (20, 40)
    assert fitting_size((20, 10), (40, 40)) == (40, 20)
    assert fitting_size((1, 1000), (40, 40)) == (1, 40)
    assert fitting_size((40, 40), (40, 40)) == (40, 40)


def test_without_objects_all_stays_empty() -> None:
    item = labeled_image(SIZE, masks=True)
    for result in (
        crop(item, Window(1, 2, 3, 4), 0.1), resize(item, (7, 9)), pad(item, (50, 70)),
        keep_objects(item, torch.zeros(0, dtype=torch.bool)),
    ):  # fmt: skip
        assert result.boxes.shape == (0, 4) and present(result.masks).shape == (0, 32, 32)
