"""Make the report of an archive again from its runs and detections, and hold it against the one in the archive."""

import json
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from analysis.publishing.archive_report import render_archive_report
from analysis.reader.client import StoreError
from analysis.verification.differences import JsonComparison, compare_json
from fcos.published.archive import ArchiveError
from fcos.published.layout import REPORT_JSON
from fcos.published.records import ArchiveHeader

# Figures, which another version of their library draws otherwise, and sample detections, which it encodes otherwise.
_PICTURE = re.compile(r"data:image/[\w+.-]+;base64,[A-Za-z0-9+/=]*")


@dataclass(frozen=True)
class RecomputedReport:
    """A report made again.

    metrics: that it has values of. verdicts: how many there are. pictures: of the page, that are not those drawn here.
    """

    comparison: JsonComparison
    metrics: tuple[str, ...]
    verdicts: int
    pictures: int
    problems: tuple[str, ...]


def recompute_report(
    folder: Path, header: ArchiveHeader, show_progress: Callable[[int, int], None]
) -> RecomputedReport:
    """Make the report again and compare every number and every text; raises StoreError and ArchiveError."""
    try:
        again = render_archive_report(folder, header, show_progress)
    except (ArchiveError, StoreError):
        raise
    except Exception as error:  # what is in an archive may be anything
        raise ArchiveError(f"its report cannot be made again ({type(error).__name__}: {error})") from error
    stored = {path.relative_to(folder).as_posix(): path for path in sorted((folder / "report").glob("*"))}
    problems = [f"{name} is missing" for name in again if name not in stored]
    problems += [f"{name} is no file of this report" for name in stored if name not in again]
    if REPORT_JSON not in stored:
        raise ArchiveError(f"{REPORT_JSON} is missing")
    ours = _parse(stored[REPORT_JSON])
    comparison = compare_json(ours, json.loads(again[REPORT_JSON]))
    pictures = 0
    for name in again.keys() & stored.keys() - {REPORT_JSON}:
        text = stored[name].read_text(encoding="utf-8", errors="replace")
        pictures += (Counter(_PICTURE.findall(text)) - Counter(_PICTURE.findall(again[name]))).total()
        # Pages show rounded numbers, of which the last digit is that of report.json.
        if (problem := _compare_pages(name, text, again[name])) and not comparison.differences:
            problems.append(problem)
    verdicts = ours.get("verdicts") if isinstance(ours, dict) else None
    return RecomputedReport(
        comparison=comparison,
        metrics=tuple(dict.fromkeys(value["metric"] for value in json.loads(again[REPORT_JSON])["values"])),
        verdicts=len(verdicts) if isinstance(verdicts, list) else 0,
        pictures=pictures,
        problems=tuple(problems),
    )


def _parse(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ArchiveError(f"{REPORT_JSON} is no JSON text ({error})") from None


def _compare_pages(name: str, stored: str, again: str) -> str:
    """Return the first line, pictures aside, in which two texts differ; "" where there is none."""
    ours, theirs = (_PICTURE.sub("data:", text).splitlines() for text in (stored, again))
    for number, (line, other) in enumerate(zip(ours, theirs, strict=False), start=1):
        if line != other:
            return f"{name}, line {number}: is not what its numbers give"
    return "" if len(ours) == len(theirs) else f"{name}: has {len(ours)} lines, its numbers give {len(theirs)}"
