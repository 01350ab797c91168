"""Annotations of a data set, image by image, for training and for evaluation."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int64, UInt8
from numpy.typing import NDArray

from fcos.annotations.box_units import check_units
from fcos.annotations.coco_file import CocoFile, read_coco_file
from fcos.config.choices import BoxConvention, Crowds
from fcos.errors import DataError


@dataclass(frozen=True)
class Annotations:
    """A data set's images in order of their ids, with their boxes in the order of the file.

    Boxes of image i are rows `offsets[i]` to `offsets[i + 1]`. `boxes` are xyxy pixels for training, clipped to the
    image, in the configured box convention; `xywh` and `areas` are as annotated, for evaluation, which has every box of
    the file. `trainable` excludes crowds, boxes of zero size or wholly outside their image, and boxes that the box
    convention makes empty. Label c stands for `category_ids[c]`, named `classes[c]`.
    """

    path: Path
    image_ids: Int64[np.ndarray, " N"]
    names: tuple[str, ...]
    # (height, width)
    sizes: Int64[np.ndarray, "N 2"]
    classes: tuple[str, ...]
    category_ids: tuple[int, ...]
    offsets: Int64[np.ndarray, " N_plus_1"]
    boxes: Float32[np.ndarray, "M 4"]
    labels: Int64[np.ndarray, " M"]
    trainable: Bool[np.ndarray, " M"]
    crowd: Bool[np.ndarray, " M"]
    xywh: Float64[np.ndarray, "M 4"]
    areas: Float64[np.ndarray, " M"]
    # Annotation ids of the file.
    ids: Int64[np.ndarray, " M"]
    # Messages about boxes that are clipped or not trained on, and about names that are listed twice.
    notes: tuple[str, ...]
    # sha256 of the JSON text after decompression.
    digest: str
    # Packed bitmaps in the frames of `boxes`, see fcos.data.masks; only where the assignment uses masks.
    masks: UInt8[np.ndarray, "M bytes"] | None = None

    def __len__(self) -> int:
        return len(self.names)

    def select(self, keep: NDArray[np.int64]) -> "Annotations":
        """Return the annotations of the images at these positions, which must be in ascending order."""
        counts = np.diff(self.offsets)[keep]
        rows = np.concatenate([np.arange(self.offsets[i], self.offsets[i + 1]) for i in keep] or [np.arange(0)])
        return replace(
            self,
            image_ids=self.image_ids[keep],
            names=tuple(self.names[i] for i in keep),
            sizes=self.sizes[keep],
            offsets=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
            boxes=self.boxes[rows],
            labels=self.labels[rows],
            trainable=self.trainable[rows],
            crowd=self.crowd[rows],
            xywh=self.xywh[rows],
            areas=self.areas[rows],
            ids=self.ids[rows],
            masks=None if self.masks is None else self.masks[rows],
        )

    def training_boxes(self, index: int) -> tuple[Float32[np.ndarray, "K 4"], Int64[np.ndarray, " K"]]:
        """Return boxes and labels for training of the image at this position."""
        rows = slice(self.offsets[index], self.offsets[index + 1])
        keep = self.trainable[rows]
        return self.boxes[rows][keep], self.labels[rows][keep]

    def training_masks(self, index: int) -> UInt8[np.ndarray, "K bytes"] | None:
        """Return the packed masks of `training_boxes`, or None without masks."""
        if self.masks is None:
            return None
        rows = slice(self.offsets[index], self.offsets[index + 1])
        masks: UInt8[np.ndarray, "K bytes"] = self.masks[rows][self.trainable[rows]]
        return masks


def read_annotations(
    path: Path, box_convention: BoxConvention = "plain", cache: Path | None = None, crowds: Crowds = "ignore"
) -> Annotations:
    """Read and validate a COCO json or json.gz file.

    `cache` is a folder that keeps the parsed content. Boxes of zero size or wholly outside their image are not trained
    on, boxes partly outside are clipped for training; evaluation has both as annotated, as pycocotools does. The notes
    count all of them. box_convention=plain takes x2 = x + w; inclusive takes x2 = x + max(w - 1, 0) clipped to
    [0, W - 1], as v1's code does, and excludes boxes that become empty from training. crowds=objects takes boxes with
    iscrowd=1 as objects like all others.

    Raises DataError naming the file and the entry for anything malformed, and for boxes that cannot be in pixels.
    """
    return build_annotations(read_coco_file(path, cache), path, box_convention, crowds)


def build_annotations(
    file: CocoFile, path: Path, box_convention: BoxConvention, crowds: Crowds = "ignore"
) -> Annotations:
    """Build the annotations from a file's content and its path; see `read_annotations`."""
    unit_notes = check_units(file.xywh, file.sizes[file.image], path)
    annotations = arrange_annotations(file, path, box_convention, crowds)
    return replace(annotations, notes=(*unit_notes, *annotations.notes))


