"""Schema of the augmentations of training samples; all are off by default."""

from pydantic import Field, model_validator

from fcos.config.base import Section


class AugmentationConfig(Section):
    """Augmentations of training samples beside the sampled short side and the flip (see fcos.augmentation.augment).

    None changes the size of a sample. Each draws from a generator of its own, so that one can be switched off without
    changing what the others draw. They are applied in this order: mosaic, copy_paste, mixup, photometric, zoom_out,
    iou_crop, random_crop, scale_jitter.
    """

    # Probability of four images side by side, each at half its size.
    mosaic: float = Field(0.0, ge=0, le=1)
    # Probability that about half of the objects of another image are pasted; needs annotations with masks.
    copy_paste: float = Field(0.0, ge=0, le=1)
    # Probability of another image blended in, with the boxes of both.
    mixup: float = Field(0.0, ge=0, le=1)
    # Probability of each of four distortions: brightness, contrast, saturation and hue.
    photometric: float = Field(0.0, ge=0, le=1)
    # Probability that an image is shrunk by 1 to 4 onto a blank canvas of its size.
    zoom_out: float = Field(0.0, ge=0, le=1)
    # Probability of a crop that overlaps a box by a sampled IoU.
    iou_crop: float = Field(0.0, ge=0, le=1)
    # Smallest share of each side that a crop around a box keeps, the share being uniform up to 1; null is off.
    random_crop: float | None = Field(None, gt=0, lt=1)
    # Smallest and largest factor of an image's scale, cropped or padded to its size; null is off.
    scale_jitter: tuple[float, float] | None = None
    # Boxes of which a crop or a pasted object leaves a smaller share visible are not trained on.
    min_visible: float = Field(0.1, ge=0, lt=1)

    @property
    def is_active(self) -> bool:
        """Whether any augmentation is on."""
        return self.drops_boxes or any((self.photometric, self.zoom_out, self.mixup))

    @property
    def drops_boxes(self) -> bool:
        """Whether any augmentation may hide a part of a box."""
        return any((self.mosaic, self.copy_paste, self.iou_crop, self.random_crop, self.scale_jitter))

    @model_validator(mode="after")
    def _check(self) -> "AugmentationConfig":
        if self.scale_jitter is not None and not 0 < self.scale_jitter[0] <= self.scale_jitter[1]:
            raise ValueError(f"scale_jitter={list(self.scale_jitter)}: must rise, from a factor above 0")
        return self
