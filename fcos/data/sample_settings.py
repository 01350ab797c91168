"""How samples are made of the images of a data set, and how large they become; loads no torch."""

from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Int64

from fcos.config.augmentation import AugmentationConfig
from fcos.config.choices import BoxConvention
from fcos.config.run import DataConfig


@dataclass(frozen=True)
class SampleSettings:
    """How a sample is made of an image: the keys of DataConfig, and the box convention of the annotations."""

    # One is sampled for each training sample; None keeps every image at its own size.
    short_sides: tuple[int, ...] | None = None
    long_side: int | None = None
    # Probability.
    flip: float = 0.0
    augmentation: AugmentationConfig = field(default_factory=AugmentationConfig)
    box_convention: BoxConvention = "plain"
    # Whether samples have the masks of the annotations; copy_paste uses them in any case.
    masks: bool = True

    @classmethod
    def of(cls, config: DataConfig, box_convention: BoxConvention, *, masks: bool = True) -> "SampleSettings":
        """Return the settings of a configured data set."""
        return cls(
            short_sides=config.short_sides,
            long_side=config.long_side,
            flip=config.flip,
            augmentation=config.augmentation,
            box_convention=box_convention,
            masks=masks,
        )


@dataclass(frozen=True)
class SampleSizes:
    """What the sizes of a data set's samples follow from; `images` are (height, width) on disk, as annotated."""

    images: Int64[np.ndarray, "N 2"]
    settings: SampleSettings
    # Whether a short side is sampled; evaluation uses the largest.
    training: bool

    def __len__(self) -> int:
        return len(self.images)
