"""Samples of a data set in COCO format."""

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor
from torch.utils.data import Dataset

from fcos.annotations.annotations import Annotations
from fcos.augmentation import transforms
from fcos.augmentation.augment import augment, draws_of
from fcos.augmentation.labeled_image import LabeledImage, keep_objects
from fcos.config.choices import Split
from fcos.config.run import DataConfig
from fcos.data.masks import unpack_masks
from fcos.data.prepare import PreparedData, image_rules
from fcos.data.sample_settings import SampleSettings, SampleSizes
from fcos.data.sampler import SampleKey
from fcos.images.decoded import DecodedImages
from fcos.images.open_image import DEFAULT_RULES, ImageRules, open_image
from fcos.images.resized_size import resized_size


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


class CocoDataset(Dataset[Sample]):
    """Samples of annotated images, by (epoch, index).

    Training samples short side, augmentations and flip at random; evaluation uses the largest short side and nothing
    else. `decoded` images, at their own size or at that of the samples, are used instead of the files, which are read
    by `rules`.
    """

    def __init__(
        self,
        annotations: Annotations,
        folder: Path,
        settings: SampleSettings,
        *,
        training: bool,
        seed: int,
        decoded: DecodedImages | None = None,
        rules: ImageRules = DEFAULT_RULES,
    ) -> None:
        self.annotations = annotations
        self.folder = folder
        self.settings = settings
        self.training = training
        self.seed = seed
        self.decoded = decoded
        self.rules = rules

    def __len__(self) -> int:
        return len(self.annotations)

    @property
    def sample_sizes(self) -> SampleSizes:
        """What the sizes of the samples follow from."""
        return SampleSizes(self.annotations.sizes, self.settings, self.training)

    def __getitem__(self, key: SampleKey) -> Sample:
        epoch, index = key
        settings = self.settings
        item = self._resized(epoch, index)
        if self.training and settings.augmentation.is_active:
            item = self._augmented(epoch, index, item)
        image, boxes, masks = item.image, item.boxes, item.masks if settings.masks else None
        if self.training and transforms.sample_augmentation(self.seed, epoch, index).flip < settings.flip:
            image, boxes = transforms.flip(image, boxes, settings.box_convention)
            masks = None if masks is None else masks.flip(-1)
        return Sample(
            image=image,
            boxes=boxes,
            labels=item.labels,
            image_id=int(self.annotations.image_ids[index]),
            name=self.annotations.names[index],
            size=item.size,
            original_size=self.original_size(index),
            masks=masks,
        )

    def original_size(self, index: int) -> tuple[int, int]:
        """Return (height, width) of the image on disk, as annotated."""
        height, width = self.annotations.sizes[index]
        return int(height), int(width)

    def input_size(self, key: SampleKey) -> tuple[int, int]:
        """Return (height, width) of the sample without opening the image."""
        epoch, index = key
        settings = self.settings
        original_size = self.original_size(index)
        if settings.short_sides is None or settings.long_side is None:
            return original_size
        short_side = max(settings.short_sides)
        if self.training:
            augmentation = transforms.sample_augmentation(self.seed, epoch, index)
            short_side = transforms.pick(settings.short_sides, augmentation.short_side)
        return resized_size(original_size, short_side, settings.long_side, settings.box_convention)

    def _resized(self, epoch: int, index: int) -> LabeledImage:
        """Return image and objects at the network's input size, boxes in the convention of the annotations."""
        rows, labels = self.annotations.training_boxes(index)
        packed_masks = self.annotations.training_masks(index)
        size = self.input_size((epoch, index))
        return LabeledImage(
            image=transforms.resize_image(self._image(index), size),
            boxes=transforms.resize_boxes(torch.from_numpy(rows), self.original_size(index), size),
            labels=torch.from_numpy(labels),
            masks=None if packed_masks is None else torch.from_numpy(unpack_masks(packed_masks)),
        )

    def _augmented(self, epoch: int, index: int, item: LabeledImage) -> LabeledImage:
        """Return the sample with all augmentations but the flip.

        They see boxes in the plain convention. Boxes that then have no area in the inclusive one are dropped.
        """
        last_pixel = 1.0 if self.settings.box_convention == "inclusive" else 0.0
        offset = item.boxes.new_tensor([0.0, 0.0, last_pixel, last_pixel])

        def with_plain_boxes(labeled: LabeledImage) -> LabeledImage:
            # Inclusive boxes of an image that was made smaller reach beyond its edge by a part of a pixel.
            edge = item.boxes.new_tensor([labeled.size[1], labeled.size[0]] * 2)
            return replace(labeled, boxes=(labeled.boxes + offset).minimum(edge))

        augmented = augment(
            with_plain_boxes(item),
            self.settings.augmentation,
            partial(draws_of, self.seed, epoch, index),
            lambda other: with_plain_boxes(self._resized(epoch, other)),
            len(self),
        )
        boxes = augmented.boxes - offset
        return keep_objects(replace(augmented, boxes=boxes), (boxes[:, 2:] > boxes[:, :2]).all(dim=1))

    def _image(self, index: int) -> UInt8[Tensor, "3 H W"]:
        if self.decoded is not None:
            return torch.from_numpy(self.decoded[index])
        path = self.folder / self.annotations.names[index]
        return torch.from_numpy(open_image(path, self.original_size(index), self.rules))


def make_dataset(
    prepared: PreparedData, split: Split, config: DataConfig, training: bool, seed: int, *, masks: bool = True
) -> CocoDataset:
    """Return the samples of a split, with the transforms of training or of evaluation.

    masks: whether samples have the masks that were read, which only the assignment by masks needs.
    """
    source = prepared.splits[split]
    return CocoDataset(
        source.annotations,
        source.folder,
        SampleSettings.of(config, prepared.box_convention, masks=masks),
        training=training,
        seed=seed,
        decoded=source.decoded,
        rules=image_rules(config),
    )
