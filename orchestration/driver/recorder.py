"""Record a plan's trainings in MLflow: a run for each arm and seed, and one for the sweep."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fcos.config.parse import flatten
from fcos.errors import ConfigError
from fcos.installation import checkout
from fcos.storage.run_folder import MetricPoint, RunSummary
from fcos.storage.store_conventions import Artifact, RunKind, RunStatus, Tag, split_experiment
from fcos.training.elastic import describe_history
from orchestration.cluster.resources import hardware_device, resources_text
from orchestration.config.experiment import ExperimentConfig
from orchestration.config.schema import LabConfig
from orchestration.driver.events import (
    TrialEvent,
    TrialFailed,
    TrialFinished,
    TrialReported,
    TrialStarted,
    TrialStopped,
)
from orchestration.experiment.identity import worker_dependences_of
from orchestration.experiment.provenance import Commit, git_commit, hardware, package_versions
from orchestration.experiment.run_datasets import run_datasets
from orchestration.experiment.trials import Trial
from orchestration.planning.plan import Plan, StoredPlan, read_plan
from orchestration.planning.repeats.plan_history import read_plan_history
from orchestration.planning.spent import read_spent
from orchestration.search.points import Search, search_values
from orchestration.tracking.datasets import RunDataset
from orchestration.tracking.store import RunKey
from orchestration.tracking.tracker import SWEEP, RunFacts, Tracker
from orchestration.trial import files
from orchestration.trial.files import ReuseRecord
from orchestration.trial.origin import origin_tags
from orchestration.trial.retries import memory_tags
from orchestration.trial.system_metrics import SystemMetricsReader
from orchestration.trial.task import MicroBatching


@dataclass(frozen=True)
class RunRecorder:
    """The runs of one plan; a training's points go to the run of every arm that shares it."""

    plan: Plan
    tracker: Tracker
    # None for a single run, which has no parent.
    experiment: ExperimentConfig | None
    data_name: str
    commit: Commit
    hardware: str
    # Of one training.
    resources: str
    versions: Mapping[str, str]
    # Why trainings that are finished elsewhere are trained again; None where none is.
    retrain_reason: str | None = None
    system_metrics: SystemMetricsReader = field(default_factory=SystemMetricsReader)

    @classmethod
    def of(cls, plan: Plan, tracker: Tracker, lab: LabConfig) -> "RunRecorder":
        """Return a recorder with commit, machine and versions of this process."""
        versions, taken = package_versions(), resources_text(lab.cluster)
        machine = hardware(hardware_device(lab.cluster))
        commit, reason = git_commit(checkout()), lab.retrain_reason
        return cls(plan, tracker, lab.experiment, lab.data.name, commit, machine, taken, versions, reason)

    def handle(self, event: TrialEvent) -> None:
        """Record an event of a training."""
        match event:
            case TrialStarted():
                if event.first:
                    self.start(event.trial)
            case TrialReported():
                self.add(event.trial, event.record.points)
                self._add_system_metrics(event.trial)
            case TrialFinished():
                self.finish(event.trial, event.summary)
            case TrialFailed():
                self.fail(event.trial, event.reason)
            case TrialStopped():
                if event.begun:
                    self.interrupt(event.trial, event.reason)

    def open_sweep(self, looks: Sequence[int] = ()) -> None:
        """Start the sweep's own run; a single run has none. looks: of earlier commands, and at the same trainings."""
        if self.experiment is None:
            return
        stored = read_plan(self.plan.folder)
        declared = experiment_values(self.experiment, self.plan.search)
        # In which a report counts them.
        declared["seed_order"] = [] if stored is None else list(stored.seeds)
        tags = {
            **self._common(),
            Tag.KIND: RunKind.SWEEP,
            Tag.STATUS: "running",
            **split_experiment(json.dumps(declared)),
        }
        if self.plan.search is not None:
            # That of an earlier command may not be the one of this.
            tags[Tag.WINNER] = ""
        if looks and self.experiment.until == "seeds":
            # Without it a report of a sweep that is interrupted would count one look; with rounds it counts them all.
            tags[Tag.LOOKS] = json.dumps(list(looks))
        artifacts = {Artifact.EXPERIMENT: declared, Artifact.PLAN: self._stored_plan()}
        if (history := read_plan_history(self.plan.folder)) is not None:
            artifacts[Artifact.PLAN_HISTORY] = history.model_dump(mode="json")
        self.tracker.start(SWEEP, RunFacts(self.plan.name, tags, files=artifacts))

    def record_plan(self) -> None:
        """Store the plan once more: a search adds trainings to it while it runs."""
        if self.experiment is not None:
            self.tracker.add_json(SWEEP, {Artifact.PLAN: self._stored_plan()})

    def close_sweep(self, failed: int, stopped: int, looks: Sequence[int] = (), winner: str | None = None) -> None:
        """Close the sweep's own run.

        looks: numbers of seeds at which its arms were looked at. winner: the leading point of a search over seeds.
        """
        if self.experiment is not None:
            status, word = (RunStatus.KILLED, "stopped") if stopped else (RunStatus.FINISHED, "finished")
            if failed:
                status, word = RunStatus.FAILED, "failed"
            tags = {Tag.STATUS: word, Tag.LOOKS: json.dumps(list(looks)), **_spent_tags(self.plan.folder)}
            if self.plan.search is not None:
                tags[Tag.WINNER] = winner or ""
            self.record_plan()
            self.tracker.end(SWEEP, status, tags)

    def start(self, trial: Trial) -> None:
        """Start the runs of a training's arms."""
        first = self._key(next(iter(trial.arms)), trial)
        folder, extension = self.plan.folder_of(trial), self.plan.extension
        reused = files.read_reused(folder)
        for arm in trial.arms:
            key = self._key(arm, trial)
            facts = RunFacts(
                name=self.plan.name if self.experiment is None else f"{arm} seed {trial.seed}",
                tags={
                    **self._common(),
                    **self.identifying(trial, arm),
                    Tag.DATA_DIGEST: trial.data_digest,
                    Tag.TRUNK: trial.trunk,
                    **({} if extension is None else {Tag.EXTENDS: extension.sha256}),
                    # Also of those that never finish: others may go on from their checkpoints.
                    Tag.FOLDER: str(folder),
                    **(_origin(reused, arm) if reused else origin_tags(folder)),
                    **self._sampled(arm),
                },
                params=trial.values_of(arm),
                files=self._json_files(trial, arm),
                trained_by=reused.trained_by if reused else None if key == first else first,
                datasets=self._datasets(trial),
            )
            self.tracker.start(key, facts)

    def add(self, trial: Trial, points: Sequence[MetricPoint]) -> None:
        """Log points as they are reported."""
        for arm in trial.arms:
            own = {(point.key, point.step): point.value for point in points if point.arm in (None, arm)}
            if own:
                self.tracker.add(self._key(arm, trial), own)

    def finish(self, trial: Trial, summary: RunSummary) -> None:
        """Close a training's runs as FINISHED, with whatever reports did not arrive.

        One that was stopped early is KILLED: a search for the finished training must not find half of it.
        """
        folder = self.plan.folder_of(trial)
        self._add_from_disk(trial)
        status = RunStatus.FINISHED if summary.pruned is None else RunStatus.KILLED
        tags = self._result_tags(trial, summary)
        for arm in trial.arms:
            key = self._key(arm, trial)
            self.tracker.add_files(key, [folder / name for name in summary.files], Artifact.COVERAGE)
            self.tracker.add_files(key, _evaluation(folder, trial, summary, arm), Artifact.EVALUATION)
            self.tracker.end(key, status, tags, _pictures(folder, summary, arm))

    def _result_tags(self, trial: Trial, summary: RunSummary) -> dict[str, str]:
        folder = self.plan.folder_of(trial)
        tags = {Tag.NOTES: "\n".join(summary.notes), **self._location_tags(trial, summary)}
        tags |= memory_tags(folder, MicroBatching.of(trial.config))
        if summary.pruned is not None:
            tags[Tag.PRUNED] = str(summary.pruned)
        if summary.workers:
            tags[Tag.WORKERS] = describe_history(summary.workers)
            tags[Tag.WORKERS_DECIDE] = " and ".join(worker_dependences_of(trial.config))
        if summary.checkpoint:
            tags[Tag.CHECKPOINT_SHA256] = summary.checkpoint_sha256
        if summary.best is not None:
            tags[Tag.BEST_STEP] = str(summary.best.step)
        if files.read_reused(folder) is None and summary.resumed_from is not None:
            # The basis of estimates for later sweeps.
            tags[Tag.SECONDS] = f"{summary.seconds:.1f}"
            tags[Tag.STEPS_TIMED] = str(summary.step - summary.resumed_from)
        return tags

    def fail(self, trial: Trial, reason: str) -> None:
        """Close a training's runs as FAILED."""
        self._add_from_disk(trial)
        tags = {Tag.FAILURE: reason, **memory_tags(self.plan.folder_of(trial), MicroBatching.of(trial.config))}
        for arm in trial.arms:
            self.tracker.end(self._key(arm, trial), RunStatus.FAILED, tags)

    def interrupt(self, trial: Trial, reason: str) -> None:
        """Close a training's runs as KILLED; a later command reopens them."""
        self._add_from_disk(trial)
        for arm in trial.arms:
            self.tracker.end(self._key(arm, trial), RunStatus.KILLED, {Tag.STOPPED: reason})

    def record_kept(self, trial: Trial, summary: RunSummary) -> None:
        """Record what an earlier command finished and the store does not have: runs, or artifacts of runs."""
        keys = {arm: self._key(arm, trial) for arm in trial.arms}
        if not all(self.tracker.is_finished(key, self.identifying(trial, arm)) for arm, key in keys.items()):
            self.start(trial)
            self.finish(trial, summary)
            return
        for key in keys.values():
            # Outputs may have been moved.
            self.tracker.correct(key, self._location_tags(trial, summary))
        if any(self.tracker.is_incomplete(key) for key in keys.values()):
            self._add_artifacts(trial, summary)

    def _add_artifacts(self, trial: Trial, summary: RunSummary) -> None:
        """Add the artifacts of a finished training to its closed runs once more."""
        folder = self.plan.folder_of(trial)
        for arm in trial.arms:
            key = self._key(arm, trial)
            self.tracker.add_json(key, self._json_files(trial, arm))
            self.tracker.add_files(key, [folder / name for name in summary.files], Artifact.COVERAGE)
            self.tracker.add_files(key, _evaluation(folder, trial, summary, arm), Artifact.EVALUATION)
            self.tracker.add_files(key, _pictures(folder, summary, arm), Artifact.DETECTIONS)
            self.tracker.complete(key)

    def record_removed(self, trial: Trial, reason: str) -> None:
        """Record that the checkpoints of a finished training were removed."""
        for arm in trial.arms:
            self.tracker.tag(self._key(arm, trial), {Tag.CHECKPOINT_REMOVED: reason})

    def add_report(self, report: Sequence[Path]) -> None:
        """Add the files of the report to the sweep's own run."""
        if self.experiment is not None:
            self.tracker.add_files(SWEEP, report, Artifact.REPORT)

    def identifying(self, trial: Trial, arm: str) -> dict[str, str]:
        """Return the tags that identify a run's training and evaluation."""
        tags = {
            Tag.KIND: RunKind.RUN if self.experiment is None else RunKind.TRIAL,
            Tag.ARM: arm,
            Tag.SEED: str(trial.seed),
            Tag.IDENTITY: trial.identity_of(arm),
            Tag.TRAIN_IDENTITY: trial.identity,
        }
        training = files.training_id(self.plan.folder_of(trial))
        return {**tags, Tag.TRAINING_ID: training} if training else tags

    def _location_tags(self, trial: Trial, summary: RunSummary) -> dict[str, str]:
        folder = self.plan.folder_of(trial)
        if not summary.checkpoint:
            return {Tag.FOLDER: str(folder)}
        # One that another sweep trained is behind a link.
        return {Tag.FOLDER: str(folder), Tag.CHECKPOINT: str((folder / summary.checkpoint).resolve())}

    def _stored_plan(self) -> dict[str, Any]:
        """Return what all commands of the sweep have planned so far, without the key of its folder."""
        stored = read_plan(self.plan.folder) or StoredPlan.of(self.plan, key="")
        return {name: value for name, value in stored.values().items() if name != "key"}

    def _json_files(self, trial: Trial, arm: str) -> dict[str, Any]:
        return {Artifact.CONFIG: trial.values_of(arm), Artifact.VERSIONS: dict(self.versions)}

    def _datasets(self, trial: Trial) -> tuple[RunDataset, ...]:
        """Return the data sets of a training; a count has none, as it trains nothing."""
        info = None if trial.is_coverage else self.plan.data_of(trial)
        return () if info is None else run_datasets(trial.config.data, info)

    def _add_from_disk(self, trial: Trial) -> None:
        self.add(trial, files.read_points(self.plan.folder_of(trial)))
        self._add_system_metrics(trial)

    def _add_system_metrics(self, trial: Trial) -> None:
        """Log what the machines of a training have measured since the last time, for all of its arms."""
        for point in self.system_metrics.read_new(self.plan.folder_of(trial)):
            values = {(name, point.step): value for name, value in point.values.items()}
            for arm in trial.arms:
                self.tracker.add(self._key(arm, trial), values, point.milliseconds)

    def _sampled(self, arm: str) -> dict[str, str]:
        """Return the tag with the dotted keys that a search drew for a training."""
        if self.plan.search is None:
            return {}
        return {Tag.SAMPLED: json.dumps(self.plan.search.keys_of(arm))}

    def _key(self, arm: str, trial: Trial) -> RunKey:
        return (arm, trial.seed)

    def _common(self) -> dict[str, str]:
        provenance = self.plan.provenance
        tags = {
            Tag.SWEEP: self.plan.name,
            Tag.DATA: self.data_name,
            Tag.GIT_COMMIT: self.commit.commit,
            Tag.GIT_DIRTY: self.commit.dirty,
            Tag.HARDWARE: self.hardware,
            Tag.RESOURCES: self.resources,
            Tag.CODE: provenance.code,
            Tag.VERSIONS: json.dumps(dict(provenance.versions), sort_keys=True),
        } | ({} if self.retrain_reason is None else {Tag.RETRAIN_REASON: self.retrain_reason})
        return {**tags, Tag.EXPERIMENT: self.experiment.name} if self.experiment else tags


