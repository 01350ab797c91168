"""One sample of a COCO-format data set."""

from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor
from torch.utils.data import Dataset

from fcos.data import transforms
from fcos.data.annotations import Annotations, Corners
from fcos.data.images import open_image


@dataclass(frozen=True)
class Sample:
    """One image at the network's input size, with its boxes there; sizes are (height, width)."""

    image: UInt8[Tensor, "3 H W"]
    boxes: Float[Tensor, "M 4"]
    labels: Int[Tensor, " M"]
    image_id: int
    name: str
    size: tuple[int, int]
    original_size: tuple[int, int]


# Which image, and in which epoch: decides every random draw of a sample.
Key = tuple[int, int]


class CocoDataset(Dataset[Sample]):
    """Samples of annotated images, by (epoch, index).

    Training draws short side and flip; evaluation takes the largest short side and never flips.
    `keep_in_memory` decodes all images at once into one block, which forked loader processes share.
    """

    def __init__(
        self,
        annotations: Annotations,
        folder: Path,
        *,
        short_sides: tuple[int, ...] | None,
        long_side: int | None,
        flip: float,
        corners: Corners,
        training: bool,
        seed: int,
        keep_in_memory: bool,
    ) -> None:
        self.annotations = annotations
        self.folder = folder
        self.short_sides = short_sides
        self.long_side = long_side
        self.flip = flip
        self.corners = corners
        self.training = training
        self.seed = seed
        self._block: UInt8[Tensor, " bytes"] | None = None
        self._starts = torch.zeros(0, dtype=torch.int64)
        if keep_in_memory:
            self._decode_all()

    def __len__(self) -> int:
        return len(self.annotations)

    def __getitem__(self, key: Key) -> Sample:
        epoch, index = key
        image = self._image(index)
        original_size = self.original_size(index)
        rows, labels = self.annotations.training_boxes(index)
        boxes = torch.from_numpy(rows)
        size = self.input_size(key)
        image, boxes = transforms.resize(image, boxes, size)
        if self.training and transforms.draw(self.seed, epoch, index).flip < self.flip:
            image, boxes = transforms.flip(image, boxes, self.corners)
        return Sample(
            image=image,
            boxes=boxes,
            labels=torch.from_numpy(labels),
            image_id=int(self.annotations.image_ids[index]),
            name=self.annotations.names[index],
            size=size,
            original_size=original_size,
        )

    def original_size(self, index: int) -> tuple[int, int]:
        """(height, width) of the image on disk, as annotated."""
        height, width = self.annotations.sizes[index]
        return int(height), int(width)

    def input_size(self, key: Key) -> tuple[int, int]:
        """(height, width) that the sample will have, known without opening the image."""
        epoch, index = key
        original_size = self.original_size(index)
        if self.short_sides is None or self.long_side is None:
            return original_size
        short_side = max(self.short_sides)
        if self.training:
            short_side = transforms.choose(self.short_sides, transforms.draw(self.seed, epoch, index).short_side)
        return transforms.resized_size(original_size, short_side, self.long_side, self.corners)

    def _image(self, index: int) -> UInt8[Tensor, "3 H W"]:
        if self._block is None:
            return open_image(self.folder / self.annotations.names[index], self.original_size(index))
        start, end = self._starts[index : index + 2].tolist()
        return self._block[start:end].view(3, *self.original_size(index))

    def _decode_all(self) -> None:
        areas = torch.from_numpy(self.annotations.sizes.prod(axis=1))
        self._starts = torch.cat([torch.zeros(1, dtype=torch.int64), (3 * areas).cumsum(0)])
        # One tensor instead of one for each image: spawned processes get it as a single file descriptor.
        block = torch.empty(int(self._starts[-1]), dtype=torch.uint8)
        for index in range(len(self)):
            start, end = self._starts[index : index + 2].tolist()
            block[start:end] = self._image(index).flatten()
        self._block = block
