"""Events of a command for programs (--json), each a line of JSON: those that sweeps and reports share.

The others are in orchestration/cli/event_records.py. The JSON schema of all of them is docs/events.schema.json.
"""

import json
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from fcos.errors import Mistake
from fcos.statistics.outcomes import Outcome

# Rises when a field changes its meaning or goes away.
EVENT_VERSION: Final = 1


def _to_finite(value: Any) -> Any:
    # JSON has no NaN and no infinities: both are null.
    return None if isinstance(value, float) and not math.isfinite(value) else value


Number = Annotated[float | None, BeforeValidator(_to_finite)]


class Part(BaseModel):
    """A part of an event."""

    model_config = ConfigDict(frozen=True, extra="forbid", json_schema_serialization_defaults_required=True)


class EventRecord(Part):
    """What every event has. time: ISO 8601, UTC."""

    version: Literal[1] = EVENT_VERSION
    time: str = Field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="milliseconds"))

    def to_line(self) -> str:
        """Return the event as a line of JSON, which is valid UTF-8.

        Bytes of file names and arguments that are none are question marks: JSON has no form for them.
        """
        text = json.dumps(self.model_dump(), ensure_ascii=False)
        return text.encode("utf-8", "replace").decode() + "\n"


class Problem(Part):
    """One mistake: key or file, value, rule and way out, as far as the message names them; else null.

    text: the message as people read it.
    """

    key: str | None = None
    file: str | None = None
    line: int | None = None
    value: str | None = None
    rule: str
    hint: str | None = None
    text: str

    @classmethod
    def of(cls, mistake: Mistake) -> "Problem":
        """Return a mistake whose parts are known."""
        return cls(**asdict(mistake), text=str(mistake))


class ErrorEvent(EventRecord):
    """Why a command did not do what it was started for. error: config is the user's to correct. exit_code: 2 or 3."""

    type: Literal["error"] = "error"
    error: Literal["config", "folder_in_use", "store"]
    exit_code: int
    problems: tuple[Problem, ...]

    @classmethod
    def of(
        cls, error: Literal["config", "folder_in_use", "store"], code: int, mistakes: Sequence[Mistake | str]
    ) -> "ErrorEvent":
        """Return the event of the mistakes of an error; texts are split where they have the form of one."""
        problems = [
            problem
            for each in mistakes
            for problem in ([Problem.of(each)] if isinstance(each, Mistake) else split_problems(each))
        ]
        return cls(error=error, exit_code=code, problems=tuple(problems))


class Verdict(Part):
    """What an arm shows against the baseline, as in report.json, which has the numbers behind it."""

    metric: str
    arm: str
    outcome: Outcome
    text: str


class TableRow(Part):
    """Values of an arm over its seeds, unrounded and in fractions. deviation: of a sample."""

    metric: str
    arm: str
    n: int
    mean: Number
    deviation: Number
    missing_seeds: tuple[int, ...]


class ReportEvent(EventRecord):
    """A report that was written. files: their absolute paths by name; report.json has every number with its run.

    missing: planned trials without a result. findings: what the report shows beside verdicts.
    """

    type: Literal["report"] = "report"
    sweep: str
    run_id: str
    kind: str
    state: str
    folder: str
    files: dict[str, str]
    verdicts: tuple[Verdict, ...]
    table: tuple[TableRow, ...]
    recommended_settings: str | None = Field(description="YAML to paste, where the report recommends some")
    findings: tuple[str, ...]
    missing: int
    notes: tuple[str, ...]


class PaperTable(Part):
    """How many rows of a paper's table have been run, on COCO, and reproduced."""

    table: str
    rows: int
    run: int
    coco: int
    reproduced: int


class PaperReportEvent(EventRecord):
    """The report of a whole paper that was written."""

    type: Literal["paper_report"] = "paper_report"
    paper: str
    folder: str
    files: dict[str, str]
    tables: tuple[PaperTable, ...]
    notes: tuple[str, ...]


def locate_files(folder: Path, names: Iterable[str]) -> dict[str, str]:
    """Return the absolute paths of those files of a folder that are there, by name."""
    return {name: str((folder / name).absolute()) for name in names if (folder / name).exists()}


# A file with what it is about, at the beginning of a message: `conf/model/a.yaml, line 3: `, `/data/a.json: `.
_FILE = re.compile(
    r"(?P<file>[^\s:=]*(?:/|\.(?:ya?ml|json|gz|xml|txt|py))[^\s:=]*)(?:, line (?P<line>\d+))?: (?P<rest>.+)", re.S
)
# A key, perhaps with its value: `schedule.steps=-1: `, `--config-dir=x: `.
_KEY = re.compile(r"(?P<key>[-+~\w][\w.\-/*]*)(?:=(?P<value>.*?))?: (?P<rest>.+)", re.S)
# Between rule and way out.
_HINT = re.compile(r"(?P<rule>.+?)(?:; |\. (?=[A-Z]))(?P<hint>.+)", re.S)


def split_problems(message: str) -> list[Problem]:
    """Return the mistakes that a message lists, one a line; lines that are indented belong to the one before."""
    texts: list[str] = []
    for line in message.strip().splitlines() or [""]:
        if texts and (line.startswith(" ") or not _KEY.match(line)):
            texts[-1] += f"\n{line}"
        else:
            texts.append(line)
    return [_split(text) for text in texts]


def _split(text: str) -> Problem:
    found = _FILE.fullmatch(text) or _KEY.fullmatch(text)
    parts = {"rest": text} if found is None else found.groupdict()
    hint = _HINT.fullmatch(parts["rest"])
    line = parts.get("line")
    return Problem(
        key=parts.get("key"),
        file=parts.get("file"),
        line=None if line is None else int(line),
        value=parts.get("value"),
        rule=parts["rest"] if hint is None else hint["rule"],
        hint=None if hint is None else hint["hint"],
        text=text,
    )
