"""Samples of a data set in COCO format."""

from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor
from torch.utils.data import Dataset

from fcos.config.choices import BoxConvention
from fcos.data import transforms
from fcos.data.annotations import Annotations
from fcos.data.decoded import DecodedImages
from fcos.data.images import DEFAULT_RULES, ImageRules, open_image
from fcos.data.masks import unpack_masks


@dataclass(frozen=True)
class Sample:
    """One image at the network's input size with its boxes there; sizes are (height, width)."""

    image: UInt8[Tensor, "3 H W"]
    boxes: Float[Tensor, "M 4"]
    labels: Int[Tensor, " M"]
    image_id: int
    name: str
    size: tuple[int, int]
    original_size: tuple[int, int]
    # Bitmaps in the frames of the boxes; only where the assignment uses masks.
    masks: Bool[Tensor, "M S S"] | None = None


# (epoch, index of the image); with the seed it determines the augmentation of a sample.
SampleKey = tuple[int, int]


class CocoDataset(Dataset[Sample]):
    """Samples of annotated images, by (epoch, index).

    Training samples short side and flip at random; evaluation uses the largest short side and never flips. `decoded`
    images, at their own size or at that of the samples, are used instead of the files, which are read by `rules`.
    """

    def __init__(
        self,
        annotations: Annotations,
        folder: Path,
        *,
        short_sides: tuple[int, ...] | None,
        long_side: int | None,
        flip: float,
        box_convention: BoxConvention,
        training: bool,
        seed: int,
        decoded: DecodedImages | None = None,
        rules: ImageRules = DEFAULT_RULES,
    ) -> None:
        self.annotations = annotations
        self.folder = folder
        self.short_sides = short_sides
        self.long_side = long_side
        self.flip = flip
        self.box_convention = box_convention
        self.training = training
        self.seed = seed
        self.decoded = decoded
        self.rules = rules

    def __len__(self) -> int:
        return len(self.annotations)

    def __getitem__(self, key: SampleKey) -> Sample:
        epoch, index = key
        original_size = self.original_size(index)
        rows, labels = self.annotations.training_boxes(index)
        packed_masks = self.annotations.training_masks(index)
        masks = None if packed_masks is None else torch.from_numpy(unpack_masks(packed_masks))
        size = self.input_size(key)
        image = transforms.resize_image(self._image(index), size)
        boxes = transforms.resize_boxes(torch.from_numpy(rows), original_size, size)
        if self.training and transforms.sample_augmentation(self.seed, epoch, index).flip < self.flip:
            image, boxes = transforms.flip(image, boxes, self.box_convention)
            masks = None if masks is None else masks.flip(-1)
        return Sample(
            image=image,
            boxes=boxes,
            labels=torch.from_numpy(labels),
            image_id=int(self.annotations.image_ids[index]),
            name=self.annotations.names[index],
            size=size,
            original_size=original_size,
            masks=masks,
        )

    def original_size(self, index: int) -> tuple[int, int]:
        """Return (height, width) of the image on disk, as annotated."""
        height, width = self.annotations.sizes[index]
        return int(height), int(width)

    def input_size(self, key: SampleKey) -> tuple[int, int]:
        """Return (height, width) of the sample without opening the image."""
        epoch, index = key
        original_size = self.original_size(index)
        if self.short_sides is None or self.long_side is None:
            return original_size
        short_side = max(self.short_sides)
        if self.training:
            augmentation = transforms.sample_augmentation(self.seed, epoch, index)
            short_side = transforms.pick(self.short_sides, augmentation.short_side)
        return transforms.resized_size(original_size, short_side, self.long_side, self.box_convention)

    def _image(self, index: int) -> UInt8[Tensor, "3 H W"]:
        if self.decoded is not None:
            return self.decoded[index]
        return open_image(self.folder / self.annotations.names[index], self.original_size(index), self.rules)
