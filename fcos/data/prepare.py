"""Prepare the configured data: read, render, check and decode them before a run starts."""

import hashlib
import json
import platform
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from fcos.annotations.annotations import Annotations, read_annotations, require_boxes
from fcos.annotations.categories import require_same_categories, with_classes
from fcos.annotations.conversion_notes import read_conversion_notes
from fcos.config.augmentation import AugmentationConfig
from fcos.config.choices import SPLITS, BoxConvention, Split
from fcos.config.model_parts import AssignmentConfig, PostprocessConfig
from fcos.config.run import DataConfig, SplitConfig
from fcos.data.bucket_source import fetch_splits, is_in_bucket
from fcos.data.sample_settings import SampleSettings, SampleSizes
from fcos.data.synthetic import synthetic_folder
from fcos.errors import DataChanged, DataError
from fcos.images.duplicates import duplicate_notes
from fcos.images.image_files import FileStat, ImageFiles
from fcos.images.image_names import locate_images
from fcos.images.open_image import ImageRules
from fcos.images.resized_size import resized_size
from fcos.images.usable_images import PreparedSplit, decode_or_check
from fcos.storage.files import expanded, user_cache
from fcos.storage.reading import ProgressCallback, file_stat, is_folder


@dataclass(frozen=True)
class PreparedData:
    """The requested splits, checked.

    `digest` covers their annotations, image names and image sizes on disk; the order of `classes` gives the labels.
    `notes` are messages about what is left out, ignored or changed, and about what is doubtful.
    """

    splits: Mapping[Split, PreparedSplit]
    classes: tuple[str, ...]
    box_convention: BoxConvention
    digest: str
    notes: tuple[str, ...]

    @property
    def train(self) -> PreparedSplit:
        return self.splits["train"]

    @property
    def val(self) -> PreparedSplit:
        return self.splits["val"]


def splits_with_masks(
    assignment: AssignmentConfig,
    settings: Iterable[PostprocessConfig],
    *,
    training: bool,
    augmentation: AugmentationConfig | None = None,
) -> tuple[Split, ...]:
    """Return the splits whose masks are used.

    Those of train are used for training, by an assignment or by pasting objects; those of val where a post-processing
    needs ground truth of locations.
    """
    pastes = augmentation is not None and augmentation.copy_paste > 0
    needed: dict[Split, bool] = {
        "train": training and (assignment.by_masks or pastes),
        "val": assignment.by_masks and any(setting.needs_ground_truth for setting in settings),
    }
    return tuple(split for split, is_needed in needed.items() if is_needed)


def prepare(
    config: DataConfig,
    *,
    box_convention: BoxConvention = "plain",
    masks: Collection[Split] = (),
    splits: Collection[Split] = SPLITS,
    classes: Sequence[str] | None = None,
    progress: ProgressCallback | None = None,
) -> PreparedData:
    """Read the data, rendering synthetic ones first, and check that every image in use opens.

    Only the requested `splits` of a data set on disk are read; from a bucket they are fetched into the cache folder.
    Labels follow `classes`, or else those of the first split; categories are matched by name, and data of other names
    than `classes` keep their own. Images are decoded into the cache folder, until the size or time of a file changes;
    where they do not fit, only the result of the check is cached. `masks` names the splits whose masks are read too.

    Raises DataError naming file and rule; with on_bad_image=skip, images that do not open are left out and noted.
    Raises ReadError for what cannot be read for now, which is never left out.
    """
    cache = cache_folder(config)
    names = [name for name in SPLITS if name in splits]
    root, locations = split_locations(config, cache, progress, names)
    read = {name: _read_split(root, locations[name], box_convention, config, name, cache) for name in names}
    read = _with_same_classes(read, classes)
    for name in masks:
        annotations = read_masks(read[name].annotations, config, box_convention, progress)
        read[name] = replace(read[name], annotations=annotations)
    for split in read.values():
        require_boxes(split.annotations)
    checked = {name: _check_images(split, name, config, box_convention, progress) for name, split in read.items()}
    notes = [*read_conversion_notes(split.annotations.path for split in read.values())]
    notes += [note for split in read.values() for note in split.annotations.notes]
    notes += [note for each in checked.values() for note in each.notes]
    if config.name == "coco":
        notes += _duplicates({name: each.files for name, each in checked.items()}, cache, progress)
    for each in checked.values():
        # Once more, as those with boxes may have been left out.
        require_boxes(each.split.annotations)
    usable = {name: each.split for name, each in checked.items()}
    digest = hashlib.sha256("".join(each.identity for each in checked.values()).encode()).hexdigest()
    return PreparedData(usable, usable[names[0]].annotations.classes, box_convention, digest, tuple(notes))


