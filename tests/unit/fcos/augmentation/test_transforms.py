"""Resizing, flipping and the sampling of augmentations."""

import pytest
import torch

from fcos.augmentation.transforms import flip, pick, resize_boxes, resize_image, sample_augmentation

IMAGE = torch.arange(3 * 4 * 6, dtype=torch.uint8).reshape(3, 4, 6)
SIZE = (4, 6)


def test_boxes_scale_by_the_ratios_of_the_rounded_sides() -> None:
    boxes = torch.tensor([[0.0, 0.0, 6.0, 4.0], [1.5, 1.0, 3.0, 2.0]])
    image, scaled = (resize_image(IMAGE, (7, 9)), resize_boxes(boxes, SIZE, (7, 9)))
    assert image.shape == (3, 7, 9)
    assert image.dtype == torch.uint8
    torch.testing.assert_close(scaled, boxes * torch.tensor([1.5, 1.75, 1.5, 1.75]))
    assert type(scaled) is torch.Tensor


def test_equal_size_changes_nothing() -> None:
    boxes = torch.tensor([[1.0, 2.0, 3.0, 4.0]])
    image, scaled = (resize_image(IMAGE, (4, 6)), resize_boxes(boxes, SIZE, (4, 6)))
    torch.testing.assert_close(image, IMAGE)
    torch.testing.assert_close(scaled, boxes)


def test_flip_mirrors_pixels_and_boxes() -> None:
    boxes = torch.tensor([[1.0, 0.0, 3.0, 4.0]])
    image, mirrored = flip(IMAGE, boxes)
    torch.testing.assert_close(image, IMAGE.flip(-1))
    torch.testing.assert_close(mirrored, torch.tensor([[3.0, 0.0, 5.0, 4.0]]))
    torch.testing.assert_close(boxes, torch.tensor([[1.0, 0.0, 3.0, 4.0]]))


def test_flip_of_inclusive_boxes_maps_pixels_to_pixels() -> None:
    _, mirrored = flip(IMAGE, torch.tensor([[0.0, 0.0, 2.0, 3.0]]), "inclusive")
    torch.testing.assert_close(mirrored, torch.tensor([[3.0, 0.0, 5.0, 3.0]]))


@pytest.mark.parametrize("box_convention", ["plain", "inclusive"])
def test_two_flips_are_the_identity(box_convention: str) -> None:
    boxes = torch.tensor([[1.0, 0.5, 3.25, 4.0], [0.0, 0.0, 5.0, 1.0]])
    image, mirrored = flip(*flip(IMAGE, boxes, box_convention), box_convention)  # type: ignore[arg-type]
    torch.testing.assert_close(image, IMAGE)
    torch.testing.assert_close(mirrored, boxes)


def test_empty_boxes_stay_empty() -> None:
    none = torch.zeros(0, 4)
    assert resize_boxes(none, SIZE, (8, 12)).shape == (0, 4)
    assert flip(IMAGE, none, "inclusive")[1].shape == (0, 4)


def test_augmentation_depends_on_seed_epoch_and_index_only() -> None:
    torch.manual_seed(0)
    first = sample_augmentation(1, 2, 3)
    torch.manual_seed(99)
    assert sample_augmentation(1, 2, 3) == first
    assert len({sample_augmentation(*key) for key in [(1, 2, 3), (2, 2, 3), (1, 3, 3), (1, 2, 4), (1, 3, 2)]}) == 5


def test_every_option_is_picked_about_equally_often() -> None:
    picked = [pick((1, 2, 3, 4), sample_augmentation(0, 0, index).short_side) for index in range(2000)]
    for option in (1, 2, 3, 4):
        assert 400 < picked.count(option) < 600
