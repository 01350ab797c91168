"""From a data configuration to checked data: what a run needs to know before anything expensive begins."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

from fcos.config import DataConfig, SplitConfig
from fcos.data.annotations import Annotations, Corners, read_annotations
from fcos.data.coco import CocoDataset
from fcos.data.errors import DataError
from fcos.data.images import check_images
from fcos.data.synthetic import synthetic_folder
from fcos.runtime import user_cache

# Told what is being done, how much of it is done, and how much there is.
Progress = Callable[[str, int, int], None]
Split = Literal["train", "val"]


@dataclass(frozen=True)
class PreparedSplit:
    """Annotations of the images in use, and the folder that holds them."""

    annotations: Annotations
    folder: Path


@dataclass(frozen=True)
class PreparedData:
    """Both splits, checked.

    `digest` stands for annotations, image names and image sizes on disk; the order of `classes` gives the
    labels. `notes` say what was dropped, clipped or left out.
    """

    train: PreparedSplit
    val: PreparedSplit
    classes: tuple[str, ...]
    corners: Corners
    digest: str
    notes: tuple[str, ...]


def prepare(config: DataConfig, *, corners: Corners = "plain", progress: Progress | None = None) -> PreparedData:
    """Read, draw if need be, and check the data: annotations first, then that every image in use opens.

    What the image check found is kept in the cache folder and holds until a file's size or time changes.
    Raises DataError naming file and rule; with on_bad_image=skip, images that do not open are left out and
    noted.
    """
    cache = cache_folder(config)
    root, train_split, val_split = _locate(config, cache, progress)
    train = _read_split(root, train_split, corners, config.limit_train, "train", cache)
    val = _read_split(root, val_split, corners, config.limit_val, "val", cache)
    _same_categories(train.annotations, val.annotations)
    notes = [*train.annotations.notes, *val.annotations.notes]
    digest = hashlib.sha256()
    checked = []
    for name, split in (("train", train), ("val", val)):
        facts = _files_on_disk(split)
        digest.update(json.dumps([split.annotations.digest, [fact[:2] for fact in facts]]).encode())
        bad = _check(split, facts, cache, name, progress)
        split, note = _without(split, bad, config.on_bad_image, name)
        checked.append(split)
        notes += note
    train, val = checked
    for name, split in (("train", train), ("val", val)):
        if not (split.annotations.trainable.any() if name == "train" else (~split.annotations.crowd).any()):
            raise DataError(f"{split.annotations.path}: the {len(split.annotations)} images in use have no box at all")
    return PreparedData(train, val, train.annotations.classes, corners, digest.hexdigest(), tuple(notes))


def cache_folder(config: DataConfig) -> Path:
    """Where drawn and parsed data are kept."""
    return user_cache() if config.cache_dir is None else Path(config.cache_dir).expanduser()


def annotation_file(root: Path, split: SplitConfig, name: Split) -> Path:
    """The annotation file of a split; raises DataError naming the key where there is none."""
    told = f"data.{name}.annotations={split.annotations}"
    if not split.annotations.strip():
        raise DataError(f"{told}: names no file; give data.{name}.annotations=<COCO json or json.gz>")
    path = root / Path(split.annotations).expanduser()
    if path.is_dir():
        raise DataError(f"{told}: is a folder ({path.resolve()}); it must be a COCO json or json.gz file")
    if not path.exists():
        raise DataError(f"{told}: no such annotation file ({path.resolve()})")
    return path


def make_dataset(prepared: PreparedData, split: Split, config: DataConfig, training: bool, seed: int) -> CocoDataset:
    """The samples of a split, with the transforms of training or of evaluation."""
    source = prepared.train if split == "train" else prepared.val
    return CocoDataset(
        source.annotations,
        source.folder,
        short_sides=config.short_sides,
        long_side=config.long_side,
        flip=config.flip,
        corners=prepared.corners,
        training=training,
        seed=seed,
        keep_in_memory=config.keep_in_memory,
    )


def _locate(config: DataConfig, cache: Path, progress: Progress | None) -> tuple[Path, SplitConfig, SplitConfig]:
    if config.name == "synthetic":
        assert config.synthetic is not None, "checked by DataConfig"
        count = None if progress is None else lambda done, total: progress("drawing images", done, total)
        folder = synthetic_folder(config.synthetic, cache, count)
        return (
            folder,
            SplitConfig(annotations="train.json", images="train"),
            SplitConfig(annotations="val.json", images="val"),
        )
    assert config.root is not None and config.train is not None and config.val is not None, "checked by DataConfig"
    root = Path(config.root).expanduser()
    if not root.is_dir():
        raise DataError(f"data.root={config.root}: no such folder")
    return root, config.train, config.val


def _read_split(
    root: Path, split: SplitConfig, corners: Corners, limit: int | None, name: Split, cache: Path
) -> PreparedSplit:
    folder = root / Path(split.images).expanduser()
    if not folder.is_dir():
        raise DataError(f"data.{name}.images={split.images}: no such folder ({folder})")
    annotations = read_annotations(annotation_file(root, split, name), corners, cache)
    if limit is not None and limit < len(annotations):
        annotations = annotations.select(np.arange(limit))
    return PreparedSplit(annotations, folder)


def _same_categories(train: Annotations, val: Annotations) -> None:
    first = dict(zip(train.category_ids, train.classes, strict=True))
    second = dict(zip(val.category_ids, val.classes, strict=True))
    differing = [key for key in sorted({*first, *second}) if first.get(key) != second.get(key)]
    if differing:
        told = ", ".join(f"id {key}: {first.get(key)!r} and {second.get(key)!r}" for key in differing[:5])
        raise DataError(f"{train.path} and {val.path} must have the same categories; they differ in {told}")


# Name, bytes and modification time (ns) of an image file; -1 where there is none.
FileFacts = tuple[str, int, int]


def _files_on_disk(split: PreparedSplit) -> list[FileFacts]:
    facts = []
    for name in split.annotations.names:
        try:
            found = (split.folder / name).stat()
            facts.append((name, found.st_size, found.st_mtime_ns))
        except OSError:
            facts.append((name, -1, -1))
    return facts


def _check(
    split: PreparedSplit, facts: list[FileFacts], cache: Path, name: str, progress: Progress | None
) -> dict[int, str]:
    """Positions of the images that do not open, with reasons, from the cache if nothing changed since."""
    sizes = [(height, width) for height, width in split.annotations.sizes.tolist()]
    identity = json.dumps([str(split.folder.resolve()), facts, sizes]).encode()
    kept = cache / "image_checks" / hashlib.sha256(identity).hexdigest()[:32]
    if kept.is_file():
        return {}
    count = None if progress is None else lambda done, total: progress(f"checking {name} images", done, total)
    bad = check_images([split.folder / fact[0] for fact in facts], sizes, count=count)
    if bad:
        # Not kept: what kept an image from opening may pass without a trace on the file.
        return bad
    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.touch()
    except OSError as error:
        raise DataError(f"data.cache_dir={cache}: cannot be written ({error.strerror or error})") from None
    return bad


def _without(
    split: PreparedSplit, bad: dict[int, str], on_bad_image: Literal["error", "skip"], name: str
) -> tuple[PreparedSplit, list[str]]:
    if not bad:
        return split, []
    reasons = "; ".join(list(bad.values())[:5]) + ("; ..." if len(bad) > 5 else "")
    counted = f"{len(bad)} of {len(split.annotations)} {name} images cannot be used"
    if on_bad_image == "error":
        raise DataError(f"{counted}: {reasons}. data.on_bad_image=skip goes on without them")
    if len(bad) == len(split.annotations):
        raise DataError(f"{counted}, which leaves none: {reasons}")
    keep = np.array([index for index in range(len(split.annotations)) if index not in bad])
    return replace(split, annotations=split.annotations.select(keep)), [f"{counted} and are left out: {reasons}"]
