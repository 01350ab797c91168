"""Views of a batch, and detections of several views as those of one image."""

import pytest
import torch

from fcos.config.model_parts import PostprocessConfig
from fcos.postprocess.tta import View, back_from, shown, together, views
from fcos.structures import Batch, Detections, Targets

RULE = PostprocessConfig()


def batch_of(sizes: list[list[int]]) -> Batch:
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (len(sizes), 3, 32, 48), generator=generator, dtype=torch.uint8)
    none = Targets(torch.zeros(len(sizes), 0, 4), torch.zeros(len(sizes), 0).long(), torch.zeros(len(sizes), 0).bool())
    given = torch.tensor(sizes)
    return Batch(pixels, given, given * 2, none, tuple(range(len(sizes))), ("a",) * len(sizes))


def detections(*rows: tuple[list[float], float, int]) -> Detections:
    boxes, scores, labels = zip(*rows, strict=True) if rows else ((), (), ())
    return Detections(torch.tensor(boxes).view(-1, 4), torch.tensor(scores), torch.tensor(labels, dtype=torch.long))


def test_every_scale_is_seen_and_mirrored_if_told() -> None:
    assert views((1.0, 1.5), False) == (View(1.0), View(1.5))
    assert views((1.0,), True) == (View(1.0), View(1.0, True))


def test_one_view_is_the_batch_itself() -> None:
    batch = batch_of([[32, 48]])
    seen = shown(batch, View())
    assert torch.equal(seen.pixels, batch.pixels) and torch.equal(seen.sizes, batch.sizes)


def test_each_image_is_mirrored_within_its_own_width() -> None:
    batch = batch_of([[32, 48], [20, 30]])
    seen = shown(batch, View(mirrored=True))
    assert torch.equal(seen.pixels[0], batch.pixels[0].flip(-1))
    assert torch.equal(seen.pixels[1, :, :, :30], batch.pixels[1, :, :, :30].flip(-1))
    assert torch.equal(seen.pixels[1, :, :, 30:], batch.pixels[1, :, :, 30:])
    assert torch.equal(shown(seen, View(mirrored=True)).pixels, batch.pixels)


@pytest.mark.parametrize("scale", [0.5, 1.25, 2.0])
def test_pixels_and_sizes_grow_alike(scale: float) -> None:
    seen = shown(batch_of([[32, 48], [20, 30]]), View(scale))
    assert seen.pixels.dtype == torch.uint8
    assert seen.pixels.shape[-2:] == (round(32 * scale), round(48 * scale))
    assert seen.sizes.tolist() == [[round(32 * scale), round(48 * scale)], [round(20 * scale), round(30 * scale)]]
    assert seen.original_sizes.tolist() == [[64, 96], [40, 60]]


def test_mirrored_boxes_come_back_to_where_they_are() -> None:
    found = [detections(([10.0, 5, 30, 9], 0.9, 0)), detections()]
    sizes = torch.tensor([[64, 96], [40, 60]])
    first, second = back_from(View(mirrored=True), found, sizes)
    assert first.boxes.tolist() == [[66.0, 5, 86, 9]] and len(second.boxes) == 0
    assert back_from(View(2.0), found, sizes) == found


def test_what_two_views_found_alike_counts_once_and_the_best_comes_first() -> None:
    one = [detections(([0.0, 0, 10, 10], 0.6, 1), ([50.0, 50, 60, 60], 0.3, 0)), detections()]
    other = [detections(([0.5, 0, 10.5, 10], 0.8, 1), ([0.0, 0, 10, 10], 0.5, 0)), detections()]
    first, second = together([one, other], RULE)
    assert first.scores.tolist() == pytest.approx([0.8, 0.5, 0.3]) and first.labels.tolist() == [1, 0, 0]
    assert len(second.scores) == 0
    assert len(together([one, other], PostprocessConfig(max_detections=2))[0].scores) == 2
    assert together([one, other], PostprocessConfig(nms_over="all"))[0].scores.tolist() == pytest.approx([0.8, 0.3])


def test_one_view_stays_as_it_is() -> None:
    one = [detections(([0.0, 0, 10, 10], 0.6, 1))]
    assert together([one], RULE) == one
