"""Which images are trained on and which validated: the folder's own splits, or a share drawn by seed."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from fcos.errors import ConfigError, DataError
from fcos.formats.structures import LabelledFolder, LabelledImage, SplitName

# The share of the images that validates where a folder has no split for it.
VAL_FRACTION: Final = 0.2


@dataclass(frozen=True)
class TrainingSplits:
    """The images of both splits, where they come from, and what is not used."""

    train: tuple[LabelledImage, ...]
    val: tuple[LabelledImage, ...]
    # In words, and the overrides that would choose it by hand; none where only other files would change it.
    reason: str
    by_hand: tuple[str, ...] = ()


def training_splits(folder: LabelledFolder, val_fraction: float | None, seed: int) -> TrainingSplits:
    """Return the training and the validation images of a folder.

    Raises ConfigError for a fraction where the folder has its own validation images, and DataError for one without
    images to train or to validate on.
    """
    splits = {split: images for split, images in folder.splits.items() if images}
    if "train" in splits and "val" in splits:
        if val_fraction is not None:
            raise ConfigError(
                f"auto.val_fraction={val_fraction:g}: has no effect, as {folder.root} has validation images of its own "
                f"({len(splits['val'])}); leave it out"
            )
        return TrainingSplits(splits["train"], splits["val"], _own_splits(splits))
    if "train" in splits and "test" in splits and val_fraction is None:
        reason = "the folder has train and test alone: test validates, and is then no independent test"
        return TrainingSplits(splits["train"], splits["test"], reason, (f"auto.val_fraction={VAL_FRACTION:g}",))
    if "train" not in splits and len(splits) > 1:
        counts = ", ".join(f"{split} ({len(images)})" for split, images in splits.items())
        raise DataError(f"{folder.root}: has images in {counts} and none in a split called train")
    if not splits:
        raise DataError(
            f"{folder.root}: no image is left to train on: {'; '.join(folder.notes) or 'none is annotated'}"
        )
    name: SplitName = "train" if "train" in splits else next(iter(splits))
    return _drawn(folder, splits[name], VAL_FRACTION if val_fraction is None else val_fraction, seed)


def _own_splits(splits: Mapping[SplitName, Sequence[LabelledImage]]) -> str:
    unused = [f"{split} ({len(images)} images)" for split, images in splits.items() if split not in ("train", "val")]
    return "the folder's own splits" + (f"; not used: {', '.join(unused)}" if unused else "")


def _drawn(folder: LabelledFolder, images: Sequence[LabelledImage], fraction: float, seed: int) -> TrainingSplits:
    """Draw the validation images by a hash of seed and name, so that an added image moves no other.

    Where few are labelled, one that is moves to the side that would have none.
    """
    if len(images) < 2:
        raise DataError(f"{folder.root}: has {len(images)} image, of which none is left to validate; two are needed")
    count = min(max(1, round(fraction * len(images))), len(images) - 1)
    ranked = sorted(images, key=lambda image: hashlib.sha256(f"{seed}:{image.name}".encode()).digest())
    drawn = _with_labelled(ranked, count)
    names = {image.name for image in drawn}
    reason = (
        f"the folder has one set: {fraction:.0%} of its images validate, drawn image by image with seed {seed}; "
        "pictures of one scene may lie on both sides, so split by hand where they do"
    )
    if drawn != ranked[:count]:
        reason += "; one with boxes was exchanged, as else one side would have none"
    return TrainingSplits(
        tuple(image for image in images if image.name not in names),
        tuple(image for image in images if image.name in names),
        reason,
        (f"auto.val_fraction={fraction:g}", f"auto.split_seed={seed}"),
    )


def _with_labelled(ranked: Sequence[LabelledImage], count: int) -> Sequence[LabelledImage]:
    """Return the first `count` images, with one exchanged where all labelled images are among them or none is."""
    drawn, others = list(ranked[:count]), list(ranked[count:])
    is_labelled = _has_objects if sum(map(_has_objects, ranked)) > 1 else _has_boxes
    in_drawn, in_others = (sum(map(is_labelled, images)) for images in (drawn, others))
    if in_drawn + in_others < 2 or (in_drawn and in_others):
        return drawn
    # The last of the drawn ones and the first of the others that fit.
    out = next(image for image in reversed(drawn) if is_labelled(image) or not in_drawn)
    into = next(image for image in others if is_labelled(image) or not in_others)
    return [*(image for image in drawn if image is not out), into]


def _has_objects(image: LabelledImage) -> bool:
    return any(not box.crowd and box.width > 0 and box.height > 0 for box in image.boxes)


def _has_boxes(image: LabelledImage) -> bool:
    return bool(image.boxes)
