"""Small detectors of any kind with random weights and a checkpoint."""

from pathlib import Path
from typing import Any

import torch

from fcos.build import build_detector
from fcos.config.parse import parse, set_value
from fcos.config.presets import load_presets
from fcos.config.run import Config
from fcos.inference import Trained
from fcos.training import checkpoint

CLASSES = ("disc", "square", "ring")
TINY_BACKBONE = {"name": "small_resnet", "norm": "bn", "widths": [16, 16, 16, 16, 16]}


def make_random_detector(
    folder: Path, tiny_values: dict[str, Any], preset: str | None = None, **changes: Any
) -> Trained:
    """Make a tiny detector, of a preset where one is named, whose random weights find something everywhere.

    folder: where its checkpoint is written. changes: settings by key, with two underscores in place of a dot.
    """
    values = dict(tiny_values)
    if preset is not None:
        model = load_presets()[preset].model_dump(mode="json")
        model["backbone"] = TINY_BACKBONE
        model["fpn"]["channels"] = 16
        model["head"] |= {"num_convs": 1, "gn_groups": 8}
        values["model"] = model
    for key, value in {"model.postprocess.max_detections": 20, **changes}.items():
        values = set_value(values, key.replace("__", "."), value)
    config = parse(Config, values)
    torch.manual_seed(0)
    detector = build_detector(config.model, len(CLASSES), channels_last=config.schedule.channels_last).eval()
    _spread_scores(detector)
    saved = checkpoint.save(
        folder / "checkpoints", step=7, config=config.model_dump(mode="json"), classes=CLASSES, model=detector,
        averages={}, state={},
    )  # fmt: skip
    return Trained(detector, config, CLASSES, 7, torch.device("cpu"), saved)


def _spread_scores(detector: torch.nn.Module) -> None:
    """Make random weights of the last layers large, so that scores and boxes differ and do not round to one another."""
    with torch.no_grad():
        for name, parameter in detector.named_parameters():
            if name.endswith("classification.weight"):
                parameter.mul_(60)
            elif name.endswith("classification.bias"):
                parameter.zero_()
            elif name.endswith("regression.weight"):
                parameter.mul_(10)
            elif name.endswith("regression.bias"):
                parameter.fill_(1.0)
