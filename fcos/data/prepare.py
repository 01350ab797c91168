"""From a data configuration to checked data: what a run needs to know before anything expensive begins."""

import hashlib
import json
import platform
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
from jaxtyping import Int64

from fcos.config.choices import BoxConvention, OnBadImage, Split
from fcos.config.model_parts import AssignmentConfig, PostprocessConfig
from fcos.config.run import DataConfig, SplitConfig
from fcos.data.annotations import Annotations, read_annotations
from fcos.data.coco import CocoDataset
from fcos.data.decoded import DecodedImages, decoded_images
from fcos.data.images import Counter, ImageFiles, check_files, files_on_disk
from fcos.data.masks import with_drawn_masks, with_masks
from fcos.data.reading import file_facts, is_folder, raise_unkept
from fcos.data.synthetic import synthetic_folder
from fcos.data.transforms import resized_size
from fcos.errors import DataChanged, DataError
from fcos.files import expanded, user_cache

SPLITS: Final[tuple[Split, ...]] = ("train", "val")
# Told what is being done, how much of it is done, and how much there is.
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class PreparedSplit:
    """Annotations of the images in use, the folder that holds them, and the decoded images where they are kept."""

    annotations: Annotations
    folder: Path
    decoded: DecodedImages | None = None


@dataclass(frozen=True)
class PreparedData:
    """The splits that were asked for, checked.

    `digest` stands for their annotations, image names and image sizes on disk; the order of `classes` gives the
    labels. `notes` say what was dropped, clipped or left out.
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
    assignment: AssignmentConfig, rules: Iterable[PostprocessConfig], *, training: bool
) -> tuple[Split, ...]:
    """The splits whose masks are used: train's to learn from, val's where a rule asks for the truth of locations."""
    used: dict[Split, bool] = {"train": training, "val": any(rule.needs_ground_truth for rule in rules)}
    return tuple(split for split, asked in used.items() if asked and assignment.by_masks)


def prepare(
    config: DataConfig,
    *,
    box_convention: BoxConvention = "plain",
    masks: Collection[Split] = (),
    splits: Collection[Split] = SPLITS,
    progress: Progress | None = None,
) -> PreparedData:
    """Read, draw if need be, and check the data: annotations first, then that every image in use opens.

    Of a data set on disk nothing but `splits` is looked at. Images are decoded into the cache folder, which holds until
    a file's size or time changes; of those that do not fit there the check alone is kept. Of the splits in `masks` the
    objects' masks are read too.
    Raises DataError naming file and rule; with on_bad_image=skip, images that do not open are left out and
    noted. Raises ReadError for what cannot be read just now, which is never left out.
    """
    cache = cache_folder(config)
    root, locations = _locate(config, cache, progress)
    read = {
        name: _read_split(root, locations[name], box_convention, config, name, cache)
        for name in SPLITS
        if name in splits
    }
    first = next(iter(read.values())).annotations
    for other in read.values():
        _same_categories(first, other.annotations)
    for name in masks:
        annotations = read_masks(read[name].annotations, config, box_convention, progress)
        read[name] = replace(read[name], annotations=annotations)
    notes = [note for split in read.values() for note in split.annotations.notes]
    digest = hashlib.sha256()
    checked: dict[Split, PreparedSplit] = {}
    for name, split in read.items():
        files = _files(split, config, box_convention, always_one_size=name == "val")
        sizes_on_disk = [fact[:2] for fact in files.facts]
        digest.update(json.dumps([split.annotations.digest, sizes_on_disk]).encode())
        checked[name], remarks = _usable(split, files, config, name, cache, progress)
        notes += remarks
    for name, split in checked.items():
        if not (split.annotations.trainable.any() if name == "train" else (~split.annotations.crowd).any()):
            raise DataError(f"{split.annotations.path}: the {len(split.annotations)} images in use have no box at all")
    return PreparedData(checked, first.classes, box_convention, digest.hexdigest(), tuple(notes))


def check_digest(config: DataConfig, digest: str, planned: str | None) -> None:
    """Raise DataChanged where the data read here are not those of the plan; no `planned` digest accepts any."""
    if planned is None or digest == planned:
        return
    key = f"data.name={config.name}" if config.root is None else f"data.root={config.root}"
    raise DataChanged(
        f"{key}: the data on {platform.node()} are not the data of the plan (digest {digest[:12]}, planned "
        f"{planned[:12]}): annotations, image names or sizes differ; a number of theirs would stand under other data. "
        "Give every machine the same data, or start the command again for those that are there now"
    )


def cache_folder(config: DataConfig) -> Path:
    """Where drawn and parsed data are kept."""
    if config.cache_dir is None:
        return user_cache()
    return expanded(config.cache_dir, f"data.cache_dir={config.cache_dir}")


def annotation_file(root: Path, split: SplitConfig, name: Split) -> Path:
    """The annotation file of a split; raises DataError naming the key where there is none."""
    setting = f"data.{name}.annotations={split.annotations}"
    if not split.annotations.strip():
        raise DataError(f"{setting}: names no file; give data.{name}.annotations=<COCO json or json.gz>")
    path = root / expanded(split.annotations, setting)
    if is_folder(path):
        raise DataError(f"{setting}: is a folder ({path.resolve()}); it must be a COCO json or json.gz file")
    if file_facts(path) is None:
        raise DataError(f"{setting}: no such annotation file ({path.resolve()})")
    return path


def make_dataset(prepared: PreparedData, split: Split, config: DataConfig, training: bool, seed: int) -> CocoDataset:
    """The samples of a split, with the transforms of training or of evaluation."""
    source = prepared.splits[split]
    return CocoDataset(
        source.annotations,
        source.folder,
        short_sides=config.short_sides,
        long_side=config.long_side,
        flip=config.flip,
        box_convention=prepared.box_convention,
        training=training,
        seed=seed,
        decoded=source.decoded,
    )


def _locate(config: DataConfig, cache: Path, progress: Progress | None) -> tuple[Path, dict[Split, SplitConfig]]:
    if config.name == "synthetic":
        assert config.synthetic is not None, "checked by DataConfig"
        count = None if progress is None else lambda done, total: progress("drawing images", done, total)
        folder = synthetic_folder(config.synthetic, cache, count)
        return folder, {name: SplitConfig(annotations=f"{name}.json", images=name) for name in SPLITS}
    assert config.root is not None and config.train is not None and config.val is not None, "checked by DataConfig"
    root = expanded(config.root, f"data.root={config.root}")
    if not is_folder(root):
        raise DataError(f"data.root={config.root}: no such folder")
    return root, {"train": config.train, "val": config.val}


def _read_split(
    root: Path, split: SplitConfig, box_convention: BoxConvention, config: DataConfig, name: Split, cache: Path
) -> PreparedSplit:
    limit = config.limit_train if name == "train" else config.limit_val
    folder = root / expanded(split.images, f"data.{name}.images={split.images}")
    if not is_folder(folder):
        raise DataError(f"data.{name}.images={split.images}: no such folder ({folder})")
    annotations = read_annotations(annotation_file(root, split, name), box_convention, cache)
    if limit is not None and limit < len(annotations):
        annotations = annotations.select(np.arange(limit))
    return PreparedSplit(annotations, folder)


def read_masks(
    annotations: Annotations, config: DataConfig, box_convention: BoxConvention, progress: Progress | None
) -> Annotations:
    """The same annotations with the masks of their objects; raises DataError where there are none."""
    if config.name == "synthetic":
        return with_drawn_masks(annotations, box_convention)
    what = f"reading masks of {annotations.path.name}"
    count = None if progress is None else lambda done, total: progress(what, done, total)
    return with_masks(annotations, box_convention, cache_folder(config), count)


def _same_categories(train: Annotations, val: Annotations) -> None:
    first = dict(zip(train.category_ids, train.classes, strict=True))
    second = dict(zip(val.category_ids, val.classes, strict=True))
    differing = [key for key in sorted({*first, *second}) if first.get(key) != second.get(key)]
    if differing:
        told = ", ".join(f"id {key}: {first.get(key)!r} and {second.get(key)!r}" for key in differing[:5])
        raise DataError(f"{train.path} and {val.path} must have the same categories; they differ in {told}")


def _files(
    split: PreparedSplit, config: DataConfig, box_convention: BoxConvention, *, always_one_size: bool
) -> ImageFiles:
    """The split's files, wanted at the size of the samples where it is always the same, else at their own."""
    sizes = tuple((height, width) for height, width in split.annotations.sizes.tolist())
    wanted, sides, long_side = sizes, config.short_sides, config.long_side
    if sides is not None and long_side is not None and (always_one_size or len(sides) == 1):
        wanted = tuple(resized_size(size, max(sides), long_side, box_convention) for size in sizes)
    return ImageFiles(split.folder, files_on_disk(split.folder, split.annotations.names), sizes, wanted)


