"""What an exported file records of itself: classes, input, settings and where its weights come from."""

import json
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fcos.config.parse import flatten, set_value
from fcos.config.paths import is_weights_file
from fcos.errors import ConfigError

# Before each key in the metadata of an ONNX file; after it stands a JSON value.
PREFIX: Final = "fcos_lab."
# Of the record; a file of a newer one is refused.
FORMAT: Final = 1
# Keys of where the data and the first weights lie on a machine.
ROOT: Final = "data.root"
VALIDATION: Final = ("data.val.annotations", "data.val.images")
IN_ROOT: Final = ("data.train.annotations", "data.train.images", *VALIDATION)
WEIGHTS: Final = ("model.weights", "model.backbone.weights")
# Keys of the section `data` for what a machine does with them.
OF_A_MACHINE: Final = ("cache_dir", "cache_gb", "num_workers")
# Longest value of a key that is read, in characters; a thousand classes take 20 thousand.
MAX_CHARACTERS: Final = 4_000_000


class FileRecord(BaseModel):
    """Metadata of an exported detector.

    `config` is the configuration of the training with all changes, without paths (see `without_paths`). Evaluation
    takes sizes and post-processing from it; the fields above it repeat what a program elsewhere needs.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", protected_namespaces=())

    format: int = FORMAT
    classes: tuple[str, ...] = Field(min_length=1)
    # Applied within the file: pixels are RGB 0..255.
    pixel_mean: tuple[float, float, float]
    pixel_std: tuple[float, float, float]
    # Height and width of the input must be multiples of it; images are padded at right and bottom.
    size_divisor: int = Field(ge=1)
    strides: tuple[int, ...]
    # Sides to which evaluation scales images; null keeps their own size.
    short_side: int | None
    long_side: int | None
    # Whether the file gives detections, or head outputs that are post-processed outside of it.
    detects: bool
    step: int
    # Of the training and of its data; empty for weights of which they are not known.
    identity: str = ""
    data_digest: str = ""
    # Hash of the checkpoint or the file that the weights come from.
    weights_sha256: str = ""
    # Memory that a forward pass takes at least for each pixel of its canvas.
    bytes_per_pixel: float = Field(gt=0)
    torch_version: str
    config: dict[str, Any]

    def to_properties(self) -> dict[str, str]:
        """Return the record as the texts that an ONNX file keeps."""
        return {f"{PREFIX}{key}": json.dumps(value) for key, value in self.model_dump(mode="json").items()}

    @classmethod
    def from_properties(cls, properties: Mapping[str, str], source: str) -> "FileRecord":
        """Read a record from the texts of a file; raises ConfigError naming the file where it has none or another."""
        values: dict[str, Any] = {}
        for key, text in properties.items():
            if not key.startswith(PREFIX):
                continue
            try:
                if len(text) > MAX_CHARACTERS:
                    raise ValueError
                values[key.removeprefix(PREFIX)] = json.loads(text)
            except (ValueError, RecursionError):
                raise ConfigError(f"{source}: its metadata {key} is not readable; export the detector again") from None
        if not values:
            raise ConfigError(
                f"{source}: was not written by `python -m fcos export` (it has no metadata {PREFIX}*), so that classes "
                "and settings are not known"
            )
        if values.get("format") != FORMAT:
            raise ConfigError(
                f"{source}: its metadata have the format {values.get('format')}, this version reads {FORMAT}; export "
                "the detector again"
            )
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            keys = ", ".join(".".join(map(str, item["loc"])) for item in error.errors())
            raise ConfigError(f"{source}: its metadata are damaged ({keys}); export the detector again") from None


def without_paths(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of a configuration without paths of a machine, each replaced by its key: <data.root>.

    Paths below the root of the data stay. Caches and loader processes get the defaults of whoever reads the values.
    """
    values, flat = dict(config), flatten(config)
    for key in (ROOT, *IN_ROOT, *WEIGHTS):
        value = flat.get(key)
        if isinstance(value, str) and _is_path(key, value):
            values = set_value(values, key, f"<{key}>")
    data = values.get("data")
    if isinstance(data, dict):
        values["data"] = {key: value for key, value in data.items() if key not in OF_A_MACHINE}
    return values


def _is_path(key: str, value: str) -> bool:
    if key in IN_ROOT:
        path = PurePath(value)
        return path.is_absolute() or ".." in path.parts or value.startswith("~")
    return key != "model.backbone.weights" or is_weights_file(value)


def find_unknown_paths(config: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the keys whose paths are left out of a configuration."""
    return tuple(key for key, value in flatten(config).items() if value == f"<{key}>")
