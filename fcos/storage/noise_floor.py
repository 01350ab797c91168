"""Noise of a training, as a report of a noise floor leaves it beside itself in noise.json."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fcos.errors import DataError

NOISE = "noise.json"
# Sections of a training's config that a noise floor holds for.
SETTING_SECTIONS = ("model.", "data.", "schedule.")
# A file of a hundred metrics takes under 0.1 MB.
MAX_BYTES = 4_000_000

Deviation = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Spread(BaseModel):
    """Sample standard deviation over seeds with its 95 % interval, in the metric's unit (AP: a fraction)."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    seeds: int = Field(ge=2)
    deviation: Deviation
    low: Deviation
    high: Deviation


class MetricNoise(Spread):
    """Noise of one metric where all sources of chance vary, and of single sources."""

    mean: float = Field(allow_inf_nan=False)
    # Source of chance (weights, order, augmentation) -> the spread where it alone varies.
    sources: dict[str, Spread] = {}


class NoiseFloor(BaseModel):
    """What re-running one training with other seeds changes, and the training that it holds for."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    format: Literal[1] = 1
    # Name and MLflow run of the sweep that measured it.
    sweep: str
    run_id: str
    # Metric -> its noise.
    metrics: dict[str, MetricNoise]
    # Dotted keys of model, data and schedule with their values.
    settings: dict[str, Any]
    data_digest: str
    # Digest of the checkpoint of another schedule that its trainings went on from; "" for none.
    extends: str = ""

    def to_json(self) -> str:
        """Return the file's text."""
        return self.model_dump_json(indent=2) + "\n"


def read_noise_floor(path: Path) -> NoiseFloor:
    """Read noise.json; raises DataError where it is too large or not as described, and OSError."""
    with path.open("rb") as file:
        content = file.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise DataError(f"{path}: is larger than {MAX_BYTES:,} bytes, and so no noise floor")
    try:
        return NoiseFloor.model_validate_json(content)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        where = "".join(f"{part}." for part in first["loc"]).rstrip(".")
        reason = f"{where}: {first['msg']}" if where else first["msg"]
        raise DataError(f"{path}: is no noise floor ({reason}); write its report again") from None
