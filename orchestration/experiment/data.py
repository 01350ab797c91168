"""Preparation of data sets, once, in the driver, before anything else starts."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from rich.console import Console
from rich.progress import Progress

from fcos.config.choices import Split
from fcos.config.run import Config
from fcos.coverage.split import read_split
from fcos.data.batching import check_batch
from fcos.data.prepare import PreparedData, prepare, sample_sizes, splits_with_masks
from fcos.data.shared_memory import check_shared_memory
from fcos.evaluation.class_keys import class_keys, keys_without_ground_truth
from fcos.training.batch_norms import check_batch_norms, settings_of_norms


class SplitCounts(NamedTuple):
    """Sizes of a split as it is used; boxes as annotated, and how many of them are ignored as crowds."""

    split: Split
    num_images: int
    num_boxes: int
    num_crowd_boxes: int


class DatasetInfo(NamedTuple):
    """Information about a prepared data set."""

    digest: str
    # Notes such as on dropped boxes.
    notes: tuple[str, ...] = ()
    # The metric key of each class; None where no detector is evaluated on the data.
    class_keys: tuple[str, ...] | None = None
    # Metric keys without a value, as the validation images have no box for them.
    metrics_without_truth: frozenset[str] = frozenset()
    # None where no detector is trained on the data.
    classes: tuple[str, ...] | None = None
    # Of a training alone.
    splits: tuple[SplitCounts, ...] = ()
    # Shared memory of this machine that the loader processes of one training need; 0 for trainings elsewhere.
    loader_bytes: int = 0


# Prepares a config's data and returns their info, of which the digest and the notes are required.
PrepareData = Callable[[Config], DatasetInfo | tuple[str, tuple[str, ...]]]


def prepare_data(config: Config, console: Console, workers: int, *, local: bool = True) -> DatasetInfo:
    """Generate or check the data of a config; return their info.

    Raises ConfigError naming the file and the rule for data that cannot be used, for a batch size that does not suit
    them or the norms, and for `local` trainings (on this machine) also for shared memory too small for the loaders.
    """
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bars:
        tasks = {}

        def show(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = bars.add_task(what, total=total)
                if not console.is_terminal:
                    console.print(f"{what} ..." if total == 1 else f"{what} ({total}) ...", highlight=False)
            bars.update(tasks[what], completed=done, total=total)

        if config.task == "coverage":
            split = read_split(config, show)
            return DatasetInfo(split.digest, split.annotations.notes)
        assignment = config.model.assignment
        postprocess, augmentation = config.model.postprocess, config.data.augmentation
        masks = splits_with_masks(assignment, [postprocess], training=True, augmentation=augmentation)
        ready = prepare(config.data, box_convention=assignment.corners, masks=masks, progress=show)
    loader_bytes = _check_training(config, ready, workers, local=local)
    val = ready.val.annotations
    return DatasetInfo(
        ready.digest,
        ready.notes,
        class_keys(val),
        keys_without_ground_truth(val),
        ready.classes,
        _counts(ready),
        loader_bytes,
    )


def _counts(data: "PreparedData") -> tuple[SplitCounts, ...]:
    of_splits = [(name, split.annotations) for name, split in data.splits.items()]
    return tuple(SplitCounts(name, len(each), len(each.labels), int(each.crowd.sum())) for name, each in of_splits)


def _check_training(config: Config, data: PreparedData, workers: int, *, local: bool) -> int:
    """Return the shared memory of this machine that a training needs, in bytes.

    Raises ConfigError for a batch size that does not suit the data or the norms, or shared memory too small.
    """
    schedule = config.schedule
    check_batch(schedule.batch_size, schedule.accumulate, workers, len(data.train.annotations))
    check_batch_norms(config, sample_sizes(data, "train", config.data), workers=workers)
    if not local:
        return 0
    sizes = [sample_sizes(data, name, config.data) for name in data.splits]
    images = schedule.batch_size // schedule.accumulate // workers
    return check_shared_memory(sizes, config.data, images=images, divisor=config.model.size_divisor, workers=workers)


@dataclass
class PreparedDatasets:
    """Cache of prepared data sets: configs with the same data share one preparation."""

    prepare_data: PrepareData
    _cache: dict[str, DatasetInfo] = field(default_factory=dict)

    def of(self, config: Config) -> str:
        """Return the digest of a config's data."""
        return self.info(config).digest

    def info(self, config: Config) -> DatasetInfo:
        """Return the info about a config's data; prepare them at the first call."""
        key = json.dumps(_preparing_settings(config))
        if key not in self._cache:
            self._cache[key] = DatasetInfo(*self.prepare_data(config))
        return self._cache[key]

    def find(self, digest: str) -> DatasetInfo | None:
        """Return the info about prepared data by their digest; None where none have it."""
        return next((info for info in self._cache.values() if info.digest == digest), None)

    @property
    def notes(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(note for info in self._cache.values() for note in info.notes))

    @property
    def most_loader_bytes(self) -> int:
        """The shared memory of this machine that the largest of the known trainings needs."""
        return max((info.loader_bytes for info in self._cache.values()), default=0)


def _preparing_settings(config: Config) -> list[object]:
    """Return the settings that `prepare_data` uses; configs that agree in them share the preparation."""
    model, assignment = config.model, config.model.assignment
    data = config.data.model_dump(mode="json", exclude={"augmentation"})
    settings: list[object] = [data, assignment.corners, assignment.by_masks]
    if config.task == "coverage":
        return [*settings, config.coverage.split]
    return [
        *settings,
        assignment.by_masks and model.postprocess.needs_ground_truth,
        config.data.augmentation.copy_paste > 0,
        config.schedule.batch_size,
        config.schedule.accumulate,
        model.size_divisor,
        settings_of_norms(config),
    ]