def _with_same_classes(
    read: Mapping[Split, PreparedSplit], classes: Sequence[str] | None
) -> dict[Split, PreparedSplit]:
    """Return the splits with labels by `classes`, or by those of the first split; see `prepare`."""
    first = next(iter(read.values())).annotations
    labelled = with_classes(first, first.classes if classes is None else classes)
    for split in read.values():
        require_same_categories(first, split.annotations)
    return {
        name: replace(split, annotations=with_classes(split.annotations, labelled.classes))
        for name, split in read.items()
    }


@dataclass(frozen=True)
class _Checked:
    """A split of images that open, what makes it the same data, and what was noted on the way."""

    split: PreparedSplit
    # Of annotations, image names and sizes on disk, as they were before images were left out.
    identity: str
    # Folder and files of the images in use.
    files: tuple[Path, list[FileStat]]
    notes: list[str]


def _check_images(
    split: PreparedSplit,
    name: Split,
    config: DataConfig,
    box_convention: BoxConvention,
    progress: ProgressCallback | None,
) -> _Checked:
    """Find the images of a split, and decode or check them; raises as `prepare` does."""
    located = locate_images(split.folder, split.annotations.names)
    split = replace(split, annotations=replace(split.annotations, names=located.names))
    files = _image_files(split, located.stats, config, box_convention, always_one_size=name == "val")
    identity = json.dumps([split.annotations.digest, [stat[:2] for stat in files.stats]])
    checked, notes = decode_or_check(split, files, config, name, cache_folder(config), progress)
    stats = {stat[0]: stat for stat in files.stats}
    in_use = split.folder, [stats[image] for image in checked.annotations.names]
    return _Checked(checked, identity, in_use, [*located.notes(name), *notes])


def _duplicates(
    files: Mapping[Split, tuple[Path, list[FileStat]]], cache: Path, progress: ProgressCallback | None
) -> list[str]:
    """Return notes on images that the splits have twice."""
    on_count = None if progress is None else lambda done, total: progress("comparing images", done, total)
    return duplicate_notes(files, cache, on_count)


def check_digest(config: DataConfig, digest: str, planned: str | None) -> None:
    """Raise DataChanged where the data differ from those of the plan; `planned=None` accepts any."""
    if planned is None or digest == planned:
        return
    key = f"data.name={config.name}" if config.root is None else f"data.root={config.root}"
    raise DataChanged(
        f"{key}: the data on {platform.node()} are not the data of the plan (digest {digest[:12]}, planned "
        f"{planned[:12]}): annotations, image names or sizes differ; a number of theirs would stand under other data. "
        "Give every machine the same data, or start the command again for those that are there now"
    )


def cache_folder(config: DataConfig) -> Path:
    """Return the folder of rendered, parsed and decoded data."""
    if config.cache_dir is None:
        return user_cache()
    return expanded(config.cache_dir, f"data.cache_dir={config.cache_dir}")


def annotation_file(root: Path, split: SplitConfig, name: Split) -> Path:
    """Return the annotation file of a split; raises DataError naming the key where there is none."""
    setting = f"data.{name}.annotations={split.annotations}"
    if not split.annotations.strip():
        raise DataError(f"{setting}: names no file; give data.{name}.annotations=<COCO json or json.gz>")
    path = root / expanded(split.annotations, setting)
    if is_folder(path):
        raise DataError(f"{setting}: is a folder ({path.resolve()}); it must be a COCO json or json.gz file")
    if file_stat(path) is None:
        raise DataError(f"{setting}: no such annotation file on {platform.node()} ({path.resolve()})")
    return path