def arrange_annotations(
    file: CocoFile, path: Path, box_convention: BoxConvention, crowds: Crowds = "ignore"
) -> Annotations:
    """Build the annotations without checking whether the boxes are pixels; see `read_annotations`."""
    xywh, crowd = file.xywh, file.crowd & (crowds == "ignore")
    height, width = file.sizes[file.image].T.astype(np.float64)
    boxes, not_empty = _clipped_boxes(xywh, width, height, box_convention)
    problems = box_problems(file, box_convention, crowds)
    order = np.argsort(file.image, kind="stable")

    return Annotations(
        path=path,
        image_ids=file.image_ids,
        names=file.names,
        sizes=file.sizes,
        classes=file.classes,
        category_ids=tuple(file.category_ids.tolist()),
        offsets=np.searchsorted(file.image[order], np.arange(len(file.names) + 1)).astype(np.int64),
        boxes=boxes[order],
        labels=file.label[order],
        trainable=(_visible(xywh, width, height) & not_empty & ~crowd)[order],
        crowd=crowd[order],
        xywh=xywh[order],
        areas=file.areas[order],
        ids=file.ids[order],
        notes=(
            *_box_notes(path, problems, file.ids),
            *_crowd_notes(path, file.crowd, crowds),
            *_repeated_names(path, file.names),
        ),
        digest=file.digest,
    )


BoxProblemKind = Literal["no_size", "outside", "clipped", "no_area", "repeated", "area_zero"]


@dataclass(frozen=True)
class BoxProblem:
    """Boxes of a file, in its order, that share a problem in training."""

    kind: BoxProblemKind
    # After "N boxes" in a message.
    text: str
    rows: Bool[np.ndarray, " M"]


def box_problems(file: CocoFile, box_convention: BoxConvention, crowds: Crowds = "ignore") -> tuple[BoxProblem, ...]:
    """Return the boxes that are clipped or not trained on, problem by problem; see `read_annotations`."""
    xywh, crowd = file.xywh, file.crowd & (crowds == "ignore")
    height, width = file.sizes[file.image].T.astype(np.float64)
    sized = (xywh[:, 2:] > 0).all(axis=1)
    visible = _visible(xywh, width, height)
    _, not_empty = _clipped_boxes(xywh, width, height, box_convention)
    rows: Mapping[BoxProblemKind, tuple[str, Bool[np.ndarray, " M"]]] = {
        "no_size": ("of zero size, counted in evaluation and not trained on", ~crowd & ~sized),
        "outside": ("wholly outside the image, counted in evaluation and not trained on", ~crowd & sized & ~visible),
        "clipped": ("partly outside the image clipped for training", visible & _partly_outside(xywh, width, height)),
        "no_area": (f"left without area by {box_convention} corners not trained on", visible & ~crowd & ~not_empty),
        "repeated": ("given more than once, with the same class and place, counted each time", _repeated(file)),
        "area_zero": ("of a size with area=0, counted as small in evaluation", visible & ~crowd & (file.areas == 0)),
    }
    return tuple(BoxProblem(kind, text, of_kind) for kind, (text, of_kind) in rows.items())


def _visible(
    xywh: Float64[np.ndarray, "M 4"], width: Float64[np.ndarray, " M"], height: Float64[np.ndarray, " M"]
) -> Bool[np.ndarray, " M"]:
    """Return which boxes have a size and lie in their image at least in part."""
    x1, y1, w, h = xywh.T
    inside = (x1 < width) & (y1 < height) & (x1 + w > 0) & (y1 + h > 0)
    visible: Bool[np.ndarray, " M"] = (w > 0) & (h > 0) & inside
    return visible


