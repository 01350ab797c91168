"""Collect what is published of a sweep from its store into a folder, without what is private in known fields."""

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from analysis.formatting import join_words
from analysis.publishing.neutral import Neutralizer, find_words
from analysis.publishing.weights import copy_weights
from analysis.reader.client import StoreError, extract_reason, fetch_artifact, list_pictures, read_artifact
from analysis.reader.evaluation import read_evaluation
from analysis.reader.raw_runs import RawSweep, read_all_points
from analysis.reader.sweep import Experiment
from fcos.errors import DataError
from fcos.evaluation.saved.saved_evaluation import parse_evaluation
from fcos.published.layout import POINTS, RUN, SWEEP, make_safe_word, trial_folder
from fcos.published.pictures import strip_png
from fcos.published.plan import compare_looks, compare_plan
from fcos.published.records import PublishedPoint, PublishedRun, format_points
from fcos.published.texts import strip_steering
from fcos.published.trials import list_trials
from fcos.storage.evaluation_files import ANNOTATIONS, INDEX, RESULTS
from fcos.storage.store_conventions import PUBLISHED_TAGS, Artifact, RunStatus, Tag, join_experiment_tags

if TYPE_CHECKING:
    from mlflow.entities import Run

OPTIONAL_FILES = (f"{Artifact.COVERAGE}/unrecalled.csv", Artifact.CENTER_SAMPLING_MAP)
COVERAGE_FILES = (Artifact.COVERAGE_COUNTS, *OPTIONAL_FILES)
ABSENT = "the store has none"
# Trials that a message names.
MOST_LABELS = 5


@dataclass(frozen=True)
class PublishChoices:
    """Choices of the publisher. laboratory: "" for none. hidden: texts to replace.

    incomplete: publish without files that verifying or training again needs, where the store has them no more.
    """

    laboratory: str = ""
    license: str = ""
    resamples: int = 1000
    pictures: bool = True
    weights: bool = False
    incomplete: bool = False
    hidden: tuple[str, ...] = ()


@dataclass(frozen=True)
class Collected:
    """What was collected. replaced: neutral word -> how often it was put in. notes: on what is left out."""

    claim: str
    commit: str
    replaced: Counter[str]
    notes: tuple[str, ...]


def collect_runs(sweep: RawSweep, folder: Path, choices: PublishChoices) -> Collected:
    """Write the runs of a sweep with their files into a folder; raises StoreError and ArchiveError.

    Raises StoreError too where a plan or a configuration is missing, unless `choices.incomplete` allows it.
    """
    runs = sweep.trials if sweep.is_single else (sweep.parent, *sweep.trials)
    words = find_words([run.data.params for run in runs], [run.data.tags for run in runs], choices.hidden)
    collector = _Collector(sweep, folder, Neutralizer(words), choices)
    points = read_all_points(sweep.uri, runs)
    for run in runs:
        collector.write_run(run, points[run.info.run_id], is_parent=run is sweep.parent and not sweep.is_single)
    claim = "" if sweep.is_single else collector.write_plan()
    commits = {run.data.tags.get(Tag.GIT_COMMIT, "") for run in runs}
    return Collected(
        claim=claim,
        commit=commits.pop() if len(commits) == 1 else "",
        replaced=collector.neutral.replaced,
        notes=tuple(collector.notes),
    )


