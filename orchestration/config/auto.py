"""data=auto: find out what a folder holds, go on as data=coco, and choose what follows from it and is not given."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from pydantic import Field

from fcos.annotations.annotations import Annotations, read_annotations, require_boxes
from fcos.config.base import Section
from fcos.config.choices import SPLITS, Crowds, ExifOrientation
from fcos.config.model import ModelConfig
from fcos.config.parse import parse, set_value
from fcos.config.run import CoverageConfig
from fcos.data.bucket_source import local_folder
from fcos.errors import ConfigError
from fcos.formats.as_coco import CocoFolder, FolderSettings, folder_as_coco
from fcos.formats.structures import SplitName
from fcos.storage.bucket.address import is_address
from fcos.storage.files import expanded, user_cache
from orchestration.config import folder_choices
from orchestration.config.choice import Choice
from orchestration.config.folder_choices import TimeBound
from orchestration.config.given import Given
from orchestration.config.groups import default_options
from orchestration.config.processors import usable_cpus
from orchestration.config.schema import AutoConfig, ClusterConfig
from orchestration.config.start import (
    DETECTOR,
    START,
    chosen_augmentation,
    detector_choice,
    named_weights,
    schedule_for_weights,
)

SectionT = TypeVar("SectionT", bound=Section)
Values = dict[str, Any]
# Composes the command line with further overrides, and returns plain values.
Compose = Callable[[list[str]], Values]


@dataclass(frozen=True)
class AutoConfigured:
    """Plain values of a config with data=coco, and what was found and chosen on the way."""

    values: Values
    choices: tuple[Choice, ...]
    # On what is left out of a folder whose own files are used.
    notes: tuple[str, ...]


class _Reading(Section):
    """Settings of data that decide which boxes there are to choose by, and the sizes of images."""

    crowds: Crowds = "ignore"
    exif_orientation: ExifOrientation = "ignore"
    limit_train: int | None = Field(None, ge=1)


def configure(values: Values, given: Given, compose: Compose) -> AutoConfigured:
    """Return the config of a command with data=auto.

    Settings that the command line, an experiment or its arms give are never chosen. The same folder and command give
    the same choices. Raises ConfigError and DataError for a folder that cannot be read or is ambiguous.
    """
    auto = _parsed(AutoConfig, "auto", values.get("auto"))
    cluster = _parsed(ClusterConfig, "cluster", values.get("cluster"))
    reading = _reading(values["data"])
    folder, cache = _folder(values["data"], auto, reading.exif_orientation)
    if folder.converted and cluster.address != "local" and values["data"].get("cache_dir") is None:
        raise ConfigError(
            f"data.root={values['data']['root']}: is {folder.format} and is converted into the cache folder, which the "
            "nodes of a cluster must share; give data.cache_dir=<folder on shared storage>, or convert it once with "
            "python -m fcos convert and give data=coco"
        )
    train = _annotations(folder, cache, reading)
    choices = [*_folder_choices(folder)]
    if values.get("task", "train") == "train":
        chosen = _groups(values, given)
        choices += chosen
        # What conf/config.yaml chooses anyway is composed already.
        defaults = {f"{group}={option}" for group, option in default_options().items()}
        words = [word for choice in chosen for word in choice.words if word not in defaults]
        values = _with_choices(compose(words) if words else values, chosen)
    values = {**values, "data": _as_coco(values["data"], folder)}
    settings = _settings(values, given, train, auto.minutes, cluster)
    # Those on a conversion lie beside its files, where whoever reads the data finds them.
    notes = () if folder.converted else folder.notes
    return AutoConfigured(_with_choices(values, settings), (*choices, *settings), notes)


def _with_choices(values: Values, choices: Iterable[Choice]) -> Values:
    """Return values with the settings of choices."""
    for choice in choices:
        for key, value in choice.values.items():
            values = set_value(values, key, value)
    return values


def _reading(data: Mapping[str, Any]) -> _Reading:
    return _parsed(_Reading, "data", {key: data[key] for key in _Reading.model_fields if key in data})


def _folder(data: Mapping[str, Any], auto: AutoConfig, exif_orientation: ExifOrientation) -> tuple[CocoFolder, Path]:
    root = data.get("root")
    if not root:
        raise ConfigError("data.root is missing: data=auto needs data.root=<folder of labelled images>")
    files: dict[SplitName, str] = {}
    for split in SPLITS:
        section = data.get(split) or {}
        if section.get("images") is not None:
            raise ConfigError(
                f"data.{split}.images={section['images']}: data=auto finds the images; give data=coco with it"
            )
        if section.get("annotations") is not None:
            files[split] = str(section["annotations"])
    cache = data.get("cache_dir")
    cache_folder = user_cache() if cache is None else expanded(cache, f"data.cache_dir={cache}").absolute()
    settings = FolderSettings(auto.format, auto.val_fraction, auto.split_seed, files, exif_orientation)
    return folder_as_coco(local_folder(str(root), cache_folder), settings, cache_folder), cache_folder


def _as_coco(data: Mapping[str, Any], folder: CocoFolder) -> Values:
    splits = {"train": folder.train.model_dump(), "val": folder.val.model_dump()}
    # Of a bucket's own files the address, by which each machine fetches them.
    kept = not folder.converted and is_address(str(data["root"]))
    return {**data, **splits, "name": "coco", "root": data["root"] if kept else folder.root}


def _annotations(folder: CocoFolder, cache: Path, reading: _Reading) -> Annotations:
    path = Path(folder.root) / folder.train.annotations
    annotations = read_annotations(path, cache=cache, crowds=reading.crowds)
    if reading.limit_train is not None and reading.limit_train < len(annotations):
        annotations = annotations.select(np.arange(reading.limit_train))
    require_boxes(annotations)
    return annotations


def _folder_choices(folder: CocoFolder) -> list[Choice]:
    return [
        Choice("format", {}, folder.found, (f"auto.format={folder.format}",)),
        Choice("splits", {}, folder.splits, folder.splits_by_hand),
    ]


def _groups(values: Values, given: Given) -> list[Choice]:
    """Choose model, schedule and augmentation; a model that is given keeps the schedule that it comes with.

    The weights of a detector choose its model, and any weights that the command names a schedule that keeps them.
    """
    reason = "images are seen several times, and it costs little where they are not"
    augmentation = chosen_augmentation(values, given, reason)
    if "model" in given.groups:
        return [*schedule_for_weights(values, given), *augmentation]
    model, reason = Choice("model", {}, START.reason, (f"model={START.model}",)), f"goes with model={START.model}"
    if named_weights(values, given) == DETECTOR:
        model, reason = detector_choice(values["model"]["weights"], given), "keeps the weights of the detector"
    schedule = Choice("schedule", {}, reason, (f"schedule={START.schedule}",))
    return [model, *(() if "schedule" in given.groups else (schedule,)), *augmentation]


def _settings(values: Values, given: Given, train: Annotations, minutes: float, cluster: ClusterConfig) -> list[Choice]:
    """Choose the settings below the groups; those that are given stay."""
    choices = []
    on_gpu = cluster.device != "cpu"
    data = values["data"]
    sides = None
    if not given.sets("data.short_sides", "data.long_side"):
        time = None if on_gpu else _time_bound(values["schedule"], given, len(train), minutes)
        size = folder_choices.input_size(train, on_gpu, time)
        choices.append(size)
        data = {**data, "short_sides": size.values["data.short_sides"], "long_side": size.values["data.long_side"]}
    if data.get("short_sides") and data.get("long_side"):
        sides = (max(data["short_sides"]), data["long_side"])
    model = _parsed(ModelConfig, "model", values["model"])
    fits = model.assignment.kind in ("fcos", "center") and model.assignment.level_rule == "longest_offset"
    # All levels that are tried begin alike, and the weights of a detector fit no other first level than its own.
    fits &= model.weights is None or model.levels[0] == folder_choices.LEVELS[0][0]
    if fits and not given.sets("model.levels", "model.assignment.ranges"):
        coverage = _parsed(CoverageConfig, "coverage", values.get("coverage"))
        own = folder_choices.LevelSettings(model.levels, model.assignment, coverage)
        choices.append(folder_choices.levels_and_ranges(train, sides, own))
    single = values.get("experiment") is None and cluster.address == "local" and not on_gpu
    if single and "cluster" not in given.groups and not given.sets("cluster.cpus_per_worker"):
        choices.append(folder_choices.processors(max(1, usable_cpus() // cluster.workers)))
    if values.get("task", "train") == "train" and "schedule" not in given.groups:
        bound = None if on_gpu else minutes
        choices += _schedule(values["schedule"], given, len(train), folder_choices.input_pixels(train, sides), bound)
    return choices


def _time_bound(schedule: Mapping[str, Any], given: Given, images: int, minutes: float) -> TimeBound | None:
    """Return what bounds the steps on a processor; None where steps or their schedule are given."""
    if "schedule" in given.groups or given.sets("schedule.steps"):
        return None
    batch = schedule["batch_size"]
    if not given.sets("schedule.batch_size"):
        batch = folder_choices.batch_size(images, batch).values["schedule.batch_size"]
    return TimeBound(START, images, batch, minutes)


def _schedule(
    schedule: Mapping[str, Any], given: Given, images: int, pixels: float, minutes: float | None
) -> list[Choice]:
    """Choose batch size, steps, and what goes with them."""
    choices = []
    batch, total = schedule["batch_size"], schedule["steps"]
    if not given.sets("schedule.batch_size"):
        choices.append(folder_choices.batch_size(images, batch))
        batch = choices[-1].values["schedule.batch_size"]
    if not given.sets("schedule.steps"):
        choices.append(folder_choices.steps(images, batch, pixels, START, minutes))
        total = choices[-1].values["schedule.steps"]
    between = folder_choices.intervals(total, schedule["warmup_steps"], given.keys)
    return choices if between is None else [*choices, between]


def _parsed(schema: type[SectionT], section: str, values: Any) -> SectionT:
    """Validate one section; its errors name the whole keys."""
    try:
        return parse(schema, values or {})
    except ConfigError as error:
        raise ConfigError("\n".join(f"{section}.{line}" for line in str(error).splitlines())) from None
