"""The boxes of a data set at the network's input size; only annotations are read, no images."""

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float32, Int64, UInt8

from fcos.annotations.annotations import Annotations
from fcos.config.choices import BoxConvention, Rounding
from fcos.images.resized_size import resized_size


@dataclass(frozen=True)
class InputBoxes:
    """Boxes as in training, image by image.

    Those of image i are rows `offsets[i]` to `offsets[i + 1]`. `boxes` are xyxy pixels of the network's input before
    padding, whose (height, width) is `sizes`.
    """

    boxes: Float32[np.ndarray, "M 4"]
    labels: Int64[np.ndarray, " M"]
    # Annotation ids.
    ids: Int64[np.ndarray, " M"]
    offsets: Int64[np.ndarray, " N_plus_1"]
    image_ids: Int64[np.ndarray, " N"]
    sizes: Int64[np.ndarray, "N 2"]
    # Packed as in `Annotations`; only where the assignment uses masks.
    masks: UInt8[np.ndarray, "M bytes"] | None = None

    def __len__(self) -> int:
        return len(self.image_ids)

    @property
    def image(self) -> Int64[np.ndarray, " M"]:
        """Return the index of each box's image."""
        return np.repeat(np.arange(len(self)), np.diff(self.offsets))

    def select(self, images: Int64[np.ndarray, " n"]) -> "InputBoxes":
        """Return the images at these positions, in this order."""
        counts = np.diff(self.offsets)[images]
        ends = np.cumsum(counts)
        rows = np.repeat(self.offsets[images] - (ends - counts), counts) + np.arange(counts.sum())
        return replace(
            self,
            boxes=self.boxes[rows],
            labels=self.labels[rows],
            ids=self.ids[rows],
            offsets=np.concatenate([[0], ends]).astype(np.int64),
            image_ids=self.image_ids[images],
            sizes=self.sizes[images],
            masks=None if self.masks is None else self.masks[rows],
        )


def input_boxes(
    annotations: Annotations, short_side: int | None, long_side: int | None, rounding: Rounding
) -> InputBoxes:
    """Return the trainable boxes, scaled by the ratios of the rounded sides.

    rounding=half_up rounds the sides of a resized image as detectron2 does, int(side + 0.5); truncate as
    maskrcnn-benchmark, int(side). Without `short_side` and `long_side` every image keeps its size.
    """
    unique_sizes, size_index = np.unique(annotations.sizes, axis=0, return_inverse=True)
    box_convention: BoxConvention = "plain" if rounding == "half_up" else "inclusive"
    if short_side is None or long_side is None:
        resized = unique_sizes
    else:
        resized = np.array(
            [
                resized_size((height, width), short_side, long_side, box_convention)
                for height, width in unique_sizes.tolist()
            ],
            dtype=np.int64,
        )
    keep = annotations.trainable
    boxes_per_image = np.diff(annotations.offsets)
    image = np.repeat(np.arange(len(annotations)), boxes_per_image)[keep]
    height_ratio, width_ratio = (resized / unique_sizes).T
    ratios = np.stack([width_ratio, height_ratio, width_ratio, height_ratio], axis=1)[size_index.reshape(-1)]
    return InputBoxes(
        # Rounded once, after the product, as in detectron2. Training may differ in the last bit, which matters for
        # boxes that end exactly on a location: v1's 23.16 % is 14 of 7.3 million locations away from 23.17 %.
        boxes=(annotations.boxes[keep] * ratios[image]).astype(np.float32),
        labels=annotations.labels[keep],
        ids=annotations.ids[keep],
        offsets=np.searchsorted(image, np.arange(len(annotations) + 1)).astype(np.int64),
        image_ids=annotations.image_ids,
        sizes=resized[size_index.reshape(-1)],
        masks=None if annotations.masks is None else annotations.masks[keep],
    )
