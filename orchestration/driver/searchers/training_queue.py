"""Trainings that are to begin, each when the checkpoint that it begins from is there and its lease can be had."""

from collections.abc import Callable, Iterable

from orchestration.driver.events import TrialEvent, TrialFollowed, TrialReused
from orchestration.driver.sharing.shared_trainings import Begin, Follow, SharedTrainings, Taken
from orchestration.experiment.prefixes import Prefixes
from orchestration.experiment.trials import Trial
from orchestration.leases.lease import Lease
from orchestration.planning.first_steps.begin_from import begin_from
from orchestration.planning.first_steps.planned_prefixes import Elsewhere, find_prefixes, held_checkpoints
from orchestration.planning.plan import Plan
from orchestration.trial.failures import is_held_back
from orchestration.trial.files import begin_training


class TrainingQueue:
    """Trainings of a plan by index; one that others wait for comes before the others of its seed.

    Those that other commands have before them too come last, and those that they train are taken over from them.
    """

    def __init__(
        self,
        plan: Plan,
        elsewhere: Elsewhere,
        shared: SharedTrainings | None = None,
        publish: Callable[[TrialEvent], None] = lambda event: None,
    ) -> None:
        """Create the queue; `elsewhere` are trainings of other sweeps whose checkpoints may be begun from.

        Without `shared` all is trained here. `publish` gets the events of trainings that other commands have.
        """
        self._plan = plan
        self._elsewhere = dict(elsewhere)
        self._shared = shared
        self._publish = publish
        self._waiting: list[int] = []
        self._prefixes = Prefixes()
        # Trainings that were put in, and the identities of those that have not ended.
        self._put: list[Trial] = []
        self._unfinished: set[str] = set()
        # By index: leases of trainings that have begun, and what was last published of those that others train.
        self._leases: dict[int, Lease | None] = {}
        self._followed: dict[int, TrialFollowed] = {}

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def put(self, indices: Iterable[int]) -> None:
        """Put trainings in; those that were put in before have ended."""
        self._waiting = list(indices)
        self._put = [self._plan.trials[index] for index in self._waiting]
        for trial in self._put:
            begin_training(self._plan.folder_of(trial))
        self._unfinished = {trial.identity for trial in self._put}
        self._find_prefixes()

    def put_back(self, index: int) -> None:
        """Put a training in again that another command has taken over while it ran."""
        self._waiting.append(index)

    def take(self) -> int | None:
        """Return the next training that can begin, its folder filled with what it begins from; None while all wait.

        Results of other commands are taken over on the way.
        """
        # Those that are held back do not begin; a later command plans anew where from.
        held_back = bool(self._waiting) and is_held_back(self._plan.folder_of(self._plan.trials[self._waiting[0]]))
        ready = [index for index in self._waiting if self._is_ready(self._plan.trials[index])]
        for index in sorted(ready, key=self._turn):
            trial = self._plan.trials[index]
            if not self._is_ready(trial):
                # By what another command was found to do just now.
                continue
            if not (held_back or self._obtain(index, trial)):
                continue
            self._waiting.remove(index)
            if held_back:
                self._leases.pop(index, None)
            else:
                begin_from(self._prefixes.of(trial), trial, self._plan.folder_of(trial))
            return index
        return None

    def forks(self, index: int) -> tuple[int, ...]:
        """Return the steps after which a training keeps a checkpoint for others."""
        return self._prefixes.forks(self._plan.trials[index])

    def lease(self, index: int) -> Lease | None:
        """Return the lease of a training that has begun; None where it needs none."""
        return self._leases.get(index)

    def end(self, index: int) -> None:
        """Note that a training has ended, with a result or without."""
        self._unfinished.discard(self._plan.trials[index].identity)

    def _obtain(self, index: int, trial: Trial) -> bool:
        """Return whether a training begins here; one whose result was taken over leaves the queue."""
        if self._shared is None:
            return True
        match self._shared.obtain(trial):
            case Begin(lease=lease, trunks=trunks):
                self._leases[index] = lease
                self._followed.pop(index, None)
                if trunks is not None:
                    self._elsewhere[trial.identity] = trunks
                    self._find_prefixes()
                return True
            case Taken(summary=summary, sweep=sweep):
                self._waiting.remove(index)
                self._followed.pop(index, None)
                self.end(index)
                self._publish(TrialReused(index, trial, summary, sweep))
            case Follow() as other:
                self._follow(index, trial, other)
        return False

    def _follow(self, index: int, trial: Trial, other: Follow) -> None:
        claim, progress = other.claim, other.progress
        event = TrialFollowed(
            index, trial, claim.sweep, claim.host, progress.step, progress.total_steps, progress.loss
        )  # fmt: skip
        is_new = index not in self._followed
        if event != self._followed.get(index):
            self._followed[index] = event
            self._publish(event)
        if is_new and self._prefixes.count_waiting(trial.identity):
            # It leaves no checkpoint here that others could begin from.
            self._find_prefixes()

    def _find_prefixes(self) -> None:
        """Find what trainings begin from that are trained here and have not ended."""
        followed = {self._plan.trials[index].identity for index in self._followed}
        here = self._unfinished - followed
        pending = [trial for trial in self._put if trial.identity in here]
        self._prefixes = find_prefixes(self._plan, pending, self._elsewhere)

    def _is_ready(self, trial: Trial) -> bool:
        prefix = self._prefixes.of(trial)
        if prefix is None or not prefix.waits or prefix.trunk.identity not in self._unfinished:
            return True
        return prefix.step in held_checkpoints(prefix.trunk.folder)

    def _turn(self, index: int) -> tuple[bool, int, bool, int, int]:
        trial = self._plan.trials[index]
        seeds, prefix = [each.seed for each in self._plan.trials], self._prefixes.of(trial)
        # What begins from a checkpoint that is there comes first: the trunk may go on and remove it.
        waits = prefix is None or prefix.step not in held_checkpoints(prefix.trunk.folder)
        elsewhere = self._shared is not None and self._shared.is_planned_elsewhere(trial)
        return elsewhere, seeds.index(trial.seed), waits, -self._prefixes.count_waiting(trial.identity), index
