"""How much shared memory loader processes need, and what happens where it is not available."""

import logging
import os
import resource
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from fcos.config.parse import parse
from fcos.config.run import Config, DataConfig, SyntheticConfig
from fcos.data import shared_memory
from fcos.data.batching import Batching, WorkerShare, canvas_size
from fcos.data.coco import CocoDataset, Sample, make_dataset
from fcos.data.loader import train_batches
from fcos.data.prepare import prepare
from fcos.data.sample_settings import SampleSettings, SampleSizes
from fcos.data.shared_memory import PREFETCHED, check_shared_memory, largest_padded, loader_bytes, max_loader_bytes
from fcos.errors import ConfigError, SharedMemoryError
from fcos.runtime import LocalRuntime
from fcos.structures import Batch
from fcos.training_run import run
from orchestration.trial.failures import is_retryable


def config_of(cache: Path, **changes: object) -> DataConfig:
    synthetic = SyntheticConfig(image_size=64, train_images=9, val_images=3, object_size=(10, 40))
    return DataConfig(
        **{"name": "synthetic", "synthetic": synthetic, "cache_dir": str(cache), "num_workers": 1} | changes
    )


@pytest.fixture
def dataset(tmp_path: Path) -> CocoDataset:
    config = config_of(tmp_path)
    return make_dataset(prepare(config), "train", config, training=True, seed=0)


def batches_of(dataset: CocoDataset) -> Iterator[list[Batch]]:
    return train_batches(dataset, Batching(2, 32), WorkerShare(), seed=0, start_step=0, num_workers=1, pin_memory=False)


def test_loader_bytes_cover_all_prefetched_batches(dataset: CocoDataset, tmp_path: Path) -> None:
    config = config_of(tmp_path, num_workers=3)
    assert loader_bytes(dataset.sample_sizes, config, images=4, divisor=48) == PREFETCHED * 3 * 4 * 3 * 96 * 96
    val = make_dataset(prepare(config), "val", config, training=False, seed=0)
    # Three images make two batches of two, however many processes there are.
    assert loader_bytes(val.sample_sizes, config, images=2, divisor=32) == 2 * 2 * 3 * 64 * 64


def test_the_batches_of_an_evaluation_are_counted_by_orientation(tmp_path: Path) -> None:
    images = np.array([[64, 64], [32, 64], [64, 32]])
    sizes = SampleSizes(images, SampleSettings(), training=False)
    # Three images of one orientation would make one batch.
    assert loader_bytes(sizes, config_of(tmp_path), images=3, divisor=32) == 2 * 3 * 3 * 64 * 64


@pytest.mark.parametrize("by_aspect", [True, False])
def test_no_batch_exceeds_the_largest_padded_size(dataset: CocoDataset, by_aspect: bool) -> None:
    sizes = torch.tensor([[30, 90], [100, 40], [64, 64]]).repeat(3, 1).numpy()
    object.__setattr__(dataset.annotations, "sizes", sizes)
    dataset.settings = replace(dataset.settings, short_sides=(32, 48), long_side=120)
    largest = largest_padded(dataset.sample_sizes, 32, by_aspect=by_aspect)
    assert largest == ((128, 64) if by_aspect else (128, 128))
    for epoch in range(20):
        inputs = [dataset.input_size((epoch, index)) for index in range(9)]
        groups = (
            [[s for s in inputs if (s[0] > s[1]) is is_portrait] for is_portrait in (True, False)]
            if by_aspect
            else [inputs]
        )
        for group in groups:
            height, width = canvas_size(group, 32)
            assert height * width <= largest[0] * largest[1]


