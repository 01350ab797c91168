"""Augmentations keep boxes on their objects, sizes as planned, and draws apart from each other."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fcos.augmentation.augment import augment, draws_of, iou_crop, photometric, random_crop, scale_jitter, zoom_out
from fcos.augmentation.labeled_image import FILL, LabeledImage
from fcos.config.augmentation import AugmentationConfig
from fcos.studies.draw_augmentation import ALONE
from tests.helpers.data.labeled_images import BACKGROUND, OBJECT_COLORS, labeled_image, object_extent
from tests.helpers.present import present

NAMES = tuple(ALONE)
GEOMETRIC: dict[str, Callable[[LabeledImage, np.random.Generator], LabeledImage]] = {
    "zoom_out": lambda item, generator: zoom_out(item, 1.0, generator),
    "iou_crop": lambda item, generator: iou_crop(item, 1.0, generator, 0.0),
    "random_crop": lambda item, generator: random_crop(item, 0.4, generator, 0.0),
    "scale_jitter": lambda item, generator: scale_jitter(item, (0.4, 2.0), generator, 0.0),
}


@st.composite
def labeled_images(draw: st.DrawFn) -> LabeledImage:
    """Images of any size with up to five boxes inside, of at least a quarter of a pixel."""
    height, width = draw(st.integers(1, 70)), draw(st.integers(1, 70))
    boxes = []
    for _ in range(draw(st.integers(0, 5))):
        # In quarters of a pixel.
        x1, y1 = draw(st.integers(0, 4 * width - 2)), draw(st.integers(0, 4 * height - 2))
        x2, y2 = draw(st.integers(x1 + 1, 4 * width)), draw(st.integers(y1 + 1, 4 * height))
        boxes.append([side / 4 for side in (x1, y1, x2, y2)])
    item = labeled_image((height, width), masks=True)
    masks = torch.rand(len(boxes), 32, 32, generator=torch.Generator().manual_seed(draw(st.integers(0, 99)))) < 0.5
    boxes_tensor = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)
    return LabeledImage(item.image, boxes_tensor, torch.arange(len(boxes)), masks)


def applied(item: LabeledImage, *others: LabeledImage, key: tuple[int, int, int] = (0, 0, 0), **values: Any) -> Any:
    """Augment an image, which is index 0 of a data set with the others."""
    images = (item, *others)
    config = AugmentationConfig(**values)
    return augment(item, config, lambda name: draws_of(*key, name), lambda index: images[index], len(images))


@given(labeled_images(), labeled_images(), st.sets(st.sampled_from(NAMES), min_size=1), st.integers(0, 2**40))
def test_boxes_stay_inside_and_not_empty_and_the_size_stays(
    item: LabeledImage, other: LabeledImage, names: set[str], seed: int
) -> None:
    before = item.image.clone(), other.image.clone(), item.boxes.clone()
    result = applied(item, other, key=(seed, 1, 2), **{key: v for name in names for key, v in ALONE[name].items()})
    height, width = item.size
    assert result.image.shape == item.image.shape and result.image.dtype == torch.uint8
    assert len(result.boxes) == len(result.labels) == len(present(result.masks))
    assert (result.boxes >= 0).all() and (result.boxes <= torch.tensor([width, height, width, height])).all()
    assert (result.boxes[:, 2:] > result.boxes[:, :2]).all()
    # What is read may be pages of a cache.
    assert torch.equal(item.image, before[0]) and torch.equal(other.image, before[1])
    assert torch.equal(item.boxes, before[2])


@given(labeled_images(), st.integers(0, 2**40))
def test_a_probability_of_zero_is_the_identity(item: LabeledImage, seed: int) -> None:
    assert applied(item, key=(seed, 0, 0)) is item
    generator = np.random.default_rng(seed)
    assert torch.equal(photometric(item, 0.0, generator).image, item.image)
    assert zoom_out(item, 0.0, generator) is item
    assert iou_crop(item, 0.0, generator, 0.1) is item
    assert not AugmentationConfig(min_visible=0.5).is_active


@settings(max_examples=20)
@given(st.sets(st.sampled_from(NAMES)), st.sampled_from(NAMES), st.integers(0, 2**40))
def test_switching_one_off_leaves_the_draws_of_others(names: set[str], switched: str, seed: int) -> None:
    def draws_with(switched_on: set[str]) -> dict[str, float]:
        first: dict[str, float] = {}

        def draws(name: str) -> np.random.Generator:
            first[name] = draws_of(seed, 3, 4, name).random()
            return draws_of(seed, 3, 4, name)

        values = {key: value for name in switched_on for key, value in ALONE[name].items()}
        item = labeled_image((30, 40), [(5, 5, 25, 25)], masks=True)
        augment(item, AugmentationConfig(**values), draws, lambda index: item, 1)
        return first

    on, off = draws_with({*names, switched}), draws_with(names - {switched})
    assert {name: on[name] for name in off if name != switched} == {n: v for n, v in off.items() if n != switched}


@pytest.mark.parametrize("seed", range(8))
def test_distorted_colors_leave_crops_where_they_are(seed: int) -> None:
    item = labeled_image((48, 64), [(5, 5, 40, 30), (30, 20, 60, 44)])
    geometric = {"zoom_out": 0.5, "iou_crop": 0.8, "scale_jitter": (0.5, 1.5), "mosaic": 0.5}
    plain = applied(item, key=(seed, 0, 0), **geometric)
    distorted = applied(item, key=(seed, 0, 0), photometric=1.0, **geometric)
    torch.testing.assert_close(distorted.boxes, plain.boxes, rtol=0, atol=0)
    assert not torch.equal(distorted.image, plain.image)


def test_names_have_draws_of_their_own() -> None:
    keys = [(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1)]
    assert len({draws_of(*key, name).random() for key in keys for name in NAMES}) == len(keys) * len(NAMES)
    # Other than the draws of short side and flip.
    assert draws_of(1, 2, 3, "mosaic").random() != np.random.default_rng([1, 2, 3]).random()


@pytest.mark.parametrize("name", NAMES)
def test_the_same_key_gives_the_same_sample_whatever_torch_draws(name: str) -> None:
    item = labeled_image((48, 64), [(5, 5, 40, 30)], masks=True)
    other = labeled_image((48, 64), [(20, 10, 60, 44)], masks=True, first_label=1)
    results = []
    for state in (0, 1):
        torch.manual_seed(state)
        np.random.seed(state)
        results.append(applied(item, other, key=(7, 8, 9), **ALONE[name]))
    assert torch.equal(results[0].image, results[1].image) and torch.equal(results[0].boxes, results[1].boxes)
    others = [applied(item, other, key=(7, epoch, 9), **ALONE[name]) for epoch in range(20)]
    assert any(not torch.equal(each.image, results[0].image) for each in others)


@pytest.mark.parametrize("name", GEOMETRIC)
@pytest.mark.parametrize("seed", range(15))
def test_boxes_stay_on_their_objects(name: str, seed: int) -> None:
    item = labeled_image((96, 128), [(4, 6, 60, 50), (70, 10, 120, 40), (20, 60, 90, 92)])
    result = GEOMETRIC[name](item, np.random.default_rng(seed))
    for label, box in zip(result.labels.tolist(), result.boxes, strict=True):
        # Pixels at edges are mixed, the more so the more an image is enlarged.
        scale = float((box[2] - box[0]).clamp(min=1) / 50)
        torch.testing.assert_close(object_extent(result, label), box, rtol=0, atol=1.0 + 2 * scale)


def test_boxes_cut_off_a_window_are_gone_in_pixels() -> None:
    item = labeled_image((96, 128), [(2, 2, 42, 30), (90, 66, 126, 94)])
    gone = 0
    for seed in range(20):
        result = random_crop(item, 0.3, np.random.default_rng(seed), min_visible=0.0)
        for label in {0, 1} - set(result.labels.tolist()):
            gone += 1
            color = torch.tensor(OBJECT_COLORS[label]).view(3, 1, 1)
            assert ((result.image.int() - color).abs().sum(dim=0) > 60).all()
    assert gone > 3


@pytest.mark.parametrize("seed", range(10))
def test_a_random_crop_holds_the_center_of_a_box(seed: int) -> None:
    item = labeled_image((96, 128), [(1, 1, 5, 5), (124, 92, 127, 95)])
    assert len(random_crop(item, 0.2, np.random.default_rng(seed), 0.0).boxes) >= 1


@pytest.mark.parametrize("seed", range(10))
def test_an_iou_crop_keeps_boxes_with_their_center_inside(seed: int) -> None:
    item = labeled_image((96, 128), [(4, 6, 60, 50), (70, 10, 120, 40), (20, 60, 90, 92)])
    result = iou_crop(item, 1.0, np.random.default_rng(seed), min_visible=0.0)
    assert 1 <= len(result.boxes) <= 3
    assert iou_crop(labeled_image((96, 128)), 1.0, np.random.default_rng(seed), 0.0).image.shape == (3, 96, 128)


def test_zoom_out_shrinks_by_up_to_four_onto_the_fill() -> None:
    item = labeled_image((96, 128), [(0, 0, 128, 96)])
    factors = []
    for seed in range(200):
        result = zoom_out(item, 1.0, np.random.default_rng(seed))
        x1, _, x2, _ = result.boxes[0].tolist()
        factors.append(128 / (x2 - x1))
        if x1 > 1:
            assert result.image[:, 0, 0].tolist() == list(FILL)
    assert 1 <= min(factors) < 1.1 and 3.8 < max(factors) < 4.1
    assert np.mean(factors) == pytest.approx(2.5, abs=0.2)


def test_scale_jitter_pads_below_one_and_crops_above() -> None:
    item = labeled_image((96, 128), [(32, 24, 64, 48)])
    half = scale_jitter(item, (0.5, 0.5), np.random.default_rng(0), 0.1)
    assert half.boxes.tolist() == [[16, 12, 32, 24]] and half.image[:, -1, -1].tolist() == list(FILL)
    sides = set()
    for seed in range(10):
        double = scale_jitter(item, (2.0, 2.0), np.random.default_rng(seed), 0.9)
        assert FILL not in {tuple(pixel) for pixel in double.image.flatten(1).T.tolist()}
        sides |= {(box[2] - box[0], box[3] - box[1]) for box in double.boxes.tolist()}
    assert (64.0, 48.0) in sides


def test_distortions_change_colors_within_their_ranges() -> None:
    gray = LabeledImage(
        torch.full((3, 8, 8), 100, dtype=torch.uint8), torch.zeros(0, 4), torch.zeros(0, dtype=torch.long)
    )
    # Of an even gray only the brightness changes.
    levels = [int(photometric(gray, 1.0, np.random.default_rng(seed)).image[0, 0, 0]) for seed in range(200)]
    assert 86 <= min(levels) <= 90 and 110 <= max(levels) <= 113
    colored = labeled_image((8, 8), [(0, 0, 4, 8)])
    unchanged = [
        torch.equal(photometric(colored, 0.5, np.random.default_rng(seed)).image, colored.image) for seed in range(200)
    ]
    # None of four with a probability of one half each: a sixteenth.
    assert 4 <= sum(unchanged) <= 24


@pytest.mark.parametrize("name", NAMES)
def test_images_without_boxes_are_augmented(name: str) -> None:
    empty = labeled_image((30, 40), masks=True)
    result = applied(empty, empty, **ALONE[name])
    assert result.boxes.shape == (0, 4) and result.size == (30, 40)
    assert tuple(empty.image[:, 0, 0].tolist()) == BACKGROUND
