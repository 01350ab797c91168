"""Trainings that are to begin, each when the checkpoint that it begins from is there and its lease can be had."""

from collections.abc import Callable, Iterable, Iterator

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

# What comes first: others do not plan it, of an earlier seed, its checkpoint is there, more wait for it.
_Turn = tuple[bool, int, bool, int]


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
        # Keys alone: indices in the order in which they were put in.
        self._waiting: dict[int, None] = {}
        self._prefixes = Prefixes()
        # Seed -> its place among those of the plan.
        self._seeds: dict[int, int] = {}
        # Of those that are waiting, which begin from another one, and the turns of all others, the next one last. A
        # plan may have thousands: they are put in order when something has changed, and once for each look at others.
        self._from_others: list[int] = []
        self._turns: list[tuple[_Turn, int]] = []
        self._looks: int | None = None
        self._held_back = False
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
        self._waiting = dict.fromkeys(indices)
        self._seeds = {}
        for trial in self._plan.trials:
            self._seeds.setdefault(trial.seed, len(self._seeds))
        self._put = [self._plan.trials[index] for index in self._waiting]
        for trial in self._put:
            begin_training(self._plan.folder_of(trial))
        self._unfinished = {trial.identity for trial in self._put}
        self._find_prefixes()

    def put_back(self, index: int) -> None:
        """Put a training in again that another command has taken over while it ran."""
        self._waiting[index] = None
        self._looks = None

    def take(self) -> int | None:
        """Return the next training that can begin, its folder filled with what it begins from; None while all wait.

        Results of other commands are taken over on the way.
        """
        # Those that are held back do not begin; a later command plans anew where from.
        first = next(iter(self._waiting), None)
        held_back = first is not None and is_held_back(self._plan.folder_of(self._plan.trials[first]))
        if held_back and not self._held_back:
            self._looks = None
        self._held_back = held_back
        for index in self._in_turn():
            trial = self._plan.trials[index]
            if not self._is_ready(trial):
                # By what another command was found to do just now.
                continue
            if not (held_back or self._obtain(index, trial)):
                continue
            del self._waiting[index]
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
                if trunks is not None and tuple(trunks) != tuple(self._elsewhere.get(trial.identity, ())):
                    self._elsewhere[trial.identity] = trunks
                    self._find_prefixes()
                return True
            case Taken(summary=summary, sweep=sweep):
                del self._waiting[index]
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
        self._looks = None

    def _in_turn(self) -> Iterator[int]:
        """Iterate over the trainings that may begin, the next one first.

        One that is not taken has its turn again when something has changed, and at the next look at other commands.
        """
        looks = 0 if self._shared is None else self._shared.looks
        if self._looks != looks:
            self._looks = looks
            begin_from_others = {index for index in self._waiting if self._prefixes.of(self._plan.trials[index])}
            self._from_others = sorted(begin_from_others)
            apart = (index for index in self._waiting if index not in begin_from_others)
            self._turns = sorted(((self._turn(index), index) for index in apart), reverse=True)
        # Whether these may begin is seen in files alone.
        ready = (index for index in self._from_others if index in self._waiting and self._may_begin(index))
        others = sorted(((self._turn(index), index) for index in ready), reverse=True)
        while others or self._turns:
            comes_first = not others or (self._turns and self._turns[-1] < others[-1])
            yield (self._turns if comes_first else others).pop()[1]

    def _may_begin(self, index: int) -> bool:
        return self._is_ready(self._plan.trials[index])

    def _is_ready(self, trial: Trial) -> bool:
        prefix = self._prefixes.of(trial)
        if prefix is None or not prefix.waits or prefix.trunk.identity not in self._unfinished:
            return True
        return prefix.step in held_checkpoints(prefix.trunk.folder)

    def _turn(self, index: int) -> _Turn:
        trial = self._plan.trials[index]
        prefix = self._prefixes.of(trial)
        # What begins from a checkpoint that is there comes first: the trunk may go on and remove it.
        waits = prefix is None or prefix.step not in held_checkpoints(prefix.trunk.folder)
        elsewhere = self._shared is not None and self._shared.is_planned_elsewhere(trial)
        return elsewhere, self._seeds[trial.seed], waits, -self._prefixes.count_waiting(trial.identity)
