"""Consecutive training steps without a positive location, in which only the background is learned."""

import logging
from dataclasses import dataclass
from typing import Final

# From so many steps in a row on a training is warned about; rare objects leave single batches without a positive.
MIN_STEPS: Final = 50


@dataclass
class MissingPositives:
    """Counts steps in a row without a positive location on any worker, and logs each long row once.

    It is given numbers that are on the host already, so that no step waits for the device.
    """

    # Steps added, those of the current row, and number and last step of the longest.
    steps: int = 0
    row: int = 0
    longest: int = 0
    longest_until: int = 0

    def add(self, step: int, positives: float) -> None:
        """Count a step with its mean number of positive locations per image."""
        self.steps += 1
        self.row = 0 if positives > 0 else self.row + 1
        if self.row > self.longest:
            self.longest, self.longest_until = self.row, step
        if self.row == MIN_STEPS:
            logging.getLogger(__name__).warning("%s", _message(self.row, step))

    def notes(self) -> list[str]:
        """Return a note on the longest row where it is long, or where no step at all had a positive location."""
        if not self.longest or (self.longest < MIN_STEPS and self.longest < self.steps):
            return []
        return [_message(self.longest, self.longest_until)]


def _message(steps: int, last: int) -> str:
    return (
        f"warning: no location was positive in {steps} steps in a row (up to step {last}), which learn the background "
        "alone: boxes may be in other units than pixels, or fit no range of model.assignment; "
        "`python -m fcos draw` shows the assignment of an image"
    )
