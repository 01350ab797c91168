"""What is written of a plan's trials into tracking: a run for each arm and seed."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fcos.config.parse import flatten
from fcos.installation import checkout
from fcos.training.elastic import in_words
from orchestration.cluster.resources import hardware_device, resources_text
from orchestration.config.schema import ExperimentConfig, LabConfig
from orchestration.experiment.identity import worker_dependences
from orchestration.experiment.provenance import Commit, git_commit, hardware, package_versions
from orchestration.experiment.trials import Trial
from orchestration.planning.plan import Plan, plan_values
from orchestration.search.points import Search, described
from orchestration.store_conventions import EXPERIMENT_JSON
from orchestration.tracking.store import LONGEST_TAG, RunKey
from orchestration.tracking.tracker import SWEEP, RunFacts, Tracker
from orchestration.trial import files
from orchestration.trial.retries import memory_tags


@dataclass(frozen=True)
class Books:
    """The runs of one plan; a training's points go to the run of every arm that shares it."""

    plan: Plan
    tracker: Tracker
    # None for a single run, which has no parent.
    experiment: ExperimentConfig | None
    data_name: str
    commit: Commit
    hardware: str
    # What one training takes of it.
    resources: str
    versions: Mapping[str, str]

    @classmethod
    def of(cls, plan: Plan, tracker: Tracker, lab: LabConfig) -> "Books":
        """Books that know commit, machine and versions of this process."""
        versions, taken = package_versions(), resources_text(lab.cluster)
        machine = hardware(hardware_device(lab.cluster))
        return cls(plan, tracker, lab.experiment, lab.data.name, git_commit(checkout()), machine, taken, versions)

    def open(self) -> None:
        """Start the sweep's own run; a single run has none."""
        if self.experiment is None:
            return
        declared = experiment_values(self.experiment, self.plan.search)
        tags = {**self._common(), "fcos.kind": "sweep", "fcos.status": "running", **_in_tags(declared)}
        files = {"experiment.json": declared, "plan.json": plan_values(self.plan)}
        self.tracker.start(SWEEP, RunFacts(self.plan.name, tags, files=files))

    def start(self, trial: Trial) -> None:
        """Start the runs of a training's arms."""
        first = self._key(next(iter(trial.arms)), trial)
        reused = files.read_reused(self.plan.folder_of(trial))
        for arm in trial.arms:
            key = self._key(arm, trial)
            facts = RunFacts(
                name=self.plan.name if self.experiment is None else f"{arm} seed {trial.seed}",
                tags={
                    **self._common(),
                    **self._identifying(trial, arm),
                    "fcos.data_digest": trial.data_digest,
                    **(_origin(reused, arm) if reused else {}),
                    **self._drawn(arm),
                },
                params=trial.config_of(arm),
                files=self._files(trial, arm),
                trained_by=reused["trained_by"] if reused else None if key == first else first,
            )
            self.tracker.start(key, facts)

    def _identifying(self, trial: Trial, arm: str) -> dict[str, str]:
        """Return the tags that say of which training and evaluation a run is."""
        tags = {
            "fcos.kind": "run" if self.experiment is None else "trial",
            "fcos.arm": arm,
            "fcos.seed": str(trial.seed),
            "fcos.identity": trial.identity_of(arm),
            "fcos.train_identity": trial.identity,
        }
        training = files.training_id(self.plan.folder_of(trial))
        return {**tags, "fcos.training_id": training} if training else tags

    def add(self, trial: Trial, points: Sequence[Sequence[Any]]) -> None:
        """Take points as they are reported: [arm or None, key, step, value]."""
        for arm in trial.arms:
            mine = {(key, step): value for whose, key, step, value in points if whose in (None, arm)}
            if mine:
                self.tracker.add(self._key(arm, trial), mine)

    def finish(self, trial: Trial, summary: Mapping[str, Any]) -> None:
        """Close a training's runs as FINISHED, with whatever reports did not arrive.

        One that was stopped early is KILLED: whoever looks for the finished training must not find half of it.
        """
        folder = self._from_disk(trial)
        pruned = summary.get("pruned")
        status = "FINISHED" if pruned is None else "KILLED"
        tags = {"fcos.notes": "\n".join(summary.get("notes", ())), **self._places(trial, summary)}
        tags |= memory_tags(folder, trial.config)
        if pruned is not None:
            tags["fcos.pruned"] = str(pruned)
        if summary.get("workers"):
            tags["fcos.workers"] = in_words(summary["workers"])
            tags["fcos.workers_decide"] = " and ".join(worker_dependences(trial.config))
        if "checkpoint" in summary:
            tags["fcos.checkpoint_sha256"] = str(summary["checkpoint_sha256"])
        if summary.get("best") is not None:
            tags["fcos.best_step"] = str(summary["best"]["step"])
        if files.read_reused(folder) is None and "resumed_from" in summary:
            # What estimates of later sweeps rest on.
            tags["fcos.seconds"] = f"{summary['seconds']:.1f}"
            tags["fcos.steps_timed"] = str(summary["step"] - summary["resumed_from"])
        for arm in trial.arms:
            self.tracker.add_files(self._key(arm, trial), _tables(folder, summary), "coverage")
            self.tracker.end(self._key(arm, trial), status, tags, _pictures(folder, summary, arm))

    def fail(self, trial: Trial, reason: str) -> None:
        """Close a training's runs as FAILED."""
        tags = {"fcos.failure": reason, **memory_tags(self._from_disk(trial), trial.config)}
        for arm in trial.arms:
            self.tracker.end(self._key(arm, trial), "FAILED", tags)

    def interrupt(self, trial: Trial, reason: str) -> None:
        """Close a training's runs as KILLED; a later command reopens them."""
        self._from_disk(trial)
        for arm in trial.arms:
            self.tracker.end(self._key(arm, trial), "KILLED", {"fcos.stopped": reason})

    def tell_removed(self, trial: Trial, why: str) -> None:
        """Remark that the checkpoints of a finished training are gone."""
        for arm in trial.arms:
            self.tracker.tag(self._key(arm, trial), {"fcos.checkpoint_removed": why})

    def close(self, failed: int, stopped: int = 0) -> None:
        """Close the sweep's own run."""
        if self.experiment is not None:
            status, word = ("KILLED", "stopped") if stopped else ("FINISHED", "finished")
            if failed:
                status, word = "FAILED", "failed"
            self.tracker.end(SWEEP, status, {"fcos.status": word})

    def add_report(self, files: Sequence[Path]) -> None:
        """Keep the report with the sweep's own run."""
        if self.experiment is not None:
            self.tracker.add_files(SWEEP, files, "report")

    def is_recorded(self, trial: Trial) -> bool:
        """Return whether the runs of all arms of a training are FINISHED already."""
        return all(self.tracker.is_finished(self._key(arm, trial), self._identifying(trial, arm)) for arm in trial.arms)

    def correct_places(self, trial: Trial, summary: Mapping[str, Any]) -> None:
        """Correct the folders that the runs of a finished training name, where outputs were moved."""
        for arm in trial.arms:
            self.tracker.correct(self._key(arm, trial), self._places(trial, summary))

    def _places(self, trial: Trial, summary: Mapping[str, Any]) -> dict[str, str]:
        folder = self.plan.folder_of(trial)
        if "checkpoint" not in summary:
            return {"fcos.folder": str(folder)}
        # One that another sweep trained lies behind a link.
        return {"fcos.folder": str(folder), "fcos.checkpoint": str((folder / summary["checkpoint"]).resolve())}

    def is_incomplete(self, trial: Trial) -> bool:
        """Whether the store could not take all artifacts of a training's runs from an earlier command."""
        return any(self.tracker.is_incomplete(self._key(arm, trial)) for arm in trial.arms)

    def add_artifacts(self, trial: Trial, summary: Mapping[str, Any]) -> None:
        """Give the artifacts of a finished training to its closed runs once more."""
        folder = self.plan.folder_of(trial)
        for arm in trial.arms:
            key = self._key(arm, trial)
            self.tracker.add_json(key, self._files(trial, arm))
            self.tracker.add_files(key, _tables(folder, summary), "coverage")
            self.tracker.add_files(key, _pictures(folder, summary, arm), "detections")
            self.tracker.complete(key)

    def _files(self, trial: Trial, arm: str) -> dict[str, Any]:
        return {"config.json": trial.config_of(arm), "versions.json": dict(self.versions)}

    def _from_disk(self, trial: Trial) -> Path:
        folder = self.plan.folder_of(trial)
        self.add(trial, [(*point, value) for point, value in files.read_points(folder).items()])
        return folder

    def _drawn(self, arm: str) -> dict[str, str]:
        """The dotted keys that a search drew for a training."""
        if self.plan.search is None:
            return {}
        return {"fcos.drawn": json.dumps(self.plan.search.drawn[arm].keys)}

    def _key(self, arm: str, trial: Trial) -> RunKey:
        return (arm, trial.seed)

    def _common(self) -> dict[str, str]:
        tags = {
            "fcos.sweep": self.plan.name,
            "fcos.data": self.data_name,
            "fcos.git_commit": self.commit.commit,
            "fcos.git_dirty": self.commit.dirty,
            "fcos.hardware": self.hardware,
            "fcos.resources": self.resources,
            "fcos.code": self.plan.evidence.code,
            "fcos.versions": json.dumps(dict(self.plan.evidence.versions), sort_keys=True),
        }
        return {**tags, "fcos.experiment": self.experiment.name} if self.experiment else tags


