"""Augmented samples of a data set: the same in every process, with and without a cache, in both box conventions."""

import itertools
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from fcos.config.augmentation import AugmentationConfig
from fcos.config.choices import BoxConvention, Split
from fcos.config.run import DataConfig, SyntheticConfig
from fcos.data.batching import Batching, WorkerShare
from fcos.data.coco import CocoDataset, make_dataset
from fcos.data.loader import train_batches
from fcos.data.prepare import prepare
from fcos.data.sample_settings import SampleSettings
from fcos.errors import DataError
from tests.helpers.data.coco_folders import coco, write_split
from tests.helpers.present import present

TRAIN: tuple[Split, ...] = ("train",)
ALL = AugmentationConfig(
    mosaic=0.3, copy_paste=0.3, mixup=0.3, photometric=0.5, zoom_out=0.3, iou_crop=0.5, random_crop=0.7,
    scale_jitter=(0.5, 1.5),
)  # fmt: skip


def dataset_of(
    cache: Path,
    *,
    convention: BoxConvention = "plain",
    with_masks: Collection[Split] = TRAIN,
    keep_masks: bool = True,
    **changes: Any,
) -> CocoDataset:
    synthetic = SyntheticConfig(image_size=64, train_images=9, val_images=3, object_size=(10, 40))
    values = {"name": "synthetic", "synthetic": synthetic, "cache_dir": str(cache), "augmentation": ALL}
    config = DataConfig(**values | changes)
    prepared = prepare(config, box_convention=convention, masks=with_masks)
    return make_dataset(prepared, "train", config, training=True, seed=3, masks=keep_masks)


@pytest.mark.parametrize("convention", ["plain", "inclusive"])
def test_augmented_samples_have_the_planned_size_and_boxes_inside(tmp_path: Path, convention: BoxConvention) -> None:
    dataset = dataset_of(tmp_path, convention=convention, short_sides=(48, 64), long_side=96)
    last_pixel = 1 if convention == "inclusive" else 0
    for key in itertools.product(range(4), range(9)):
        sample = dataset[key]
        assert sample.size == tuple(sample.image.shape[1:]) == dataset.input_size(key)
        ends = torch.tensor([sample.size[1], sample.size[0]]) - last_pixel
        assert (sample.boxes[:, :2] >= 0).all() and (sample.boxes[:, 2:] <= ends + 1e-4).all()
        assert (sample.boxes[:, 2:] > sample.boxes[:, :2]).all()
        assert len(sample.boxes) == len(sample.labels) == len(present(sample.masks))


def test_both_conventions_mean_the_same_objects(tmp_path: Path) -> None:
    changes: dict[str, Any] = {"augmentation": AugmentationConfig(mosaic=1.0, scale_jitter=(0.5, 1.5)), "flip": 0.5}
    plain = dataset_of(tmp_path, convention="plain", **changes)
    inclusive = dataset_of(tmp_path, convention="inclusive", **changes)
    for key in itertools.product(range(2), range(9)):
        first, second = plain[key], inclusive[key]
        assert torch.equal(first.image, second.image)
        torch.testing.assert_close(first.boxes, second.boxes + torch.tensor([0.0, 0.0, 1.0, 1.0]))


def test_a_cache_of_decoded_images_changes_no_sample(tmp_path: Path) -> None:
    resized: dict[str, Any] = {"short_sides": (48,), "long_side": 96}
    cached, read = dataset_of(tmp_path, **resized), dataset_of(tmp_path, cache_gb=0, **resized)
    assert cached.decoded is not None and read.decoded is None
    for key in itertools.product(range(3), range(9)):
        assert torch.equal(cached[key].image, read[key].image)
        assert torch.equal(cached[key].boxes, read[key].boxes)


def test_batches_do_not_depend_on_loader_processes(tmp_path: Path) -> None:
    dataset = dataset_of(tmp_path)
    alone, shared = (
        train_batches(
            dataset, Batching(4, 32), WorkerShare(), seed=3, start_step=0, num_workers=num_workers, pin_memory=False
        )
        for num_workers in (0, 2)
    )
    for (first,), (second,) in itertools.islice(zip(alone, shared, strict=False), 6):
        assert first.names == second.names
        assert torch.equal(first.pixels, second.pixels)
        assert torch.equal(first.targets.boxes, second.targets.boxes)
        assert torch.equal(present(first.targets.masks), present(second.targets.masks))


def test_samples_do_not_depend_on_their_order(tmp_path: Path) -> None:
    dataset = dataset_of(tmp_path)
    keys = [(epoch, index) for epoch in range(2) for index in range(9)]
    forwards = {key: dataset[key] for key in keys}
    for key in reversed(keys):
        assert torch.equal(dataset[key].image, forwards[key].image)


def test_masks_for_pasting_alone_are_not_in_the_sample(tmp_path: Path) -> None:
    pasting: dict[str, Any] = {"augmentation": AugmentationConfig(copy_paste=1.0)}
    dataset, kept = dataset_of(tmp_path, keep_masks=False, **pasting), dataset_of(tmp_path, **pasting)
    assert dataset[0, 0].masks is None and kept[0, 0].masks is not None
    assert torch.equal(dataset[0, 0].image, kept[0, 0].image)


def test_evaluation_is_never_augmented(tmp_path: Path) -> None:
    dataset = dataset_of(tmp_path)
    dataset.training = False
    plain = CocoDataset(dataset.annotations, dataset.folder, SampleSettings(), training=False, seed=0)
    for index in range(9):
        assert torch.equal(dataset[0, index].image, plain[0, index].image)


def test_the_flip_draws_as_it_does_without_augmentations(tmp_path: Path) -> None:
    dataset = dataset_of(tmp_path, with_masks=(), augmentation=AugmentationConfig(), flip=0.5)
    distorted = dataset_of(tmp_path, with_masks=(), augmentation=AugmentationConfig(photometric=1.0), flip=0.5)
    for key in itertools.product(range(3), range(9)):
        assert torch.equal(dataset[key].boxes, distorted[key].boxes)


def test_pasting_without_masks_is_refused_with_its_setting(tmp_path: Path) -> None:
    write_split(tmp_path / "data", "train", 3, {2: "cat"})
    write_split(tmp_path / "data", "val", 3, {2: "cat"})
    config = coco(tmp_path / "data", augmentation=AugmentationConfig(copy_paste=0.5))
    with pytest.raises(DataError, match=r"none of the 3 boxes .*data\.augmentation\.copy_paste"):
        prepare(config, masks=TRAIN)


def test_a_data_set_of_one_image_combines_it_with_itself(tmp_path: Path) -> None:
    dataset = dataset_of(tmp_path, limit_train=1, augmentation=AugmentationConfig(mosaic=1.0, mixup=1.0))
    settings = replace(dataset.settings, augmentation=AugmentationConfig())
    plain = CocoDataset(dataset.annotations, dataset.folder, settings, training=True, seed=3)
    assert len(dataset[0, 0].boxes) >= len(plain[0, 0].boxes)