def sample_sizes(prepared: PreparedData, split: Split, config: DataConfig) -> SampleSizes:
    """Return what the sizes of a split's samples follow from, of train in training and of val in evaluation."""
    settings = SampleSettings.of(config, prepared.box_convention)
    return SampleSizes(prepared.splits[split].annotations.sizes, settings, training=split == "train")


def image_rules(config: DataConfig) -> ImageRules:
    """Return the rules by which image files are read, in training, evaluation and prediction alike."""
    return ImageRules(config.exif_orientation, config.max_megapixels)


def split_locations(
    config: DataConfig,
    cache: Path,
    progress: ProgressCallback | None,
    splits: Collection[Split] = SPLITS,
    *,
    lenient: bool = False,
) -> tuple[Path, dict[Split, SplitConfig]]:
    """Return the root folder and, for each split, its files; those of `splits` are drawn or fetched first.

    lenient: as in `fetch_splits`.
    """
    if config.name == "synthetic":
        assert config.synthetic is not None, "checked by DataConfig"
        on_count = None if progress is None else lambda done, total: progress("drawing images", done, total)
        folder = synthetic_folder(config.synthetic, cache, on_count)
        return folder, {name: SplitConfig(annotations=f"{name}.json", images=name) for name in SPLITS}
    assert config.root is not None and config.train is not None and config.val is not None, "checked by DataConfig"
    locations: dict[Split, SplitConfig] = {"train": config.train, "val": config.val}
    if is_in_bucket(config):
        return fetch_splits(config, splits, cache, progress, lenient=lenient), locations
    root = expanded(config.root, f"data.root={config.root}")
    if not is_folder(root):
        raise DataError(f"data.root={config.root}: no such folder on {platform.node()}")
    return root, locations


def _read_split(
    root: Path, split: SplitConfig, box_convention: BoxConvention, config: DataConfig, name: Split, cache: Path
) -> PreparedSplit:
    limit = config.limit_train if name == "train" else config.limit_val
    folder = root / expanded(split.images, f"data.{name}.images={split.images}")
    if not is_folder(folder):
        raise DataError(f"data.{name}.images={split.images}: no such folder on {platform.node()} ({folder})")
    annotations = read_annotations(annotation_file(root, split, name), box_convention, cache, config.crowds)
    if limit is not None and limit < len(annotations):
        annotations = annotations.select(np.arange(limit))
    return PreparedSplit(annotations, folder)


def read_masks(
    annotations: Annotations, config: DataConfig, box_convention: BoxConvention, progress: ProgressCallback | None
) -> Annotations:
    """Return the annotations with the masks of their objects; raises DataError where there are none."""
    # The libraries that read masks are needed for them alone.
    from fcos.data.masks import add_masks, add_synthetic_masks

    if config.name == "synthetic":
        return add_synthetic_masks(annotations, box_convention)
    work = f"reading masks of {annotations.path.name}"
    on_count = None if progress is None else lambda done, total: progress(work, done, total)
    return add_masks(annotations, box_convention, cache_folder(config), on_count)


def _image_files(
    split: PreparedSplit,
    stats: tuple[FileStat, ...],
    config: DataConfig,
    box_convention: BoxConvention,
    *,
    always_one_size: bool,
) -> ImageFiles:
    """Return the split's files with target sizes: that of the samples where it is fixed, else their own."""
    sizes = tuple((height, width) for height, width in split.annotations.sizes.tolist())
    target_sizes, sides, long_side = sizes, config.short_sides, config.long_side
    if sides is not None and long_side is not None and (always_one_size or len(sides) == 1):
        target_sizes = tuple(resized_size(size, max(sides), long_side, box_convention) for size in sizes)
    return ImageFiles(split.folder, stats, sizes, target_sizes, image_rules(config))