def _usable(
    split: PreparedSplit, files: ImageFiles, config: DataConfig, name: str, cache: Path, progress: Progress | None
) -> tuple[PreparedSplit, list[str]]:
    """The split with its images decoded, or else checked, without those that do not open; and what to say of them."""

    def told(what: str) -> Counter | None:
        return None if progress is None else lambda done, total: progress(f"{what} {name} images", done, total)

    limit = int(1e9 * config.cache_gb)
    try:
        found = decoded_images(files, cache, limit, told("decoding")) if limit else None
        if isinstance(found, DecodedImages):
            return replace(split, decoded=found), []
        bad = check_files(files, cache, told("checking")) if found is None else found
        split, keep, remarks = _without(split, bad, config.on_bad_image, name)
        if found is not None:
            left = decoded_images(files.select(keep), cache, limit, told("decoding"))
            split = replace(split, decoded=left if isinstance(left, DecodedImages) else None)
    except OSError as error:
        raise_unkept(cache, error)
    return split, remarks


def _without(
    split: PreparedSplit, bad: Mapping[int, str], on_bad_image: OnBadImage, name: str
) -> tuple[PreparedSplit, Int64[np.ndarray, " kept"], list[str]]:
    """The split without its bad images, the positions of the others, and what to say."""
    keep = np.array([index for index in range(len(split.annotations)) if index not in bad], dtype=np.int64)
    if not bad:
        return split, keep, []
    reasons = "; ".join(list(bad.values())[:5]) + ("; ..." if len(bad) > 5 else "")
    counted = f"{len(bad)} of {len(split.annotations)} {name} images cannot be used"
    if on_bad_image == "error":
        raise DataError(f"{counted}: {reasons}. data.on_bad_image=skip goes on without them")
    if not len(keep):
        raise DataError(f"{counted}, which leaves none: {reasons}")
    kept = replace(split, annotations=split.annotations.select(keep))
    return kept, keep, [f"{counted} and are left out: {reasons}"]
