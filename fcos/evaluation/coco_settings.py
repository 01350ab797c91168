"""Settings of COCO's evaluation of boxes. This module loads no torch."""

from collections.abc import Mapping
from typing import Final

import numpy as np

IOU_THRESHOLDS: Final = np.linspace(0.5, 0.95, 10)
# Recalls at which precision is taken.
RECALL_THRESHOLDS: Final = np.linspace(0.0, 1.0, 101)
# Of an image and a class.
MAX_DETECTIONS: Final = 100
# Letter at the end of a metric's name, "" for all areas -> smallest and largest area in square pixels, both included.
AREA_RANGES: Final[Mapping[str, tuple[float, float]]] = {
    "": (0.0, 1e10), "s": (0.0, 32.0**2), "m": (32.0**2, 96.0**2), "l": (96.0**2, 1e10),
}  # fmt: skip
