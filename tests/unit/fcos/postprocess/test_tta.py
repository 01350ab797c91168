"""Test-time augmentation: augmenting batches, undoing it on detections, merging them."""

import pytest
import torch

from fcos.config.model_parts import PostprocessConfig
from fcos.postprocess.tta import Augmentation, augment, augmentations, merge, undo
from fcos.structures import Batch, Detections, Targets

CONFIG = PostprocessConfig()


def batch_of(sizes: list[list[int]]) -> Batch:
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (len(sizes), 3, 32, 48), generator=generator, dtype=torch.uint8)
    none = Targets(torch.zeros(len(sizes), 0, 4), torch.zeros(len(sizes), 0).long(), torch.zeros(len(sizes), 0).bool())
    image_sizes = torch.tensor(sizes)
    return Batch(pixels, image_sizes, image_sizes * 2, none, tuple(range(len(sizes))), ("a",) * len(sizes))


def detections(*rows: tuple[list[float], float, int]) -> Detections:
    boxes, scores, labels = zip(*rows, strict=True) if rows else ((), (), ())
    return Detections(torch.tensor(boxes).view(-1, 4), torch.tensor(scores), torch.tensor(labels, dtype=torch.long))


def test_augmentations_are_scales_with_and_without_flip() -> None:
    assert augmentations(PostprocessConfig(tta_scales=(1.0, 1.5))) == (Augmentation(1.0), Augmentation(1.5))
    assert augmentations(PostprocessConfig(tta_flip=True)) == (Augmentation(1.0), Augmentation(1.0, True))


def test_the_identity_augmentation_changes_nothing() -> None:
    batch = batch_of([[32, 48]])
    augmented = augment(batch, Augmentation())
    assert torch.equal(augmented.pixels, batch.pixels) and torch.equal(augmented.sizes, batch.sizes)


def test_each_image_is_mirrored_within_its_own_width() -> None:
    batch = batch_of([[32, 48], [20, 30]])
    augmented = augment(batch, Augmentation(mirrored=True))
    assert torch.equal(augmented.pixels[0], batch.pixels[0].flip(-1))
    assert torch.equal(augmented.pixels[1, :, :, :30], batch.pixels[1, :, :, :30].flip(-1))
    assert torch.equal(augmented.pixels[1, :, :, 30:], batch.pixels[1, :, :, 30:])
    assert torch.equal(augment(augmented, Augmentation(mirrored=True)).pixels, batch.pixels)


@pytest.mark.parametrize("scale", [0.5, 1.25, 2.0])
def test_pixels_and_sizes_scale_alike(scale: float) -> None:
    augmented = augment(batch_of([[32, 48], [20, 30]]), Augmentation(scale))
    assert augmented.pixels.dtype == torch.uint8
    assert augmented.pixels.shape[-2:] == (round(32 * scale), round(48 * scale))
    assert augmented.sizes.tolist() == [[round(32 * scale), round(48 * scale)], [round(20 * scale), round(30 * scale)]]
    assert augmented.original_sizes.tolist() == [[64, 96], [40, 60]]


def test_undo_maps_mirrored_boxes_back() -> None:
    per_image = [detections(([10.0, 5, 30, 9], 0.9, 0)), detections()]
    sizes = torch.tensor([[64, 96], [40, 60]])
    first, second = undo(Augmentation(mirrored=True), per_image, sizes)
    assert first.boxes.tolist() == [[66.0, 5, 86, 9]] and len(second.boxes) == 0
    assert undo(Augmentation(2.0), per_image, sizes) == per_image


def test_merge_suppresses_duplicates_and_sorts_by_score() -> None:
    original = [detections(([0.0, 0, 10, 10], 0.6, 1), ([50.0, 50, 60, 60], 0.3, 0)), detections()]
    shifted = [detections(([0.5, 0, 10.5, 10], 0.8, 1), ([0.0, 0, 10, 10], 0.5, 0)), detections()]
    first, second = merge([original, shifted], CONFIG)
    assert first.scores.tolist() == pytest.approx([0.8, 0.5, 0.3]) and first.labels.tolist() == [1, 0, 0]
    assert len(second.scores) == 0
    assert len(merge([original, shifted], PostprocessConfig(max_detections=2))[0].scores) == 2
    assert merge([original, shifted], PostprocessConfig(nms_over="all"))[0].scores.tolist() == pytest.approx([0.8, 0.3])


def test_merge_of_one_augmentation_changes_nothing() -> None:
    part = [detections(([0.0, 0, 10, 10], 0.6, 1))]
    assert merge([part], CONFIG) == part