class _Collector:
    """Writes the files of runs into a folder, and notes what is left out."""

    def __init__(self, sweep: RawSweep, folder: Path, neutral: Neutralizer, choices: PublishChoices) -> None:
        self._sweep, self._folder, self._choices = sweep, folder, choices
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

    def write_plan(self) -> str:
        """Write plan, plan history and experiment of a sweep whose trials are written; returns its claim."""
        parent, folder = self._sweep.parent, self._folder / SWEEP
        if reason := self._write_artifact(parent, Artifact.PLAN, folder):
            self._require(f"{Artifact.PLAN} of {self._sweep.name}, by which its trials were planned: {reason}")
        # Sweeps of older versions have no history.
        reason = self._write_artifact(parent, Artifact.PLAN_HISTORY, folder)
        if reason and reason != ABSENT:
            self.notes.append(f"left out: {Artifact.PLAN_HISTORY} of {self._sweep.name}: {reason}")
        compared = compare_plan(self._folder, list_trials(self._folder))
        if compared is not None and (unplanned := compared.unplanned):
            labels = join_words(sorted(trial.label for trial in unplanned)[:MOST_LABELS])
            more = f" and {len(unplanned) - MOST_LABELS} more" if len(unplanned) > MOST_LABELS else ""
            self._require(
                f"{Artifact.PLAN} in the store lacks {labels}{more}: the last command of {self._sweep.name} was "
                "killed, goes on, or is of an older version. The same command again completes it"
            )
            (folder / Artifact.PLAN).unlink()
        claim = self._write_experiment(parent, folder)
        if others := compare_looks(self._folder):
            self._require(
                f"{Artifact.PLAN} in the store is not that of the last command of {self._sweep.name}, which could not "
                f"store it ({'; '.join(others)}). The same command again stores it"
            )
            (folder / Artifact.PLAN).unlink()
        return claim

    def _write_experiment(self, parent: "Run", folder: Path) -> str:
        """Write the experiment of a sweep; returns its claim."""
        experiment = self._read_experiment(parent)
        if experiment is None:
            self.notes.append(f"{Artifact.EXPERIMENT} cannot be fetched: what was planned is left out")
            return ""
        _write_json(folder / Artifact.EXPERIMENT, self._parse(experiment, Artifact.EXPERIMENT))
        try:
            return Experiment.model_validate_json((folder / Artifact.EXPERIMENT).read_bytes()).claim or ""
        except ValidationError as error:
            raise StoreError(f"{Artifact.EXPERIMENT} of {self._sweep.name}: {extract_reason(error)}") from error

    def _read_experiment(self, parent: "Run") -> bytes | None:
        content = join_experiment_tags(parent.data.tags)
        return read_artifact(self._sweep.uri, parent.info.run_id, Artifact.EXPERIMENT) if content is None else content

    def _require(self, missing: str) -> None:
        """Note what is missing; raises StoreError unless the publisher allows it."""
        if not self._choices.incomplete:
            raise StoreError(f"{missing}; --incomplete publishes without it")
        self.notes.append(f"left out: {missing}")

    def _make_record(self, run: "Run") -> PublishedRun:
        tags = {key: value for key, value in sorted(run.data.tags.items()) if key in PUBLISHED_TAGS}
        if self._choices.laboratory:
            # A trial that was imported stays what it is.
            tags.setdefault(Tag.LABORATORY, self._choices.laboratory)
        tags.pop(Tag.REPEATS, None)
        if repeats := self._sweep.repeats.get(run.info.run_id):
            tags[Tag.REPEATS] = repeats
        params = {key: strip_steering(self._clean(value)) for key, value in sorted(run.data.params.items())}
        try:
            return PublishedRun(
                run_id=run.info.run_id,
                name=strip_steering(self.neutral.clean_text(run.info.run_name or "")),
                status=run.info.status,
                start=run.info.start_time or 0,
                end=run.info.end_time,
                tags={key: strip_steering(self.neutral.clean_text(value)) for key, value in sorted(tags.items())},
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

    def _write_artifact(self, run: "Run", name: str, folder: Path) -> str:
        """Write an artifact: JSON or a table, cleaned, or a picture without its texts.

        Returns why it is missing: ABSENT where the store has none, "" where it is written.
        """
        try:
            content = fetch_artifact(self._sweep.uri, run.info.run_id, name)
        except StoreError as error:
            return str(error)
        if content is None:
            return ABSENT
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".json":
            _write_json(path, self._parse(content, name))
        elif path.suffix == ".png":
            self._write_picture(path, content, run)
        else:
            path.write_bytes(self.neutral.clean_text(content.decode("utf-8", "replace")).encode())
        return ""

    def _write_picture(self, path: Path, content: bytes, run: "Run") -> None:
        if (stripped := strip_png(content)) is None:
            self.notes.append(f"left out: {path.name} of {_name(run)}: is no picture")
            return
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(stripped)

    def _write_settings(self, run: "Run", folder: Path) -> None:
        is_count = run.data.params.get("task") == "coverage"
        if reason := self._write_artifact(run, Artifact.CONFIG, folder):
            missing = f"{Artifact.CONFIG} of {_name(run)}, by which it can be trained again: {reason}"
            if run.info.status == RunStatus.FINISHED and not is_count:
                self._require(missing)
            else:
                self.notes.append(f"left out: {missing}")
        # A table of boxes and a map belong to some counts alone.
        for name in (Artifact.VERSIONS, *(COVERAGE_FILES if is_count else ())):
            reason = self._write_artifact(run, name, folder)
            if reason and not (reason == ABSENT and name in OPTIONAL_FILES):
                self.notes.append(f"left out: {name} of {_name(run)}: {reason}")

    def _write_evaluation(self, run: "Run", folder: Path) -> None:
        """Write a saved evaluation as it is: its digests bind its bytes."""
        files = read_evaluation(self._sweep.uri, run.info.run_id)
        if files is None:
            if run.info.status == RunStatus.FINISHED and run.data.params.get("task") != "coverage":
                self.notes.append(
                    f"the store has no detections of {_name(run)}: verify.py cannot compute its metrics again"
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
        try:
            paths = list_pictures(self._sweep.uri, run.info.run_id)
        except StoreError as error:
            self.notes.append(f"left out: the pictures of {_name(run)}: {error}")
            return
        for path in paths:
            content = read_artifact(self._sweep.uri, run.info.run_id, path)
            if content is None:
                self.notes.append(f"left out: {path} of {_name(run)}: cannot be fetched")
                continue
            target = folder / Artifact.DETECTIONS / make_safe_word(PurePosixPath(path).name, taken)
            self._write_picture(target, content, run)


def _name(run: "Run") -> str:
    """Return a run's name for people, such as `branch seed 0`."""
    return str(run.info.run_name or run.info.run_id)


def _write_json(path: Path, values: Any) -> None:
    path.write_bytes(f"{json.dumps(values, indent=1, ensure_ascii=False)}\n".encode())
