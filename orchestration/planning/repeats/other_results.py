"""Results of other commands that train while this one runs: found in the folder of the training, and taken from there.

A result counts as soon as its training has left it (see leases/lease.py), which is before the tracking store has its
runs as finished, or at all where its command was killed in between. Of the store the ids of the runs are needed alone,
which it has from the beginning of a training.
"""

import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from fcos.storage.run_folder import RunSummary
from fcos.storage.store_conventions import Tag
from orchestration.config.schema import LabConfig
from orchestration.experiment.prefixes import Trunk
from orchestration.experiment.trials import Trial
from orchestration.planning.first_steps.trunks import find_trunks
from orchestration.planning.plan import Plan
from orchestration.planning.reuse import (
    FetchTraining,
    ReusableRuns,
    ReuseSource,
    choose_source,
    find_reuse_source,
    is_here,
    take_all,
)
from orchestration.tracking.history import History, PastRun, open_history, path_here
from orchestration.tracking.problems import TrackingError
from orchestration.trial import files
from orchestration.trial.retries import memory_tags
from orchestration.trial.task import MicroBatching


@dataclass(frozen=True)
class OtherResult:
    """What a look at another command's training found."""

    # None where there is nothing to be taken over.
    source: ReuseSource | None = None
    # Whether its folder has a result, which the store may not know yet.
    is_there: bool = False
    # Whether that result is of no use here.
    is_useless: bool = False


class OtherResults:
    """What other commands have of the trainings of a plan; a store that does not answer has nothing."""

    def __init__(
        self,
        lab: LabConfig,
        plan: Plan,
        history: History | None = None,
        fetch: FetchTraining = is_here,
        fetch_begun: FetchTraining = is_here,
    ) -> None:
        """Create it; the store is opened at the first look, unless its history is given.

        fetch, fetch_begun: bring the folder of a training that is finished, or not, here from the bucket of the output;
        both raise OSError.
        """
        self._lab, self._plan = lab, plan
        self._history, self._fetch, self._fetch_begun = history, fetch, fetch_begun
        # Two threads look.
        self._lock = threading.Lock()

    def folder_here(self, folder: str) -> Path:
        """Return where a folder lies that the command of another host has named."""
        return Path(path_here(folder, self._lab.folder))

    def find(self, trial: Trial, folder: Path) -> OtherResult:
        """Return what a training can be taken from, first of all the one in a folder."""
        is_there = self._has_result(folder, trial)
        with self._lock:
            try:
                history = self._opened()
                if history is None:
                    return OtherResult(is_there=is_there)
                runs = result_in(folder, history.begun(trial.identity), trial)
                source, _ = choose_source(runs, trial, self._fetch)
                is_useless = bool(runs) and source is None
                return OtherResult(source or find_reuse_source(history, trial, self._fetch)[0], is_there, is_useless)
            except (TrackingError, OSError):
                self._history = None
                return OtherResult(is_there=is_there)

    def _has_result(self, folder: Path, trial: Trial) -> bool:
        try:
            self._fetch(folder)
            return files.read_summary(folder, trial.identity, ()) is not None
        except OSError:
            return False

    def find_trunks(self, trial: Trial) -> Sequence[Trunk]:
        """Return the trainings of other sweeps whose checkpoints a training can go on from."""
        with self._lock:
            try:
                history = self._opened() if self._plan.shares else None
                if history is None:
                    return ()
                self._fetch_all_begun(history, trial)
                return find_trunks(history, self._plan, [trial])[trial.identity]
            except (TrackingError, KeyError):
                self._history = None
                return ()

    def _fetch_all_begun(self, history: History, trial: Trial) -> None:
        """Fetch what other sweeps have of a training; what is not reached is not gone on from."""
        folders = {Path(run.tags.get(Tag.FOLDER, "")) for run in history.begun(trial.identity)}
        for folder in sorted(folders - {self._plan.folder_of(trial)}):
            with suppress(OSError):
                self._fetch_begun(folder)

    def take(self, trial: Trial, source: ReuseSource) -> RunSummary | None:
        """Fill a training's folder from another one; return the result, None where an arm has yet to be evaluated."""
        take_all(self._lab, self._plan, [trial], ReusableRuns(self._history, sources={trial.identity: source}))
        files.begin_training(self._plan.folder_of(trial))
        return self._plan.summary_of(trial)

    def _opened(self) -> History | None:
        # A store that another command is about to make is there at a later look.
        self._history = self._history or open_history(self._lab.tracking.uri, self._lab.folder)
        return self._history


def result_in(folder: Path, runs: Sequence[PastRun], trial: Trial) -> list[PastRun]:
    """Return the runs of the training in a folder as they are once they are finished.

    Empty where it has no result, or the store does not have the runs of all of its arms.
    """
    summary = files.read_summary(folder, trial.identity, ())
    if summary is None:
        return []
    training = files.training_id(folder)
    own = [
        run for run in runs if run.tags.get(Tag.FOLDER) == str(folder) and run.tags.get(Tag.TRAINING_ID, "") == training
    ]
    if not set(summary.metrics) <= {run.arm for run in own}:
        return []
    tags = memory_tags(folder, MicroBatching.of(trial.config))
    if summary.checkpoint:
        tags[Tag.CHECKPOINT] = str((folder / summary.checkpoint).resolve())
        tags[Tag.CHECKPOINT_SHA256] = summary.checkpoint_sha256
    return [replace(run, tags={**run.tags, **tags}) for run in own]