def _origin(reused: ReuseRecord, arm: str) -> dict[str, str]:
    """Return the tags of the sweep that trained, and of the run whose result was taken as it is."""
    tags = {Tag.TRAINED_IN: reused.sweep}
    return {**tags, Tag.REUSED_FROM: reused.arms[arm]} if arm in reused.arms else tags


def _spent_tags(folder: Path) -> dict[str, str]:
    """Return the tag with the hours that a sweep has used; none where its record cannot be read."""
    try:
        spent = read_spent(folder)
    except ConfigError:
        # The next command that trains refuses it.
        return {}
    return {Tag.SPENT: json.dumps(vars(spent))}


def _pictures(folder: Path, summary: RunSummary, arm: str) -> list[Path]:
    """Return the sample detections of an arm that are there."""
    return [path for name in summary.pictures.get(arm, ()) if (path := folder / name).exists()]


def _evaluation(folder: Path, trial: Trial, summary: RunSummary, arm: str) -> list[Path]:
    """Return the files of an arm's saved evaluation that are there; thumbnails go to a training's first arm alone."""
    names = [*summary.evaluations.get(arm, ())]
    if summary.thumbnails and arm == next(iter(trial.arms)):
        names.append(summary.thumbnails)
    return [path for name in names if (path := folder / name).exists()]


def experiment_values(experiment: ExperimentConfig, search: Search | None) -> dict[str, Any]:
    """Return an experiment as plain values, its arms, or the points that are drawn already, with dotted keys."""
    values = experiment.model_dump(mode="json")
    if search is not None:
        arms = {name: dict(drawn.keys) for name, drawn in search.drawn.items()}
        return {**values, "arms": arms, "search": search_values(search)}
    return {**values, "arms": {arm: flatten(changes) for arm, changes in experiment.arms.items()}}
