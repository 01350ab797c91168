"""Changes to the default configuration with which it trains in a second, and its data."""

from pathlib import Path
from typing import Any


def tiny_changes(cache: Path) -> dict[str, Any]:
    """Settings for `fcos.configure`: the embedded default, smaller in every way."""
    return {
        "model.backbone.widths": [16, 16, 16, 16, 16],
        "model.fpn.channels": 16,
        "model.head.num_convs": 1,
        "data.synthetic": {"image_size": 64, "train_images": 24, "val_images": 6, "object_size": [10, 40]},
        "data.cache_dir": str(cache),
        "schedule.steps": 6,
        "schedule.warmup_steps": 2,
        "schedule.log_every": 2,
        "schedule.eval_every": 3,
        "schedule.checkpoint_every": 3,
    }
