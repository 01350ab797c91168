"""Seeds of the sources of chance in a training."""

from dataclasses import dataclass

from pydantic import Field

from fcos.config.base import Section


class SeedsConfig(Section):
    """Seeds of single sources of chance; null takes `seed`, which alone sets all of them."""

    # Initial weights of the layers that no file gives, and with assignment.tie_break=random the ties.
    weights: int | None = Field(None, ge=0)
    # Order of the training images, and which of them share a batch.
    order: int | None = Field(None, ge=0)
    # Flip, short side and data.augmentation of each training sample.
    augmentation: int | None = Field(None, ge=0)


@dataclass(frozen=True)
class Seeds:
    """The seed of every source of chance in a training."""

    weights: int
    order: int
    augmentation: int
