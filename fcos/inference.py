"""Trained detectors: load them, evaluate them on a data set."""

import logging
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol, runtime_checkable

import torch

from fcos.assignment.build import build_locate
from fcos.build import build_detector, build_oracle_targets
from fcos.config.choices import Split
from fcos.config.parse import parse, set_value
from fcos.config.run import Config
from fcos.data.coco import make_dataset
from fcos.data.loader import eval_batches
from fcos.data.prepare import PreparedData, prepare, sample_sizes, splits_with_masks
from fcos.data.shared_memory import check_shared_memory
from fcos.evaluation.detect import Inference, detect_batch, validate
from fcos.model.detector import FCOS
from fcos.postprocess.decode import Postprocess
from fcos.storage.checkpoint_folder import CheckpointError
from fcos.structures import Batch, Detections
from fcos.weights.find import find_checkpoint

_log = logging.getLogger(__name__)
VALIDATION: Final[tuple[Split, ...]] = ("val",)
# The key whose change takes another average of a checkpoint.
AVERAGE: Final = "schedule.ema"


@runtime_checkable
class Configured(Protocol):
    """A detector of any kind with its configuration and classes."""

    @property
    def config(self) -> Config: ...

    @property
    def classes(self) -> tuple[str, ...]: ...

    @property
    def device(self) -> torch.device: ...


@dataclass(frozen=True)
class Trained:
    """A trained detector on its device with its configuration and classes."""

    detector: FCOS
    config: Config
    classes: tuple[str, ...]
    step: int
    device: torch.device
    # Of its checkpoint or weights file; None where it was not loaded from one.
    path: Path | None = None


def load_trained(path: Path, device: torch.device, changes: Mapping[str, Any], published: str | None = None) -> Trained:
    """Load the weights to evaluate from a checkpoint, with some settings changed (dotted key -> value).

    They are the moving average of the configuration's schedule.ema, or of a changed one, null for the weights
    themselves. Raises CheckpointError, also for an average that is not there, and ConfigError for changes that the
    schema or the weights refuse.
    """
    loaded = find_checkpoint(path, published)
    config = with_changes(loaded.config, changes)
    weights = loaded.weights_of(config.schedule.ema) if AVERAGE in changes else loaded.weights
    try:
        detector = detector_with(weights, config, loaded.classes)
    except RuntimeError as error:
        raise CheckpointError(f"{loaded.path}: the weights do not fit the changed model: {error}") from None
    return Trained(detector.to(device).eval(), config, loaded.classes, loaded.step, device, loaded.path)


def detector_with(weights: Mapping[str, torch.Tensor], config: Config, classes: tuple[str, ...]) -> FCOS:
    """Return the detector of a configuration with these weights; raises RuntimeError where they do not fit."""
    # All weights are given, so none are downloaded.
    model_config = config.model.model_copy(
        update={"weights": None, "backbone": config.model.backbone.model_copy(update={"weights": None})}
    )
    detector = build_detector(model_config, len(classes), channels_last=config.schedule.channels_last)
    detector.load_state_dict(weights)
    return detector


def with_changes(config: dict[str, Any], changes: Mapping[str, Any]) -> Config:
    """Return a validated configuration with some dotted keys changed."""
    for key, value in changes.items():
        config = set_value(config, key, value)
    return parse(Config, config)


def evaluate(
    trained: Trained, *, batch_size: int, progress: Callable[[int, int], None] | None = None
) -> dict[str, float]:
    """Compute the metrics of the validation images of the configured data set.

    `progress` is called with the number of images done and their total. Raises CheckpointError where the classes are
    not the checkpoint's.
    """
    config = trained.config
    masks = splits_with_masks(config.model.assignment, [config.model.postprocess], training=False)
    data, batches = read_validation(trained, batch_size=batch_size, masks=masks)
    total = len(data.val.annotations)
    validation = validate(
        trained.detector,
        batches,
        data.val.annotations,
        Inference(
            {"": Postprocess(config.model.postprocess, config.model.assignment.corners)},
            build_locate(config.model),
            trained.device,
            config.schedule.precision,
            build_oracle_targets(config.model, [config.model.postprocess]),
        ),
        rank=0,
        progress=None if progress is None else lambda done: progress(done, total),
    )
    return validation.metrics[""]


def build_detect(trained: Trained) -> Callable[[Batch], list[Detections]]:
    """Return the function that detects on a batch, without what needs annotated boxes."""
    model = trained.config.model
    # Some analyses need annotated boxes too.
    postprocess = model.postprocess.model_copy(update={"analyses": (), "oracle": "none"})
    inference = Inference(
        {"": Postprocess(postprocess, model.assignment.corners)},
        build_locate(model),
        trained.device,
        trained.config.schedule.precision,
    )
    detector = trained.detector.eval()
    return lambda batch: detect_batch(detector, batch, inference)[""]


def read_validation(
    trained: Configured, *, batch_size: int, masks: Collection[Split] = (), splits: Collection[Split] = VALIDATION
) -> tuple[PreparedData, Iterator[Batch]]:
    """Prepare the requested splits of the configured data, and yield batches of its validation images.

    Categories are matched with the checkpoint's classes by name. Raises CheckpointError where those of the data are
    others, and ConfigError where shared memory cannot hold the batches of loader processes.
    """
    config = trained.config
    data = prepare(
        config.data,
        box_convention=config.model.assignment.corners,
        masks=masks,
        splits=splits,
        classes=trained.classes,
    )
    for note in data.notes:
        _log.warning("%s", note)
    check_classes(data, trained.classes)
    seed = config.resolved_seeds.augmentation
    sizes = [sample_sizes(data, split, config.data) for split in data.splits]
    check_shared_memory(sizes, config.data, images=batch_size, divisor=config.model.size_divisor)
    batches = eval_batches(
        make_dataset(data, "val", config.data, training=False, seed=seed),
        batch_size=batch_size,
        rank=0,
        world_size=1,
        size_divisor=config.model.size_divisor,
        num_workers=config.data.num_workers,
        pin_memory=trained.device.type == "cuda",
    )
    return data, batches


def check_classes(data: PreparedData, classes: tuple[str, ...]) -> None:
    """Raise CheckpointError where the classes of the data are not those of the checkpoint."""
    if data.classes != classes:
        raise CheckpointError(f"the data set's classes are {list(data.classes)}, the checkpoint's {list(classes)}")
