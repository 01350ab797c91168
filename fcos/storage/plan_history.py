"""History of a sweep's plan, plan_history.json: when it was made and changed, and how many results were there."""

from typing import Annotated, Final, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, JsonValue, NonNegativeInt, ValidationError

from fcos.errors import DataError

# A history of a thousand changes to a sweep of a hundred arms takes some 20 MB.
MAX_BYTES: Final = 50_000_000
Digest = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class PlanEntry(BaseModel):
    """The plan of the first command of a sweep, or of a later one whose plan is another.

    Numbers are those at the start of that command, before it trained anything.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    time: AwareDatetime
    # Of seeds, arms and settings.
    digest: Digest
    # Trainings in the sweep's folder that had reported anything, and that had a result.
    begun: NonNegativeInt
    finished: NonNegativeInt
    # Trainings of this plan whose results other sweeps of the store had.
    finished_elsewhere: NonNegativeInt
    # Seeds that may be trained, also those that are trained only until all is decided.
    seeds: tuple[int, ...]
    # Arm -> digest of its configuration; none for a search, which draws them.
    arms: dict[str, Digest]
    # Dotted key -> value: what is compared and how, code, versions, data.
    settings: dict[str, JsonValue]
    # What differs from the entry before, each by a line.
    changes: tuple[str, ...] = ()


class PlanHistory(BaseModel):
    """All plans of a sweep, the first one first."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    format: Literal[1] = 1
    entries: tuple[PlanEntry, ...] = Field(min_length=1)


def parse_plan_history(content: bytes) -> PlanHistory:
    """Parse a plan's history; raises DataError with the reason, which names no file."""
    if len(content) > MAX_BYTES:
        raise DataError(f"is larger than {MAX_BYTES:,} bytes")
    try:
        return PlanHistory.model_validate_json(content)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise DataError(f"{where}: {first['msg']}" if where else first["msg"]) from None
