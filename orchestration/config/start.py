"""Where a training on a folder of one's own starts: model and schedule from the amount of data."""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Start:
    """A model and a schedule that belong together, and how fast the model trains."""

    model: str
    schedule: str
    # Passes over the training images.
    epochs: int
    # Input megapixels a second that one CPU core trains on, evaluations included; a round number of a slow one.
    megapixels_per_second: float
    reason: str


FROM_SCRATCH: Final = Start(
    model="fcos_small",
    schedule="embedded",
    epochs=60,
    megapixels_per_second=1.5,
    reason="small enough for a processor, and trains from random weights",
)


def choose_start(images: int, device: str) -> Start:
    """Return the start for a number of training images on a device (cpu, cuda or auto)."""
    return FROM_SCRATCH
