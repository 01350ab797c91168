"""Trainings that other commands on the same output folder have too: each is trained by one of them.

A training begins with a lease (see leases/lease.py). One whose lease another command holds is followed: its result is
taken over once it is there, and it is trained here where that command gives it back, or dies.
"""

import logging
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from fcos.storage.run_folder import RunSummary
from orchestration.driver.events import TrialEvent, TrialFailed, TrialFinished, TrialStopped
from orchestration.experiment.prefixes import Trunk
from orchestration.experiment.trials import Trial
from orchestration.leases.holders import OtherHolders, TrainingStep
from orchestration.leases.lease import Claim, Lease, LeaseState, Outcome, claim_next, expire, read_state
from orchestration.leases.objects import Objects
from orchestration.planning.plan import Plan
from orchestration.planning.repeats.other_results import OtherResults
from orchestration.planning.reuse import ReuseSource


@dataclass(frozen=True)
class Begin:
    """A training is to begin here."""

    # None where leases cannot be written, or the other command has another tracking store.
    lease: Lease | None
    # Checkpoints to begin from, looked up anew where another command has begun it; None where nothing is new.
    trunks: Sequence[Trunk] | None = None


@dataclass(frozen=True)
class Taken:
    """The result of a training was taken over from another command."""

    summary: RunSummary
    sweep: str


@dataclass(frozen=True)
class Follow:
    """Another command trains it, or has just ended it."""

    claim: Claim
    progress: TrainingStep


@dataclass(frozen=True)
class _Free:
    """No other command trains it now."""

    state: LeaseState
    # The result of another command; None where there is none that can be taken over.
    source: ReuseSource | None = None


# What a look at a lease shows; without a lease begins what another command trains for another tracking store.
_Finding = _Free | Follow | Begin


def warn_unshared(error: OSError) -> None:
    """Log a warning that this command trains what others may train too."""
    text = "leases cannot be kept (%s): what other sweeps train at the same time may be trained twice"
    logging.getLogger(__name__).warning(text, error)


@contextmanager
def _logged() -> Iterator[None]:
    """Log any error of a part of a look: with a folder or a store out of reach now the next look may succeed."""
    try:
        yield
    except Exception:
        logging.getLogger(__name__).debug("the leases of other commands cannot be read", exc_info=True)


@dataclass
class _Awaited:
    """A training that was not to be had, and what the last look at its lease found."""

    trial: Trial
    finding: _Finding


