"""Batches of training and evaluation: order, padding, workers, resuming."""

import itertools
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from fcos.annotations.annotations import read_annotations
from fcos.data.batching import Batching, WorkerShare
from fcos.data.coco import CocoDataset
from fcos.data.loader import box_bucket, collate, eval_batches, train_batches
from fcos.data.sample_settings import SampleSettings
from fcos.data.sampler import TrainSampler, aspect_groups, eval_groups
from fcos.errors import ConfigError
from fcos.structures import Batch

NUM_IMAGES = 11
ALONE = WorkerShare()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write images of many sizes, three of them portrait; the first two have no boxes."""
    folder = tmp_path_factory.mktemp("coco")
    generator = np.random.default_rng(0)
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number in range(NUM_IMAGES):
        width, height = (40 + 3 * number, 30) if number % 4 else (30, 40 + number)
        pixels = generator.integers(0, 256, (height, width, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
        images.append({"id": 100 + number, "file_name": f"{number}.png", "width": width, "height": height})
        for _ in range(max(number - 1, 0)):
            x, y = generator.uniform(0, 15, 2)
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": 100 + number,
                    "category_id": 1,
                    "bbox": [x, y, 10.0, 12.0],
                }
            )
    content = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "thing"}]}
    (folder / "instances.json").write_text(json.dumps(content))
    return folder


def make_dataset(folder: Path, *, training: bool = True, **changes: Any) -> CocoDataset:
    settings = replace(SampleSettings(short_sides=(32, 48), long_side=120, flip=0.5), **changes)
    return CocoDataset(read_annotations(folder / "instances.json"), folder, settings, training=training, seed=5)


def train(
    dataset: CocoDataset,
    share: WorkerShare = ALONE,
    *,
    seed: int = 5,
    start_step: int = 0,
    num_workers: int = 0,
    **changes: Any,
) -> Iterator[list[Batch]]:
    batching = replace(Batching(batch_size=4, size_divisor=32), **changes)
    return train_batches(
        dataset, batching, share, seed=seed, start_step=start_step, num_workers=num_workers, pin_memory=False
    )


def evaluation(dataset: CocoDataset, **changes: Any) -> list[Batch]:
    options: dict[str, Any] = {
        "batch_size": 3,
        "rank": 0,
        "world_size": 1,
        "size_divisor": 32,
        "num_workers": 0,
        "pin_memory": False,
    }
    return list(eval_batches(dataset, **options | changes))


def concatenated(batches: list[Batch]) -> dict[str, Any]:
    """Concatenate batches, boxes without their padding."""
    return {
        "pixels": torch.cat([batch.pixels for batch in batches]),
        "sizes": torch.cat([batch.sizes for batch in batches]),
        "original_sizes": torch.cat([batch.original_sizes for batch in batches]),
        "boxes": [
            boxes[valid]
            for batch in batches
            for boxes, valid in zip(batch.targets.boxes, batch.targets.valid, strict=True)
        ],
        "image_ids": [image_id for batch in batches for image_id in batch.image_ids],
    }


@pytest.mark.parametrize("accumulate", [1, 2])
def test_two_workers_together_see_the_batches_of_one(folder: Path, accumulate: int) -> None:
    dataset = make_dataset(folder)
    single = train(dataset, accumulate=accumulate)
    workers = [train(dataset, WorkerShare(rank, 2), accumulate=accumulate) for rank in range(2)]
    for _ in range(6):
        expected, first, second = next(single), next(workers[0]), next(workers[1])
        assert len(expected) == len(first) == len(second) == accumulate
        for batch, *halves in zip(expected, first, second, strict=True):
            torch.testing.assert_close(concatenated(halves), concatenated([batch]))


@pytest.mark.parametrize("accumulate", [1, 2])
def test_fewer_workers_than_planned_split_batches_to_the_planned_size(folder: Path, accumulate: int) -> None:
    dataset = make_dataset(folder)
    full = train(dataset, accumulate=accumulate)
    single = train(dataset, WorkerShare(planned_size=2), accumulate=accumulate)
    for _ in range(6):
        expected, split = next(full), next(single)
        assert len(split) == 2 * accumulate
        assert {len(batch.image_ids) for batch in split} == {4 // accumulate // 2}
        for number, batch in enumerate(expected):
            torch.testing.assert_close(concatenated(split[2 * number : 2 * number + 2]), concatenated([batch]))


@pytest.mark.parametrize("num_workers", [0, 1])
def test_starting_at_a_step_equals_running_to_it(folder: Path, num_workers: int) -> None:
    dataset = make_dataset(folder)
    uninterrupted = [concatenated(batches) for batches in itertools.islice(train(dataset), 9)]
    resumed = train(dataset, start_step=6, num_workers=num_workers)
    for step in (6, 7, 8):
        torch.testing.assert_close(concatenated(next(resumed)), uninterrupted[step])


def test_loading_does_not_depend_on_global_random_state(folder: Path) -> None:
    dataset = make_dataset(folder)
    torch.manual_seed(0)
    first = concatenated(next(train(dataset)))
    torch.manual_seed(1)
    torch.testing.assert_close(concatenated(next(train(dataset))), first)


def test_seed_changes_the_order(folder: Path) -> None:
    dataset = make_dataset(folder)
    orders = [[batch.image_ids for (batch,) in itertools.islice(train(dataset, seed=seed), 5)] for seed in (5, 6)]
    assert orders[0] != orders[1]


@pytest.mark.parametrize("group_sizes", [(11,), (7, 4), (10, 1), (3, 3), (8, 0)])
@pytest.mark.parametrize("batch_size", [1, 3, 4, 6])
def test_every_image_is_seen_once_per_epoch_and_groups_never_mix(group_sizes: tuple[int, ...], batch_size: int) -> None:
    ends = np.cumsum(group_sizes)
    groups = [np.arange(end - size, end) for size, end in zip(group_sizes, ends, strict=True)]
    sampler = TrainSampler(groups, batch_size, seed=3)
    total, epochs = sum(group_sizes), 12
    steps = epochs * total // batch_size
    batches = [sampler.batch_keys(step) for step in range(steps)]
    for batch in batches:
        assert len(batch) == batch_size
        assert len({int(np.searchsorted(ends, index, side="right")) for _, index in batch}) == 1
    counts = Counter(key for batch in batches for key in batch)
    assert max(counts.values()) == 1, "a sample of an epoch came twice"
    # At most one incomplete batch per group is still outstanding; everything before has been returned.
    missing = [(epoch, index) for epoch in range(epochs) for index in range(total) if (epoch, index) not in counts]
    assert len(missing) < batch_size * len(groups) + batch_size
    fresh = TrainSampler(groups, batch_size, seed=3)
    assert [fresh.batch_keys(step) for step in reversed(range(steps))] == batches[::-1]


def test_portrait_and_landscape_are_grouped_only_if_configured(folder: Path) -> None:
    sizes = make_dataset(folder).annotations.sizes
    landscape, portrait = aspect_groups(sizes, True)
    assert portrait.tolist() == [0, 4, 8]
    assert sorted([*landscape, *portrait]) == list(range(NUM_IMAGES))
    assert [group.tolist() for group in aspect_groups(sizes, False)] == [list(range(NUM_IMAGES))]


def test_batch_is_padded_with_zeros_to_the_divisor_and_the_bucket(folder: Path) -> None:
    dataset = make_dataset(folder, flip=0.0, short_sides=None, long_side=None)
    batch = collate([dataset[0, 0], dataset[0, 10]], canvas=(64, 96))
    assert batch.pixels.shape == (2, 3, 64, 96)
    assert batch.sizes.tolist() == [[40, 30], [30, 70]]
    torch.testing.assert_close(batch.sizes, batch.original_sizes)
    assert batch.targets.boxes.shape == (2, 16, 4)
    assert batch.targets.valid.sum(dim=1).tolist() == [0, 9]
    assert batch.pixels[1, :, 30:].sum() == 0
    assert batch.pixels[1, :, :, 70:].sum() == 0
    pixels = torch.from_numpy(np.array(Image.open(folder / "10.png"))).permute(2, 0, 1)
    torch.testing.assert_close(batch.pixels[1, :, :30, :70], pixels)
    assert batch.names == ("0.png", "10.png")
    assert batch.image_ids == (100, 110)


def test_buckets_are_powers_of_two_from_eight() -> None:
    assert [box_bucket(count) for count in (0, 1, 8, 9, 16, 17, 100)] == [8, 8, 8, 16, 16, 32, 128]


@pytest.mark.parametrize(("by_aspect", "sides"), [(True, (32, 48)), (True, None), (False, (32, 48))])
def test_a_fixed_canvas_gives_few_shapes_that_hold_every_image(folder: Path, by_aspect: bool, sides) -> None:
    dataset = make_dataset(folder, short_sides=sides, long_side=None if sides is None else 120)
    batches = itertools.islice(train(dataset, group_by_aspect=by_aspect, fixed_canvas=True), 25)
    flat = [batch for step in batches for batch in step]
    shapes = {tuple(batch.pixels.shape[-2:]) for batch in flat}
    # Landscape and portrait, or both in one batch.
    assert len(shapes) == 2 if by_aspect else len(shapes) <= 3
    assert all((batch.sizes <= torch.tensor(batch.pixels.shape[-2:])).all() for batch in flat)
    assert {batch.targets.boxes.shape[1] for batch in flat} <= {8, 16}


def test_input_size_is_the_size_of_the_sample(folder: Path) -> None:
    dataset = make_dataset(folder)
    sizes = set()
    for key in itertools.product(range(4), range(NUM_IMAGES)):
        sample = dataset[key]
        assert dataset.input_size(key) == sample.size == tuple(sample.image.shape[1:])
        sizes.add(min(sample.size))
    assert sizes == {32, 48}


def test_evaluation_takes_the_largest_side_and_never_flips(folder: Path) -> None:
    dataset = make_dataset(folder, training=False, flip=1.0)
    flipped = make_dataset(folder, flip=1.0, short_sides=(48,))
    sample, other = dataset[0, 7], flipped[0, 7]
    assert min(sample.size) == 48
    torch.testing.assert_close(sample.image, other.image.flip(-1), atol=1, rtol=0)
    torch.testing.assert_close(sample.boxes[:, 0], sample.size[1] - other.boxes[:, 2])


@pytest.mark.parametrize("world_size", [1, 2, 3, 7])
def test_evaluation_sees_every_image_once_in_the_same_batches(folder: Path, world_size: int) -> None:
    dataset = make_dataset(folder, training=False)
    alone = {batch.image_ids: batch for batch in evaluation(dataset)}
    shared = [batch for rank in range(world_size) for batch in evaluation(dataset, rank=rank, world_size=world_size)]
    assert sorted(image_id for batch in shared for image_id in batch.image_ids) == list(range(100, 111))
    for batch in shared:
        torch.testing.assert_close(batch.pixels, alone[batch.image_ids].pixels)


def test_landscape_and_portrait_never_share_a_batch_of_evaluation(folder: Path) -> None:
    batches = evaluation(make_dataset(folder, training=False, short_sides=None, long_side=None))
    assert [len(batch.image_ids) for batch in batches] == [3, 3, 2, 3]
    for batch in batches:
        assert len({height > width for height, width in batch.original_sizes.tolist()}) == 1
    # Sorted by aspect ratio alone, the two thin ones would be on one canvas of 12000x12000.
    assert eval_groups(np.array([[12000, 1], [1, 12000], [40, 40]]), 8) == [[1, 2], [0]]


def test_batch_that_cannot_be_cut_is_an_error(folder: Path) -> None:
    with pytest.raises(ConfigError, match=r"schedule\.batch_size=4: must be divisible by .* 1 \* 3"):
        train(make_dataset(folder), WorkerShare(world_size=3))


def test_data_set_smaller_than_a_batch_is_an_error(folder: Path) -> None:
    with pytest.raises(ConfigError, match=r"schedule\.batch_size=12: .* only 11 images"):
        train(make_dataset(folder), batch_size=12)


def test_broken_image_names_its_file_through_a_loader_process(folder: Path, tmp_path: Path) -> None:
    dataset = make_dataset(folder)
    dataset.folder = tmp_path
    with pytest.raises(ConfigError, match=r"^[^\n]*\.png: no such image file$"):
        next(train(dataset, num_workers=1))
