"""What a command does in the bucket of its output: lock it, fetch what it goes on from, upload, remove, note."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

from fcos.storage.bucket.faults import BucketError
from fcos.storage.run_folder import RunSummary
from fcos.storage.store_conventions import Artifact
from orchestration.bucket.output import BucketOutput, as_config_error
from orchestration.cli.bucket_lock import lock_bucket
from orchestration.cli.console import Output
from orchestration.cli.lock import lock_folder
from orchestration.config.schema import LabConfig
from orchestration.driver.recorder import RunRecorder
from orchestration.driver.watchdogs import repeating
from orchestration.experiment.trials import Trial
from orchestration.planning.plan import Plan
from orchestration.planning.prepare import Prepared
from orchestration.planning.reuse import LaterReuse
from orchestration.trial import files

# Between two looks at what has changed in the sweep's own folder.
PUSH_SECONDS = 2.0


@contextmanager
def locked_output(prepared: Prepared, output: Output) -> Iterator[None]:
    """Lock the folder of a sweep, and its folder in a bucket where there is one, while the block runs.

    Raises FolderInUse where another command works there.
    """
    plan, bucket = prepared.plan, prepared.bucket
    since = datetime.now().astimezone().isoformat(timespec="seconds")
    with lock_folder(plan.folder, since):
        if bucket is None:
            yield
            return
        with lock_bucket(bucket.sweep(plan.name), since, on_wait=output.note) as generation:
            bucket.locked(plan.name, generation)
            # Another command may have ended since the first look.
            bucket.pull(plan.name, is_locked=True)
            yield


class BucketSteps:
    """The steps of one command; each does nothing where the output is a folder."""

    def __init__(self, bucket: BucketOutput | None, plan: Plan, note: Callable[[str], None]) -> None:
        self.output, self._plan, self._note = bucket, plan, note
        self._problems: list[str] = []

    def begin(self) -> None:
        """Upload the plan, and what an earlier command of this host finished; raises ConfigError where that fails."""
        if self.output is not None:
            with as_config_error(self.output.address):
                self.output.push(self._plan.name)
                self.output.clear_stops(self._plan.name)
                self.output.push_results(self._folders(self._plan.trials))

    def fetch(self, unfinished: Sequence[Trial]) -> None:
        """Fetch the checkpoints that trainings go on from, and those that others keep for them; raises ConfigError."""
        if self.output is None:
            return
        trunks = {trial.trunk for trial in unfinished}
        others = [trial for trial in self._plan.trials if trial.trunk in trunks]
        with as_config_error(self.output.address):
            notes = self.output.fetch_checkpoints({self._plan.folder_of(each): each.averages for each in unfinished})
            self.output.fetch_forks(self._folders(others))
        for folder, texts in notes.items():
            for text in texts:
                files.add_note(folder, text)

    @contextmanager
    def following(self, running: Callable[[], Sequence[Path]], *, is_joined: bool) -> Iterator[None]:
        """Upload the plan and the hours used as they change, while the block runs.

        running: the folders of running trainings. is_joined: whether they may run where these are not, so that requests
        to stop go by the bucket.
        """
        if self.output is None:
            yield
            return
        output, name = self.output, self._plan.name

        def push() -> None:
            self._push_quietly()
            if not is_joined:
                return
            with suppress(BucketError, OSError):
                output.push_stops(name, running())

        with repeating("bucket", PUSH_SECONDS, push):
            yield

    def _push_quietly(self) -> None:
        assert self.output is not None
        # What is left is uploaded at the end, which reports what it could not.
        with suppress(BucketError, OSError):
            self.output.push(self._plan.name)

    def complete(self, recorder: RunRecorder, trial: Trial, summary: RunSummary) -> None:
        """Fetch the files of a training that an earlier command finished, where the tracking store lacks them."""
        if self.output is not None and not _is_recorded(recorder, trial):
            for problem in self.output.fetch_results(self._plan.folder_of(trial), summary):
                self._note(f"{trial.label}: {problem}; the tracking store does without")

    def later_reuse(self, lab: LabConfig) -> LaterReuse:
        """Return the reuse of trainings that a search adds while it runs."""
        return LaterReuse(lab) if self.output is None else LaterReuse(lab, self.output.fetch_training)

    def remove(self, checkpoints: Iterable[Trial], forks: Iterable[Trial]) -> None:
        """Remove from the bucket what retention has removed here: all checkpoints of some, the forks of others."""
        if self.output is None:
            return
        try:
            for trial in checkpoints:
                self.output.remove_checkpoints(self._plan.folder_of(trial))
            kept = {self._plan.folder_of(trial): trial.config.schedule.kept_milestone for trial in forks}
            steps = {folder: frozenset[int]() if step is None else frozenset({step}) for folder, step in kept.items()}
            self.output.remove_forks(steps)
        except BucketError as error:
            self._problems.append(f"checkpoints that were to be removed are still there: {error}")

    def end(self, unfinished: Sequence[Trial]) -> bool:
        """Upload all that is left, the report last; return whether the bucket has everything."""
        if self.output is None:
            return True
        bucket, name = self.output, self._plan.name
        try:
            bucket.push_results(self._folders(self._plan.trials))
            bucket.push_begun(self._folders(unfinished))
            bucket.push(name)
            bucket.push_folder(name, Artifact.REPORT)
        except (BucketError, OSError) as error:
            self._problems.append(str(error))
        for problem in self._problems:
            self._note(f"not everything is in the bucket: {problem}; the same command uploads it from {bucket.folder}")
        if not self._problems:
            self._note(f"in the bucket: {bucket.sweep(name).address}")
        return not self._problems

    def leave(self) -> None:
        """Upload the plan, the hours used and the record of the command at an end that does not wait."""
        if self.output is not None:
            self.output.hasten()
            self._push_quietly()

    def _folders(self, trials: Iterable[Trial]) -> list[Path]:
        return [self._plan.folder_of(trial) for trial in trials]


def _is_recorded(recorder: RunRecorder, trial: Trial) -> bool:
    """Return whether the tracking store has all of a training."""
    tracker = recorder.tracker
    return all(
        tracker.is_finished((arm, trial.seed), recorder.identifying(trial, arm))
        and not tracker.is_incomplete((arm, trial.seed))
        for arm in trial.arms
    )
