"""Sentences of the texts for a paper, each with the runs that its numbers come from."""

import csv
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from analysis.reader.run_times import TimedRun
from analysis.render.tables import escape_markdown

# Runs that the end of a text names; runs.csv has all.
MOST_RUNS = 12
_DIGIT = re.compile(r"\d")


@dataclass(frozen=True)
class Statement:
    """A sentence as plain text, and the ids of the runs that it rests on."""

    text: str
    runs: tuple[str, ...]


@dataclass(frozen=True)
class Section:
    """Sentences below a title."""

    title: str
    statements: tuple[Statement, ...]


@dataclass(frozen=True)
class CitedNumber:
    """A number as it is printed, or a sentence with numbers.

    value: unrounded, None for a sentence. label: of the runs behind it.
    """

    file: str
    topic: str
    text: str
    value: float | None
    label: str


@dataclass
class Citations:
    """Collects every number that is written, and labels the sets of runs that numbers come from: r1, r2, ..."""

    _labels: dict[tuple[str, ...], str] = field(default_factory=dict)
    _numbers: list[CitedNumber] = field(default_factory=list)

    def cite(self, file: str, topic: str, text: str, runs: Sequence[str], value: float | None = None) -> str:
        """Record a number and return the label of its runs; "" for a text without numbers or runs."""
        key = tuple(dict.fromkeys(runs))
        if not key or not _DIGIT.search(text):
            return ""
        label = self._labels.setdefault(key, f"r{len(self._labels) + 1}")
        self._numbers.append(CitedNumber(file, topic, text, value, label))
        return label

    def cite_statement(self, file: str, topic: str, statement: Statement) -> str:
        """Record a sentence and return the label of its runs."""
        return self.cite(file, topic, statement.text, statement.runs)

    def list_runs(self, file: str) -> list[str]:
        """Return a line for each set of runs that a file cites."""
        used = dict.fromkeys(number.label for number in self._numbers if number.file == file)
        sets = {label: runs for runs, label in self._labels.items()}
        return [f"{label}: {_shorten(sets[label])}" for label in sorted(used, key=lambda label: int(label[1:]))]

    def numbers_csv(self) -> str:
        """Return a table of all numbers and the labels of their runs."""
        rows = [
            [number.file, number.topic, number.text, "" if number.value is None else repr(number.value), number.label]
            for number in self._numbers
        ]
        return _to_csv(["file", "topic", "text", "value", "runs"], rows)

    def runs_csv(self, known: Mapping[str, TimedRun]) -> str:
        """Return a table of the runs of each label. known: the store's runs by id."""
        rows = [
            [label, run_id, *_describe(known.get(run_id))] for runs, label in self._labels.items() for run_id in runs
        ]
        return _to_csv(["runs", "run_id", "kind", "sweep", "arm", "seed", "status", "superseded"], rows)


def _shorten(runs: Sequence[str]) -> str:
    if len(runs) == 1:
        return f"run {runs[0]}"
    more = f" and {len(runs) - MOST_RUNS} more" if len(runs) > MOST_RUNS else ""
    return f"{len(runs)} runs: {', '.join(run_id[:8] for run_id in runs[:MOST_RUNS])}{more}"


def _describe(run: TimedRun | None) -> list[str]:
    if run is None:
        return [""] * 6
    return [run.kind, run.sweep, run.arm, run.seed, run.status, str(run.is_superseded).lower()]


def _to_csv(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    return text.getvalue()


def render_bullets(section: Section, file: str, citations: Citations) -> list[str]:
    """Return the sentences of a section as items of a Markdown list, each with the label of its runs."""
    return [f"- {_render(statement, section.title, file, citations)}" for statement in section.statements]


def render_paragraph(section: Section, file: str, citations: Citations) -> str:
    """Return the sentences of a section as a Markdown paragraph, each with the label of its runs."""
    return " ".join(_render(statement, section.title, file, citations) for statement in section.statements)


def _render(statement: Statement, topic: str, file: str, citations: Citations) -> str:
    label = citations.cite_statement(file, topic, statement)
    text = escape_markdown(statement.text)
    return f"{text} [{label}]" if label else text


def render_runs(file: str, citations: Citations) -> str:
    """Return the end of a Markdown text: which runs its labels stand for."""
    lines = citations.list_runs(file)
    if not lines:
        return ""
    listed = "\n".join(f"- {line}" for line in lines)
    heading = "Labels in brackets name the runs behind the numbers; runs.csv lists all of each."
    return f"\n## Runs\n\n{heading}\n\n{listed}\n"