def test_too_little_shared_memory_is_refused_with_a_way_out(
    dataset: CocoDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = config_of(tmp_path, num_workers=2)
    needed = loader_bytes(dataset.sample_sizes, config, images=4, divisor=32)
    monkeypatch.setattr(shared_memory, "free_bytes", lambda: 2 * needed - 1)
    check_shared_memory([dataset.sample_sizes], config, images=4, divisor=32)
    with pytest.raises(ConfigError, match=r"data\.num_workers=2: .* 2 workers .*--shm-size=1024m"):
        check_shared_memory([dataset.sample_sizes], config, images=4, divisor=32, workers=2)
    with pytest.raises(ConfigError, match=r"0\.2 MiB of it, where 0\.0 MiB are free"):
        monkeypatch.setattr(shared_memory, "free_bytes", lambda: 10)
        check_shared_memory([dataset.sample_sizes], config, images=4, divisor=32)
    check_shared_memory([dataset.sample_sizes], config_of(tmp_path, num_workers=0), images=4, divisor=32)
    monkeypatch.setattr(shared_memory, "free_bytes", lambda: None)
    check_shared_memory([dataset.sample_sizes], config, images=4, divisor=32)


def test_a_training_is_refused_before_its_first_step(tiny_values, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(shared_memory, "free_bytes", lambda: 10)
    tiny_values["data"]["num_workers"] = 1
    reports: list[object] = []
    with pytest.raises(ConfigError, match=r"data\.num_workers=1"):
        run(parse(Config, tiny_values), LocalRuntime(tmp_path, torch.device("cpu"), reports.append))
    assert reports == []


def test_max_loader_bytes_follow_from_the_configured_sizes(tiny_values) -> None:
    tiny_values["data"]["num_workers"] = 2
    tiny_values["schedule"]["batch_size"] = 8
    config = parse(Config, tiny_values)
    assert max_loader_bytes(config, 1) == 2 * PREFETCHED * 2 * 8 * 3 * 64 * 64
    assert max_loader_bytes(config, 4) == 2 * PREFETCHED * 2 * 2 * 3 * 64 * 64
    resized = config.data.model_copy(update={"short_sides": (100,), "long_side": 200})
    assert max_loader_bytes(config.model_copy(update={"data": resized}), 8) == 2 * PREFETCHED * 2 * 3 * 128 * 224


def test_a_loader_process_without_space_fails_with_the_reason(dataset: CocoDataset) -> None:
    # A limit on file sizes simulates a full /dev/shm; loader processes inherit it.
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8192, hard))
    try:
        batches = batches_of(dataset)
        with pytest.raises(SharedMemoryError, match=r"data\.num_workers: /dev/shm has no room .*--shm-size") as caught:
            next(batches)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert is_retryable(caught.value)


def test_locks_without_space_are_not_a_full_disk(dataset: CocoDataset, monkeypatch: pytest.MonkeyPatch) -> None:
    from orchestration.trial.failures import is_no_space

    def refuse(self: object) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr("fcos.data.loader.DataLoader.__iter__", refuse)
    with pytest.raises(SharedMemoryError, match="no room for the locks") as caught:
        next(batches_of(dataset))
    assert not is_no_space(caught.value)


def test_batches_of_loader_processes_are_in_shared_memory(dataset: CocoDataset) -> None:
    (batch,) = next(batches_of(dataset))
    assert batch.pixels.is_shared() and batch.pixels.is_contiguous(memory_format=torch.channels_last)


class PrintingDataset(CocoDataset):
    """Prints to both streams while loading, from Python and from below."""

    def __getitem__(self, key: tuple[int, int]) -> Sample:
        print("printed by Python", file=sys.stderr)
        os.write(1, b"printed by a library\n")
        return super().__getitem__(key)


def test_output_of_loader_processes_is_in_the_log(dataset: CocoDataset, tmp_path: Path) -> None:
    handler = logging.FileHandler(tmp_path / "log.txt")
    logging.getLogger().addHandler(handler)
    try:
        dataset.__class__ = PrintingDataset
        next(batches_of(dataset))
    finally:
        logging.getLogger().removeHandler(handler)
        handler.close()
    text = (tmp_path / "log.txt").read_text()
    assert "printed by Python" in text and "printed by a library" in text