@dataclass
class SharedTrainings:
    """The leases of one command: those that it holds, and those that it waits for.

    `look` is called every few seconds from a thread, all else from the thread of Tune. store: public address of the
    tracking store; commands that have another one share no results.
    """

    plan: Plan
    objects: Objects
    others: OtherHolders
    results: OtherResults
    store: str
    host: str
    # False where all is trained here, whatever others do.
    enabled: bool = True
    # How often the other commands were looked at.
    looks: int = field(default=0, init=False)
    # By identity.
    _held: dict[str, Lease] = field(default_factory=dict, init=False)
    _awaited: dict[str, _Awaited] = field(default_factory=dict, init=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False)
    _looked: float = field(default_factory=time.monotonic, init=False)
    _warned: bool = field(default=False, init=False)

    def obtain(self, trial: Trial) -> Begin | Taken | Follow:
        """Obtain the lease of a training, or its result; else return who has the lease."""
        awaited = self._awaited.get(trial.identity)
        try:
            return self._obtain(trial, self._find(trial) if awaited is None else awaited.finding)
        except OSError as error:
            if not self._warned:
                warn_unshared(error)
            self._warned = True
            self._forget(trial)
            return Begin(None)

    def _obtain(self, trial: Trial, finding: _Finding) -> Begin | Taken | Follow:
        if isinstance(finding, Follow):
            return self._await(trial, finding, finding)
        self._forget(trial)
        if isinstance(finding, Begin):
            return finding
        if finding.source is not None:
            summary = self.results.take(trial, finding.source)
            if summary is not None:
                return Taken(summary, finding.source.trained.sweep)
        state = finding.state
        lease = claim_next(self.objects, trial.identity, state, self._claim(trial))
        if lease is None:
            # Another command was faster, and may even have ended it; the next call will see to that.
            faster = read_state(self.objects, trial.identity).claim
            return self._await(trial, self._find(trial), Follow(faster, TrainingStep()))
        self._held[trial.identity] = lease
        return Begin(lease, self.results.find_trunks(trial) if state.generation else None)

    def _await(self, trial: Trial, finding: _Finding, shown: Follow) -> Follow:
        with self._lock:
            # What a look has found since then stays.
            self._awaited.setdefault(trial.identity, _Awaited(trial, finding))
        return shown

    def _forget(self, trial: Trial) -> None:
        with self._lock:
            self._awaited.pop(trial.identity, None)

    def _claim(self, trial: Trial) -> Claim:
        folder = str(self.plan.folder_of(trial))
        return Claim(holder=self.others.own, sweep=self.plan.name, host=self.host, folder=folder, store=self.store)

    def _find(self, trial: Trial) -> _Finding:
        """Look at the lease of a training; one whose holder is dead is ended. Raises OSError."""
        state = read_state(self.objects, trial.identity)
        if state.generation == 0:
            return _Free(state)
        claim = state.claim
        # The lock of the sweep's folder is this command's: an earlier one that claimed it is dead, and not waited for.
        # Where a lock of another host is not seen, one of the two that work there gives way.
        is_in_own = self.results.folder_here(claim.folder) == self.plan.folder_of(trial)
        is_own = is_in_own and not self.others.has_moved(claim.holder)
        if not state.is_free and (is_own or self.others.is_dead(claim.holder)):
            state = expire(self.objects, trial.identity, state, self.others.own)
            # Where another command was faster, its own.
            claim = state.claim
        is_apart = claim.store not in ("", self.store)
        if state.end is None:
            return Begin(None) if is_apart else Follow(claim, self.others.step_of(claim.holder, trial.identity))
        if is_apart:
            # Or before the output folder was moved.
            return _Free(state)
        result = self.results.find(trial, self.results.folder_here(claim.folder))
        if result.source is not None:
            return _Free(state, result.source)
        if state.end.outcome is Outcome.FINISHED and not (is_own or result.is_useless):
            # The result, or the store's knowledge of it, is on its way for as long as its command lives.
            is_coming = result.is_there or self.others.plans(trial.identity, claim.holder)
            if is_coming and self.others.is_present(claim.holder):
                steps = trial.config.schedule.steps
                return Follow(claim, TrainingStep(step=steps, total_steps=steps))
        return _Free(state)

    def look(self) -> None:
        """Look at the heartbeats of other commands, and at the trainings that this one waits for."""
        now = time.monotonic()
        seconds, self._looked = now - self._looked, now
        with self._lock:
            followed = [(each, each.finding) for each in self._awaited.values() if isinstance(each.finding, Follow)]
        with _logged():
            self.others.look(seconds, {finding.claim.holder for _, finding in followed})
        for each, _ in followed:
            # One that cannot be read keeps no other one waiting.
            with _logged():
                each.finding = self._find(each.trial)
        self.looks += 1

    def is_planned_elsewhere(self, trial: Trial) -> bool:
        """Return whether another command, which is alive, has a training before it."""
        return self.others.plans(trial.identity)

    def handle(self, event: TrialEvent) -> None:
        """Give a lease back with the end of its training."""
        ends = {TrialFinished: Outcome.FINISHED, TrialFailed: Outcome.FAILED, TrialStopped: Outcome.STOPPED}
        lease = self._held.get(event.trial.identity)
        if lease is not None and type(event) in ends:
            self._give_back(lease, ends[type(event)])

    def give_back_all(self) -> None:
        """Give back what is still held, so that others need not wait; no training of this command runs any more."""
        for lease in tuple(self._held.values()):
            self._give_back(lease, Outcome.STOPPED)

    def _give_back(self, lease: Lease, outcome: Outcome) -> None:
        del self._held[lease.identity]
        try:
            lease.give_back(outcome)
        except OSError:
            # Others see that no heartbeat follows.
            logging.getLogger(__name__).debug("a lease cannot be given back", exc_info=True)
