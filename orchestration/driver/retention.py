"""Retention of checkpoints: those of trainings below keep.trained are removed, unless another sweep needs them."""

import shutil
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from fcos.metrics import Mode, better_end
from fcos.storage.checkpoint_folder import folder_of, steps_in
from fcos.storage.run_folder import CHECKPOINTS, FORKS, REUSED
from orchestration.config.schema import LabConfig
from orchestration.driver.events import TrialEvent, TrialFinished, TrialReused
from orchestration.experiment.training_folder import TRIALS
from orchestration.experiment.trials import Trial
from orchestration.planning.plan import Plan
from orchestration.trial import files

# Bytes of checkpoints from which on a command's last lines hold a note of their size.
WORTH_A_LINE = 1e9
# Labels that a line lists at most.
MOST_LABELS = 6
# Seconds from one removal to the next while trainings run.
REMOVE_EVERY = 20.0
# Seconds that the checkpoints of a finished training stay for commands that follow it, which look every few seconds.
FOLLOWED_SECONDS = 60.0


@dataclass(frozen=True)
class Removed:
    """A training whose checkpoints were removed."""

    trial: Trial
    bytes: int


@dataclass(frozen=True)
class Ranking:
    """Metric and mode that trainings are ranked by."""

    metric: str
    mode: Mode

    def reason(self, keep: int) -> str:
        """Return why the checkpoints of a training were removed."""
        return f"not among the {keep} best by {self.metric}"

    @property
    def description(self) -> str:
        return f"{self.metric}, {'highest' if self.mode == 'max' else 'lowest'} first"


@dataclass(frozen=True)
class Retention:
    """What was removed, and what was kept although its rank was too low or not known."""

    ranking: Ranking
    ranked: int
    removed: Sequence[Removed] = ()
    needed: Sequence[Trial] = ()
    # Finished trainings without a finite value.
    unranked: Sequence[Trial] = ()

    def lines(self, keep: int) -> list[str]:
        """Return the lines for the console."""
        lines = []
        if self.removed:
            freed = sum(each.bytes for each in self.removed) / 1e6
            labels = _labels([each.trial for each in self.removed])
            lines.append(
                f"keep.trained={keep}: of {self.ranked} trainings ranked by {self.ranking.description}, "
                f"the checkpoints of {len(self.removed)} were removed ({freed:.1f} MB): {labels}"
            )
        if self.needed:
            lines.append(f"kept all the same, as others need them: {_labels(self.needed)}")
        if self.unranked:
            lines.append(
                f"kept all the same, as they have no finite {self.ranking.metric} to be ranked by: "
                f"{_labels(self.unranked)}"
            )
        return lines


def describe_kept(plan: Plan, keep: int | None) -> list[str]:
    """Return a line on the checkpoints of a sweep that keeps all, where they take much space."""
    sizes = [_size(plan.folder_of(trial) / CHECKPOINTS) for trial in plan.trials if _has_own_checkpoints(plan, trial)]
    if keep is not None or sum(sizes) < WORTH_A_LINE:
        return []
    count = "1 training" if len(sizes) == 1 else f"{len(sizes)} trainings"
    return [
        f"checkpoints of {count} take {sum(sizes) / 1e9:.1f} GB; the same command with keep.trained=N leaves those of "
        "the N best"
    ]


def _labels(trials: Sequence[Trial]) -> str:
    more = ", ..." if len(trials) > MOST_LABELS else ""
    return ", ".join(trial.label for trial in trials[:MOST_LABELS]) + more


def remove_checkpoints(lab: LabConfig, plan: Plan, unfinished: Collection[str] = ()) -> Retention:
    """Remove the checkpoints of finished trainings that rank below keep.trained; all else of them stays.

    Trainings that are not finished go on from theirs, or begin from those of others; those without a value have no
    rank, and those of other sweeps are not this one's to remove. `unfinished` are identities of trainings without a
    result.
    """
    ranking = _ranking(lab)
    values = {
        trial.identity: ranked_value(plan.folder_of(trial), summary.metrics, ranking)
        for trial in plan.trials
        if not trial.is_coverage and (summary := plan.summary_of(trial)) is not None
    }
    order = rank(values, ranking.mode)
    if lab.keep.trained is None:
        return Retention(ranking, len(order))
    by_identity = {trial.identity: trial for trial in plan.trials}
    below = [by_identity[identity] for identity in order[lab.keep.trained :]]
    removed, needed = _remove(lab, plan, below, unfinished)
    unranked = [by_identity[identity] for identity, value in values.items() if value is None]
    # Worth a line only where one of them could have been removed.
    unranked = [each for each in unranked if len(values) > lab.keep.trained and _has_own_checkpoints(plan, each)]
    return Retention(ranking, len(order), removed, needed, unranked)


def _remove(
    lab: LabConfig, plan: Plan, below: Sequence[Trial], unfinished: Collection[str]
) -> tuple[list[Removed], list[Trial]]:
    """Remove the checkpoints of trainings unless others need them; return those removed and those needed."""
    elsewhere = needed_elsewhere(lab.folder, plan.folder)
    begun_from = {trial.trunk for trial in plan.trials if trial.identity in unfinished}
    removed, needed = [], []
    for trial in below:
        if not _has_own_checkpoints(plan, trial):
            continue
        folder = plan.folder_of(trial) / CHECKPOINTS
        if folder.resolve() in elsewhere or trial.trunk in begun_from:
            needed.append(trial)
        else:
            removed.append(Removed(trial, _size(folder)))
            shutil.rmtree(folder)
            shutil.rmtree(plan.folder_of(trial) / FORKS, ignore_errors=True)
    return removed, needed