def require_boxes(annotations: Annotations) -> None:
    """Raise DataError where no box can be trained on and detected; the message gives the reason and the way out."""
    if annotations.trainable.any():
        return
    images, boxes = f"{annotations.path}: the {len(annotations)} images in use have", len(annotations.boxes)
    if not boxes:
        raise DataError(f"{images} no box at all")
    crowds = int(annotations.crowd.sum())
    empty = f"{boxes - crowds} of zero size or outside the image"
    kinds = [f"{crowds} with iscrowd=1"] * (crowds > 0) + [empty] * (boxes > crowds)
    way_out = "; data.crowds=objects takes those with iscrowd=1 as objects" if crowds else ""
    raise DataError(f"{images} no box to train on or to detect, only {' and '.join(kinds)}{way_out}")


def _partly_outside(
    xywh: Float64[np.ndarray, "M 4"], width: Float64[np.ndarray, " M"], height: Float64[np.ndarray, " M"]
) -> Bool[np.ndarray, " M"]:
    # Files usually round to two decimals, so a hundredth of a pixel is not counted.
    x, y, w, h = xywh.T
    outside: Bool[np.ndarray, " M"] = (x < -0.01) | (y < -0.01) | (x + w > width + 0.01) | (y + h > height + 0.01)
    return outside


def _repeated(file: CocoFile) -> Bool[np.ndarray, " M"]:
    """Return which boxes have the image, the class, the place and the kind of an earlier one."""
    rows = np.column_stack([file.image, file.label, file.crowd, file.xywh])
    # Rows as bytes, which are sorted much faster than along an axis.
    _, first = np.unique(rows.view(np.dtype((np.void, rows.itemsize * rows.shape[1]))).ravel(), return_index=True)
    repeated = np.ones(len(rows), dtype=bool)
    repeated[first] = False
    return repeated


def _clipped_boxes(
    xywh: Float64[np.ndarray, "M 4"],
    width: Float64[np.ndarray, " M"],
    height: Float64[np.ndarray, " M"],
    box_convention: BoxConvention,
) -> tuple[Float32[np.ndarray, "M 4"], Bool[np.ndarray, " M"]]:
    """Return clipped xyxy boxes in float32, the precision of training, and which of them are not empty."""
    x, y, w, h = xywh.T
    if box_convention == "plain":
        edges, right, bottom = [x, y, x + w, y + h], width, height
    else:
        edges = [x, y, x + np.maximum(w - 1, 0), y + np.maximum(h - 1, 0)]
        right, bottom = width - 1, height - 1
    ends = np.stack([right, bottom, right, bottom], axis=1)
    boxes = np.clip(np.stack(edges, axis=1), 0, ends).astype(np.float32)
    return boxes, (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])


def _box_notes(path: Path, problems: Sequence[BoxProblem], ids: NDArray[np.int64]) -> list[str]:
    notes = []
    for problem in problems:
        count, shown = int(problem.rows.sum()), ids[problem.rows][:5].tolist()
        if shown:
            ellipsis = ", ..." if count > len(shown) else ""
            boxes = "box" if count == 1 else "boxes"
            listed = ", ".join(map(str, shown))
            notes.append(f"{path.name}: {count} {boxes} {problem.text} (annotation ids {listed}{ellipsis})")
    return notes


def _crowd_notes(path: Path, crowd: Bool[np.ndarray, " M"], crowds: Crowds) -> list[str]:
    if not crowd.any():
        return []
    counted = f"{path.name}: {crowd.sum()} of {len(crowd)} boxes have iscrowd=1"
    if crowds == "objects":
        return [f"{counted} and are objects like all others (data.crowds=objects)"]
    return [f"{counted}: not trained on, and ignored in evaluation; data.crowds=objects takes them as objects"]


def _repeated_names(path: Path, names: tuple[str, ...]) -> list[str]:
    repeated = {name: count for name, count in Counter(names).items() if count > 1}
    if not repeated:
        return []
    shown = ", ".join(f"{name} ({count} times)" for name, count in list(repeated.items())[:5])
    ellipsis = ", ..." if len(repeated) > 5 else ""
    files = "1 file is" if len(repeated) == 1 else f"{len(repeated)} files are"
    return [f"{path.name}: {files} listed more than once and counted each time: {shown}{ellipsis}"]
