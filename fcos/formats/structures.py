"""Labelled images as every reader gives them, whatever format they were read from."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

FormatName = Literal["coco", "voc", "yolo", "cvat", "labelme"]
# A split of a folder: the three that a folder may name, or all images of one that names none.
SplitName = Literal["train", "val", "test", "all"]

# How many of the things that were left out a note names.
EXAMPLES: Final = 3


@dataclass(frozen=True)
class LabelledBox:
    """One object: its class and its box in pixels of the image, from the upper left corner of the first pixel.

    `crowd`, `area` and `segmentation` are kept from COCO files; `area` is None for width * height.
    """

    label: str
    x: float
    y: float
    width: float
    height: float
    crowd: bool = False
    area: float | None = None
    segmentation: Any = None


@dataclass(frozen=True)
class LabelledImage:
    """An image with its objects; `name` is its path below the folder with forward slashes, sizes are pixels."""

    name: str
    width: int
    height: int
    boxes: tuple[LabelledBox, ...]


@dataclass(frozen=True)
class LabelledFolder:
    """A folder's images by split, and its classes in the order of the labels."""

    root: Path
    format: FormatName
    splits: Mapping[SplitName, tuple[LabelledImage, ...]]
    classes: tuple[str, ...]
    # What was left out, changed or taken for granted, with counts.
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Recognised:
    """Why a folder may be of a format: what was found, for messages."""

    format: FormatName
    found: str


@dataclass
class Remarks:
    """Counts of what a reader left out, changed or took for granted, with a few examples of each."""

    counts: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[str]] = field(default_factory=dict)

    def add(self, remark: str, example: str) -> None:
        """Count one more case of a remark, such as "shapes of an unsupported kind are left out"."""
        self.counts[remark] += 1
        shown = self.examples.setdefault(remark, [])
        if len(shown) <= EXAMPLES and example not in shown:
            shown.append(example)

    def notes(self) -> tuple[str, ...]:
        """Return a sentence for each remark, with its count and examples."""
        return tuple(f"{remark}: {count} ({self._examples(remark)})" for remark, count in self.counts.items())

    def _examples(self, remark: str) -> str:
        shown = self.examples[remark]
        return ", ".join([*shown[:EXAMPLES], *(["..."] if len(shown) > EXAMPLES else [])])


def classes_of(images: Iterable[LabelledImage]) -> tuple[str, ...]:
    """Return the names of the classes that have boxes, in alphabetical order."""
    return tuple(sorted({box.label for image in images for box in image.boxes}))
