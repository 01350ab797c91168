"""A detector as a folder of two files: the weights that are evaluated, and what is needed to run them elsewhere."""

import json
from pathlib import Path
from typing import Any, Final

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from fcos.config.parse import parse, set_value
from fcos.config.run import Config
from fcos.errors import ConfigError
from fcos.inference import Trained, detector_with
from fcos.storage.checkpoint_folder import CheckpointError, sha256_of

WEIGHTS: Final = "weights.safetensors"
RECORD: Final = "detector.json"
# Of the record; a folder of another one is refused.
FORMAT: Final = 1
# Keys of a configuration that name files and folders of the machine that trained; prediction reads none of them.
PATHS: Final = ("data.cache_dir", "model.weights", "model.backbone.weights")


class DetectorRecord(BaseModel):
    """Content of detector.json: configuration without folders of a machine, classes in the order of labels."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    format: int
    classes: tuple[str, ...] = Field(min_length=1)
    # Of the weights.
    step: int
    weights_sha256: str
    config: dict[str, Any]


def write_detector(trained: Trained, folder: Path) -> DetectorRecord:
    """Write a detector into a folder, which is made; returns its record."""
    folder.mkdir(parents=True, exist_ok=True)
    state = trained.detector.state_dict()
    # safetensors stores plain row-major tensors; channels_last weights are not.
    save_file({name: value.detach().cpu().contiguous() for name, value in state.items()}, folder / WEIGHTS)
    record = DetectorRecord(
        format=FORMAT,
        classes=trained.classes,
        step=trained.step,
        weights_sha256=sha256_of(folder / WEIGHTS),
        config=_without_paths(trained.config),
    )
    (folder / RECORD).write_text(record.model_dump_json(indent=1))
    return record


def _without_paths(config: Config) -> dict[str, Any]:
    values = config.model_dump(mode="json")
    for key in PATHS:
        values = set_value(values, key, None)
    if config.data.root is None:
        return values
    # A data set on disk needs a root and files; which they are does not matter to what predicts on other images.
    for name, split in {"train": config.data.train, "val": config.data.val}.items():
        if split is not None:
            values = set_value(values, f"data.{name}.annotations", Path(split.annotations).name)
            values = set_value(values, f"data.{name}.images", Path(split.images).name)
    return set_value(values, "data.root", ".")


def read_detector(folder: Path, device: torch.device) -> Trained:
    """Return the detector of a folder that `write_detector` wrote.

    Raises CheckpointError naming the file and what is wrong with it.
    """
    record = _read_record(folder / RECORD)
    weights = folder / WEIGHTS
    try:
        if sha256_of(weights) != record.weights_sha256:
            raise CheckpointError(f"{weights}: is damaged (its sha256 is not the one in {RECORD})")
        config = parse(Config, record.config)
        detector = detector_with(load_file(weights), config, record.classes)
    except OSError as error:
        raise CheckpointError(f"{weights}: cannot be read ({error.strerror or error})") from None
    except (ConfigError, RuntimeError, SafetensorError) as error:
        raise CheckpointError(f"{folder}: is no detector that this version can build ({error})") from None
    return Trained(detector.to(device).eval(), config, record.classes, record.step, device, weights)


def _read_record(path: Path) -> DetectorRecord:
    try:
        values = json.loads(path.read_text())
        if values.get("format") != FORMAT:
            raise CheckpointError(f"{path}: has the format {values.get('format')}, this version reads {FORMAT}")
        return DetectorRecord.model_validate(values)
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror or error})") from None
    except (ValidationError, ValueError, AttributeError) as error:
        if isinstance(error, CheckpointError):
            raise
        raise CheckpointError(f"{path}: is damaged") from None
