"""Where a training on a folder of one's own starts: model, schedule and augmentation that data=auto chooses."""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Start:
    """A model, a schedule and an augmentation that belong together, and how fast the model trains."""

    model: str
    schedule: str
    augmentation: str
    # Passes over the training images.
    epochs: int
    # Input megapixels a second that two CPU cores train on, evaluations included; a round number of slow ones.
    megapixels_per_second: float
    reason: str


# A detector from random weights needs more images and steps than folders of photographs have.
START: Final = Start(
    model="fcos_lite",
    schedule="finetune",
    augmentation="light",
    epochs=30,
    megapixels_per_second=1.15,
    reason="begins from weights trained on ImageNet, which are installed and need no network",
)
