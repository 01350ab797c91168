"""The annotations of a data set, image by image, for training and for evaluation."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int64, UInt8
from numpy.typing import NDArray

from fcos.config.choices import BoxConvention
from fcos.data.coco_file import CocoFile, read_coco_file


@dataclass(frozen=True)
class Annotations:
    """A data set's images in order of their ids, and their boxes image by image in the file's order.

    Boxes of image i are rows `offsets[i]` to `offsets[i + 1]`. `boxes` are xyxy pixels for training, clipped
    to the image, in the corner convention asked for; `xywh` and `areas` are as annotated, for evaluation.
    `trainable` leaves out crowds, and what the corner convention makes empty. Label c stands for
    `category_ids[c]`, named `classes[c]`.
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
    # As the file numbers them.
    ids: Int64[np.ndarray, " M"]
    # What was dropped or clipped, in words.
    notes: tuple[str, ...]
    # sha256 of the JSON text, packed or not.
    digest: str
    # Bitmaps in the frames of `boxes`, see fcos.data.masks; only where they are asked for.
    masks: UInt8[np.ndarray, "M bytes"] | None = None

    def __len__(self) -> int:
        return len(self.names)

    def select(self, keep: NDArray[np.int64]) -> "Annotations":
        """Only the images at these positions, which must rise."""
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
        """Boxes and labels that the image at this position has for training."""
        rows = slice(self.offsets[index], self.offsets[index + 1])
        keep = self.trainable[rows]
        return self.boxes[rows][keep], self.labels[rows][keep]

    def training_masks(self, index: int) -> UInt8[np.ndarray, "K bytes"] | None:
        """The masks that belong to `training_boxes`, where there are any."""
        if self.masks is None:
            return None
        rows = slice(self.offsets[index], self.offsets[index + 1])
        masks: UInt8[np.ndarray, "K bytes"] = self.masks[rows][self.trainable[rows]]
        return masks


def read_annotations(path: Path, box_convention: BoxConvention = "plain", cache: Path | None = None) -> Annotations:
    """Read and validate a COCO json or json.gz file; `cache` is a folder that keeps what was parsed.

    Boxes of zero size or wholly outside their image are dropped, boxes partly outside are clipped for
    training; the notes count both. corners=plain takes x2 = x + w; inclusive takes x2 = x + max(w - 1, 0)
    clipped to [0, W - 1], as v1's code does, and leaves boxes so made empty out of training.
    Raises DataError naming the file and the entry for anything that cannot be understood.
    """
    return annotations_of(read_coco_file(path, cache), path, box_convention)


def annotations_of(file: CocoFile, path: Path, box_convention: BoxConvention) -> Annotations:
    """The annotations of a file that was read from a path; see `read_annotations`."""
    xywh = file.xywh
    height, width = file.sizes[file.image].T.astype(np.float64)
    x1, y1, w, h = xywh.T
    sized = (w > 0) & (h > 0)
    inside = (x1 < width) & (y1 < height) & (x1 + w > 0) & (y1 + h > 0)
    partly = sized & inside & _reaches_out(xywh, width, height)
    boxes, filled = _corners(xywh, width, height, box_convention)
    keep = sized & inside
    order = np.flatnonzero(keep)[np.argsort(file.image[keep], kind="stable")]
    found = {
        "of zero size dropped": ~sized,
        "wholly outside the image dropped": sized & ~inside,
        "partly outside the image clipped for training": partly,
        f"left without area by {box_convention} corners not trained on": keep & ~file.crowd & ~filled,
    }
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
        trainable=(filled & ~file.crowd)[order],
        crowd=file.crowd[order],
        xywh=xywh[order],
        areas=file.areas[order],
        ids=file.ids[order],
        notes=_notes(path, found, file.ids),
        digest=file.digest,
    )


def _reaches_out(
    xywh: Float64[np.ndarray, "M 4"], width: Float64[np.ndarray, " M"], height: Float64[np.ndarray, " M"]
) -> Bool[np.ndarray, " M"]:
    # A hundredth of a pixel is rounding in the file, as two decimals are usual there.
    x, y, w, h = xywh.T
    outside: Bool[np.ndarray, " M"] = (x < -0.01) | (y < -0.01) | (x + w > width + 0.01) | (y + h > height + 0.01)
    return outside


def _corners(
    xywh: Float64[np.ndarray, "M 4"],
    width: Float64[np.ndarray, " M"],
    height: Float64[np.ndarray, " M"],
    box_convention: BoxConvention,
) -> tuple[Float32[np.ndarray, "M 4"], Bool[np.ndarray, " M"]]:
    """Clipped xyxy boxes and which of them are not empty, in the precision of training."""
    x, y, w, h = xywh.T
    if box_convention == "plain":
        edges, right, bottom = [x, y, x + w, y + h], width, height
    else:
        edges = [x, y, x + np.maximum(w - 1, 0), y + np.maximum(h - 1, 0)]
        right, bottom = width - 1, height - 1
    ends = np.stack([right, bottom, right, bottom], axis=1)
    boxes = np.clip(np.stack(edges, axis=1), 0, ends).astype(np.float32)
    return boxes, (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])


def _notes(path: Path, found: dict[str, NDArray[np.bool_]], ids: NDArray[np.int64]) -> tuple[str, ...]:
    notes = []
    for what, rows in found.items():
        named = ids[rows][:5].tolist()
        if named:
            more = ", ..." if rows.sum() > len(named) else ""
            boxes = "box" if rows.sum() == 1 else "boxes"
            listed = ", ".join(map(str, named))
            notes.append(f"{path.name}: {rows.sum()} {boxes} {what} (annotation ids {listed}{more})")
    return tuple(notes)
