"""Collect what is published of a sweep from its store into a folder, without what is private in known fields."""

import json
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from analysis.publishing.neutral import Neutralizer, find_words
from analysis.publishing.pictures import strip_png
from analysis.publishing.weights import copy_weights
from analysis.reader.client import StoreError, list_pictures, read_artifact
from analysis.reader.evaluation import read_evaluation
from analysis.reader.raw_runs import RawSweep, read_all_points
from analysis.reader.runs import join_experiment_tags
from fcos.errors import DataError
from fcos.evaluation.saved.saved_evaluation import parse_evaluation
from fcos.published.layout import POINTS, RUN, SWEEP, make_safe_word, trial_folder
from fcos.published.records import PublishedPoint, PublishedRun, format_points
from fcos.storage.evaluation_files import ANNOTATIONS, INDEX, RESULTS
from fcos.storage.store_conventions import PUBLISHED_TAGS, Artifact, RunStatus, Tag

if TYPE_CHECKING:
    from mlflow.entities import Run

COVERAGE_FILES = (Artifact.COVERAGE_COUNTS, f"{Artifact.COVERAGE}/unrecalled.csv", Artifact.CENTER_SAMPLING_MAP)


@dataclass(frozen=True)
class PublishChoices:
    """Choices of the publisher. laboratory: "" for none. hidden: texts to replace."""

    laboratory: str = ""
    license: str = ""
    resamples: int = 1000
    pictures: bool = True
    weights: bool = False
    hidden: tuple[str, ...] = ()


@dataclass(frozen=True)
class Collected:
    """What was collected. replaced: neutral word -> how often it was put in. notes: on what is left out."""

    claim: str
    commit: str
    replaced: Counter[str]
    notes: tuple[str, ...]


def collect_runs(sweep: RawSweep, folder: Path, choices: PublishChoices) -> Collected:
    """Write the runs of a sweep with their files into a folder; raises StoreError and ArchiveError."""
    runs = sweep.trials if sweep.is_single else (sweep.parent, *sweep.trials)
    words = find_words([run.data.params for run in runs], [run.data.tags for run in runs], choices.hidden)
    collector = _Collector(sweep.uri, folder, Neutralizer(words), choices)
    points = read_all_points(sweep.uri, runs)
    for run in runs:
        collector.write_run(run, points[run.info.run_id], is_parent=run is sweep.parent and not sweep.is_single)
    experiment = {} if sweep.is_single else collector.write_plan(sweep.parent)
    commits = {run.data.tags.get(Tag.GIT_COMMIT, "") for run in runs}
    return Collected(
        claim=str(experiment.get("claim") or ""),
        commit=commits.pop() if len(commits) == 1 else "",
        replaced=collector.neutral.replaced,
        notes=tuple(collector.notes),
    )


