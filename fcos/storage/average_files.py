"""Files of a checkpoint that hold moving averages of the weights, named by their decays.

The average of the configuration's own schedule.ema has a name without a decay, which is that of earlier versions.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

OWN: Final = "ema.safetensors"
OTHER: Final = re.compile(r"ema_(\d.*)\.safetensors")


def own_decay(config: Mapping[str, Any]) -> float | None:
    """Return schedule.ema of a config as plain values; None for one without a schedule."""
    decay = config.get("schedule", {}).get("ema")
    return None if decay is None else float(decay)


def average_file(decay: float, own: float | None) -> str:
    """Return the name of the file of an average; `own` is the configuration's decay."""
    return OWN if decay == own else f"ema_{decay!r}.safetensors"


def average_files(names: Iterable[str], own: float | None) -> dict[float, str]:
    """Return decay -> name for those of a checkpoint's files that hold an average."""
    found = {}
    for name in sorted(names):
        if name == OWN and own is not None:
            found[own] = name
        elif match := OTHER.fullmatch(name):
            found[float(match[1])] = name
    return found