def _origin(reused: Mapping[str, Any], arm: str) -> dict[str, str]:
    """The sweep that trained, and the run whose result was taken as it is."""
    tags = {"fcos.trained_in": str(reused["sweep"])}
    return {**tags, "fcos.reused_from": reused["arms"][arm]} if arm in reused["arms"] else tags


def _tables(folder: Path, summary: Mapping[str, Any]) -> list[Path]:
    """The files that a run without training leaves."""
    return [folder / path for path in summary.get("files", ())]


def _pictures(folder: Path, summary: Mapping[str, Any], arm: str) -> list[Path]:
    """The sample detections of an arm that are there."""
    return [path for name in summary["pictures"].get(arm, ()) if (path := folder / name).exists()]


def _in_tags(declared: Mapping[str, Any]) -> dict[str, str]:
    """An experiment as tags, in as many parts as they need: a report shall not hang on an artifact alone."""
    text = json.dumps(declared)
    parts = [text[first : first + LONGEST_TAG] for first in range(0, len(text), LONGEST_TAG)]
    named = {f"{EXPERIMENT_JSON}.{number}": part for number, part in enumerate(parts)}
    return {EXPERIMENT_JSON: str(len(parts)), **named}


def experiment_values(experiment: ExperimentConfig, search: Search | None) -> dict[str, Any]:
    """An experiment as plain values, its arms, or the points that are drawn already, with dotted keys."""
    values = experiment.model_dump(mode="json")
    if search is not None:
        arms = {name: dict(drawn.keys) for name, drawn in search.drawn.items()}
        return {**values, "arms": arms, "search": described(search)}
    return {**values, "arms": {arm: flatten(changes) for arm, changes in experiment.arms.items()}}