class _Collector:
    """Writes the files of runs into a folder, and notes what is left out."""

    def __init__(self, uri: str, folder: Path, neutral: Neutralizer, choices: PublishChoices) -> None:
        self._uri, self._folder, self._choices = uri, folder, choices
        self.neutral = neutral
        self.notes: list[str] = []

    def write_run(self, run: "Run", points: list[PublishedPoint], *, is_parent: bool) -> None:
        """Write a run's record and points, and the files of a trial that counts."""
        folder = self._folder / (SWEEP if is_parent else trial_folder(run.info.run_id))
        folder.mkdir(parents=True)
        _write_json(folder / RUN, self._make_record(run).model_dump(mode="json"))
        if points:
            (folder / POINTS).write_bytes(format_points(points).encode())
        if is_parent or Tag.SUPERSEDED in run.data.tags:
            return
        self._write_settings(run, folder)
        self._write_evaluation(run, folder)
        if self._choices.pictures:
            self._write_pictures(run, folder)
        if self._choices.weights:
            self.notes += copy_weights(run.data.tags, folder, run.info.run_name or run.info.run_id)

    def write_plan(self, parent: "Run") -> Mapping[str, Any]:
        """Write plan.json with its history and experiment.json of a sweep; returns the experiment."""
        for name in (Artifact.PLAN, Artifact.PLAN_HISTORY):
            self._write_artifact(parent, name, self._folder / SWEEP)
        content = join_experiment_tags(parent.data.tags)
        if content is None:
            content = read_artifact(self._uri, parent.info.run_id, Artifact.EXPERIMENT)
        if content is None:
            self.notes.append(f"{Artifact.EXPERIMENT} cannot be fetched: what was planned is left out")
            return {}
        values = self._parse(content, Artifact.EXPERIMENT)
        _write_json(self._folder / SWEEP / Artifact.EXPERIMENT, values)
        return values if isinstance(values, dict) else {}

    def _make_record(self, run: "Run") -> PublishedRun:
        tags = {key: value for key, value in sorted(run.data.tags.items()) if key in PUBLISHED_TAGS}
        if self._choices.laboratory:
            # A trial that was imported stays what it is.
            tags.setdefault(Tag.LABORATORY, self._choices.laboratory)
        params = {key: _strip(self._clean(value)) for key, value in sorted(run.data.params.items())}
        try:
            return PublishedRun(
                run_id=run.info.run_id,
                name=_strip(self.neutral.clean_text(run.info.run_name or "")),
                status=run.info.status,
                start=run.info.start_time or 0,
                end=run.info.end_time,
                tags={key: _strip(self.neutral.clean_text(value)) for key, value in sorted(tags.items())},
                params=params,
            )
        except ValidationError as error:
            reason = error.errors(include_url=False)[0]["msg"]
            raise StoreError(f"run {run.info.run_id} cannot be published: {reason}") from None

    def _clean(self, value: str) -> str:
        cleaned = self.neutral.clean_value(value)
        assert isinstance(cleaned, str)
        return cleaned

    def _parse(self, content: bytes, name: str) -> Any:
        try:
            return self.neutral.clean_value(json.loads(content))
        except ValueError:
            raise StoreError(f"{name} in the store is no JSON text") from None

    def _write_artifact(self, run: "Run", name: str, folder: Path) -> None:
        """Write an artifact: JSON or a table, cleaned, or a picture without its texts; nothing where it is missing."""
        content = read_artifact(self._uri, run.info.run_id, name)
        if content is None:
            return
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".json":
            _write_json(path, self._parse(content, name))
        elif path.suffix == ".png":
            if (stripped := strip_png(content)) is not None:
                path.write_bytes(stripped)
        else:
            path.write_bytes(self.neutral.clean_text(content.decode("utf-8", "replace")).encode())

    def _write_settings(self, run: "Run", folder: Path) -> None:
        for name in (Artifact.CONFIG, Artifact.VERSIONS):
            self._write_artifact(run, name, folder)
        if run.data.params.get("task") == "coverage":
            for name in COVERAGE_FILES:
                self._write_artifact(run, name, folder)

    def _write_evaluation(self, run: "Run", folder: Path) -> None:
        """Write a saved evaluation as it is: its digests bind its bytes."""
        files = read_evaluation(self._uri, run.info.run_id)
        if files is None:
            if run.info.status == RunStatus.FINISHED and run.data.params.get("task") != "coverage":
                self.notes.append(
                    f"the store has no detections of {run.info.run_name or run.info.run_id}: verify.py cannot compute "
                    "its metrics again"
                )
            return
        try:
            parse_evaluation(files, Path(f"run {run.info.run_id}"))
        except DataError as error:
            self.notes.append(f"the evaluation of run {run.info.run_id} is left out: {error}")
            return
        target = folder / Artifact.EVALUATION
        target.mkdir()
        for name, content in ((INDEX, files.index), (ANNOTATIONS, files.annotations), (RESULTS, files.results)):
            (target / name).write_bytes(content)

    def _write_pictures(self, run: "Run", folder: Path) -> None:
        taken: set[str] = set()
        for path in list_pictures(self._uri, run.info.run_id):
            content = read_artifact(self._uri, run.info.run_id, path)
            stripped = None if content is None else strip_png(content)
            if stripped is None:
                self.notes.append(f"{PurePosixPath(path).name} of run {run.info.run_id} is no picture and left out")
                continue
            target = folder / Artifact.DETECTIONS / make_safe_word(PurePosixPath(path).name, taken)
            target.parent.mkdir(exist_ok=True)
            target.write_bytes(stripped)


def _strip(text: str) -> str:
    """Return a text without characters that steer a terminal, such as colors of a library's message."""
    return re.sub(r"\x1b\[[0-9;]*[A-Za-z]|[\x00-\x08\x0b-\x1f\x7f-\x9f]", "", text)


def _write_json(path: Path, values: Any) -> None:
    path.write_bytes(f"{json.dumps(values, indent=1, ensure_ascii=False)}\n".encode())