@dataclass(frozen=True)
class _Finished:
    """A training that ended in this command, what it is ranked by, and when, in seconds of the clock."""

    trial: Trial
    value: float | None
    moment: float


class CheckpointRetention:
    """Removes the checkpoints below keep.trained while a sweep runs, and at its end.

    While it runs no more lie there than those of the best, of what runs, and of the last minute: a training that is not
    among the best now is none of them at the end. What other commands may still take over stays for that minute, and
    what another training may begin from until that one has ended.
    """

    def __init__(
        self,
        lab: LabConfig,
        plan: Plan,
        unfinished: Callable[[], Collection[str]],
        record: Callable[[Trial, str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """unfinished: returns the identities of trainings without a result; record: stores why one was removed."""
        self.plan = plan
        self._lab, self._unfinished, self._record, self._clock = lab, unfinished, record, clock
        self._removed: list[Removed] = []
        self._ranking = _ranking(lab)
        # By identity; without those whose checkpoints were removed.
        self._finished: dict[str, _Finished] = {}
        self._next = clock() + REMOVE_EVERY

    def end(self, unfinished: Collection[str]) -> tuple[list[Trial], list[str]]:
        """Remove what is left to be removed; return the trainings without checkpoints now, and lines for the console.

        unfinished: identities of trainings without a result.
        """
        retention = remove_checkpoints(self._lab, self.plan, unfinished)
        keep = self._lab.keep.trained or retention.ranked
        for each in retention.removed:
            self._record(each.trial, self._ranking.reason(keep))
        self._removed += retention.removed
        lines = replace(retention, removed=self._removed).lines(keep)
        # A single run has nothing to rank.
        kept = [] if self._lab.experiment is None else describe_kept(self.plan, self._lab.keep.trained)
        return [each.trial for each in self._removed], [*lines, *kept]

    def handle(self, event: TrialEvent) -> None:
        """Remember what a training was worth, and remove what is not among the best.

        In a bucket checkpoints may still be on their way; there only the end of the sweep removes them.
        """
        if self._lab.keep.trained is None or self._lab.is_in_bucket:
            return
        if not isinstance(event, TrialFinished | TrialReused):
            return
        trial, now = event.trial, self._clock()
        if not trial.is_coverage:
            value = ranked_value(self.plan.folder_of(trial), event.summary.metrics, self._ranking)
            self._finished[trial.identity] = _Finished(trial, value, now)
        if now >= self._next:
            self._next = now + REMOVE_EVERY
            self._remove_below(self._lab.keep.trained, now)

    def _remove_below(self, keep: int, now: float) -> None:
        order = rank({identity: each.value for identity, each in self._finished.items()}, self._ranking.mode)
        below = [self._finished[identity] for identity in order[keep:]]
        old = [each.trial for each in below if each.moment <= now - FOLLOWED_SECONDS]
        removed, _ = _remove(self._lab, self.plan, old, self._unfinished())
        for each in removed:
            self._record(each.trial, self._ranking.reason(keep))
            del self._finished[each.trial.identity]
        self._removed += removed


def remove_forks(plan: Plan, unfinished: Collection[str]) -> list[Trial]:
    """Remove the checkpoints that trainings keep for others of the plan, where none is left that could begin there.

    `unfinished` are identities of trainings without a result. The one at the first milestone stays, for longer
    schedules of later commands. Returns the trainings whose forks are needed no more.
    """
    needed = {trial.trunk for trial in plan.trials if trial.identity in unfinished}
    ended = [trial for trial in plan.trials if trial.trunk not in needed]
    for trial in ended:
        folder, kept = plan.folder_of(trial) / FORKS, trial.config.schedule.kept_milestone
        for step in steps_in(folder) - {kept}:
            shutil.rmtree(folder_of(folder, step), ignore_errors=True)
    return ended


def _has_own_checkpoints(plan: Plan, trial: Trial) -> bool:
    folder = plan.folder_of(trial)
    return files.read_reused(folder) is None and (folder / CHECKPOINTS).is_dir()


def ranked_value(folder: Path, metrics: Mapping[str, Mapping[str, float]], ranking: Ranking) -> float | None:
    """Return a training's value: the best of its arms, or the last reported one; None without a finite value."""
    finite = files.read_final_values(folder, metrics, ranking.metric).values()
    return (max if ranking.mode == "max" else min)(finite, default=None)


def rank(values: Mapping[str, float | None], mode: Mode) -> list[str]:
    """Return the trainings that have a value, best first, of equals the earlier one."""
    known = {name: value for name, value in values.items() if value is not None}
    return sorted(known, key=lambda name: -known[name] if mode == "max" else known[name])


def needed_elsewhere(output: Path, own: Path) -> set[Path]:
    """Return the folders of checkpoints that other sweeps link to."""
    reused = [path.parent for path in output.glob(f"*/{TRIALS}/*/{REUSED}") if own not in path.parents]
    links = [link for folder in reused for link in (folder / CHECKPOINTS).glob("*") if link.is_symlink()]
    return {link.resolve().parent for link in links}


def _ranking(lab: LabConfig) -> Ranking:
    """Return a search's own metric and mode, else the better end of the experiment's first metric."""
    if lab.experiment is None:
        return Ranking("val/AP", "max")
    if lab.experiment.search is not None:
        return Ranking(lab.experiment.search.metric, lab.experiment.search.mode)
    metric = lab.experiment.metrics[0]
    return Ranking(metric, better_end(metric) or "max")


def _size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file() and not file.is_symlink())
