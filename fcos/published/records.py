"""Records of a published archive: its header, its runs, and their metric points."""

import csv
import io
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Final, Literal, NamedTuple, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from fcos.published.archive import ArchiveError
from fcos.published.layout import MAX_NAME_CHARS, RUN_ID
from fcos.published.texts import MARKS, read_text

RunId = Annotated[str, Field(pattern=f"^{RUN_ID}$")]
POINT_COLUMNS: Final = ["key", "step", "time", "value"]
# Text that people read on a console and in a report.
_Line = Annotated[str, Field(max_length=200, pattern=rf"^[^\x00-\x1f\x7f-\x9f\u2028\u2029{MARKS}]*$")]
# Text that may have lines, and nothing else that steers a terminal.
_Text = Annotated[str, Field(pattern=rf"^[^\x00-\x08\x0b-\x1f\x7f-\x9f{MARKS}]*$")]
# By how much the clock of another machine may be ahead, in milliseconds.
_AHEAD: Final = 24 * 3_600_000
_ModelT = TypeVar("_ModelT", bound=BaseModel)


def _check_time(milliseconds: int) -> int:
    """Return a time that has been; raises ValueError for a later one, which no reader has a date for or sorts first."""
    if milliseconds > time.time() * 1000 + _AHEAD:
        raise ValueError("is later than now: by a clock that is wrong, or made up")
    return milliseconds


_Time = Annotated[int, Field(ge=0), AfterValidator(_check_time)]


class ArchiveHeader(BaseModel):
    """What an archive holds: archive.json.

    run_id: of the sweep's own run, or of a single run. laboratory: where it was trained, "" where that is not given.
    resamples: of the validation images in its report. version: of fcos-lab that wrote the report.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    format: Literal[1] = 1
    sweep: _Line
    run_id: RunId
    laboratory: _Line
    resamples: Annotated[int, Field(ge=0, le=10_000)]
    version: _Line


class PublishedRun(BaseModel):
    """A run of a tracking store without its metrics: run.json. start, end: milliseconds since 1970."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    run_id: RunId
    name: _Text
    status: Literal["RUNNING", "SCHEDULED", "FINISHED", "FAILED", "KILLED"]
    start: _Time
    end: _Time | None
    tags: dict[_Text, _Text]
    params: dict[_Text, _Text]


class PublishedPoint(NamedTuple):
    """One logged value of a metric. time: milliseconds since 1970."""

    key: str
    step: int
    time: int
    value: float


def order_point(point: PublishedPoint) -> tuple[int, int, bool, float]:
    """Return by what the points of a metric are ordered, the last of which counts: MLflow's own order.

    A value that is no number counts as the least.
    """
    is_number = point.value == point.value
    return point.step, point.time, is_number, point.value if is_number else 0.0


def format_points(points: Iterable[PublishedPoint]) -> str:
    """Return points as a table that gives the same doubles again.

    Of several values of a metric at one step and time it has the one that counts.
    """
    counting: dict[tuple[str, int, int], PublishedPoint] = {}
    for point in points:
        at = (point.key, point.step, point.time)
        counting[at] = max(counting.get(at, point), point, key=order_point)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(POINT_COLUMNS)
    writer.writerows((*at, repr(float(counting[at].value))) for at in sorted(counting))
    return text.getvalue()


def read_points(path: Path) -> list[PublishedPoint]:
    """Read a table of points, none where there is no file; raises ArchiveError naming the line.

    A table that format_points does not write is refused, and so are two values of a metric at one step and time.
    """
    if not path.is_file():
        return []
    text = read_text(path)
    lines = csv.reader(io.StringIO(text, newline=""))
    points: list[PublishedPoint] = []
    try:
        if next(lines, None) != POINT_COLUMNS:
            raise ValueError(f"its columns are not {', '.join(POINT_COLUMNS)}")
        for key, step, time, value in lines:
            points.append(PublishedPoint(key, int(step), int(time), float(value)))
            if max(abs(points[-1].step), abs(points[-1].time)) >= 1 << 63:
                raise ValueError("its step or time has more than 64 bits")
            if len(points) > 1 and points[-2][:3] >= points[-1][:3]:
                raise ValueError("is not behind the line before it by metric, step and time, or has the same of these")
    except (ValueError, csv.Error) as error:
        raise ArchiveError(f"{path.name} of {path.parent.name}, line {lines.line_num}: {error}") from None
    if format_points(points) != text:
        raise ArchiveError(f"{path.name} of {path.parent.name}: is not written as publish.py writes it")
    return points


def read_record(path: Path, model: type[_ModelT]) -> _ModelT:
    """Read a JSON file as a record; raises ArchiveError naming the file, the key and the rule."""
    try:
        return model.model_validate_json(read_text(path))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        # Keys come from the archive: nothing in them may steer a terminal.
        where = ".".join(map(str, first["loc"])).encode("unicode_escape").decode()[:MAX_NAME_CHARS] or "text"
        raise ArchiveError(f"{path.name} of {path.parent.name}: {where}: {first['msg']}") from None
