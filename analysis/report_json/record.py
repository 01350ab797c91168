"""Base of the records of report.json, and numbers as it has them."""

import math
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict


def _to_finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


# JSON has no NaN and no infinities: both are null.
Number = Annotated[float | None, BeforeValidator(_to_finite)]


class Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", json_schema_serialization_defaults_required=True)
