"""A command of a few small "trainings" that others have too: python lease_worker.py FOLDER NAME TRAININGS STEPS

Each step appends a byte to a file of its own in `steps`, and a result is a file in `results`. It ends when every
training has a result, whoever made it.
"""

import random
import sys
import threading
import time
from pathlib import Path

from orchestration.leases.holders import Holder, OtherHolders
from orchestration.leases.lease import Claim, Lease, Outcome, Superseded, claim_next, expire, read_state
from orchestration.leases.objects import FolderObjects

HEARTBEAT_SECONDS = 0.05
LIMIT_SECONDS = 1.0
STEP_SECONDS = 0.005


class Worker:
    """One command; its heartbeat is a thread's, as that of a driver."""

    def __init__(self, folder: Path, name: str, steps: int) -> None:
        self.folder, self.name, self.steps = folder, name, steps
        self.objects = FolderObjects(folder / "leases")
        self.holder = Holder(self.objects, name, name, "host")
        self.others = OtherHolders(self.objects, name, LIMIT_SECONDS)
        self.looked = time.monotonic()
        self.holder.heartbeat((), {})
        threading.Thread(target=self._heartbeats, daemon=True).start()

    def _heartbeats(self) -> None:
        while True:
            time.sleep(HEARTBEAT_SECONDS)
            self.holder.heartbeat((), {})

    def run(self, trainings: list[str]) -> None:
        while left := [each for each in trainings if not self.result_of(each)]:
            now = time.monotonic()
            self.others.look(now - self.looked, {read_state(self.objects, each).claim.holder for each in left})
            self.looked = now
            for identity in left:
                lease = self.claim(identity)
                if lease is not None:
                    self.train(lease)
                    break
            else:
                time.sleep(HEARTBEAT_SECONDS)
        self.holder.end()

    def result_of(self, identity: str) -> bool:
        return any((self.folder / "results").glob(f"{identity}.*"))

    def claim(self, identity: str) -> Lease | None:
        state = read_state(self.objects, identity)
        dead = self.others.is_dead(state.claim.holder)
        if not state.is_free and dead:
            state = expire(self.objects, identity, state, self.name)
        if not state.is_free or self.result_of(identity):
            return None
        if state.end is not None and state.end.outcome is Outcome.FINISHED and not dead:
            # Its result follows, unless it dies just there.
            return None
        claim = Claim(holder=self.name, sweep=self.name, host="host")
        return claim_next(self.objects, identity, state, claim)

    def train(self, lease: Lease) -> None:
        path = self.folder / "steps" / f"{lease.identity}.{lease.generation}.{self.name}"
        try:
            with path.open("ab", buffering=0) as file:
                for _ in range(self.steps):
                    lease.check()
                    file.write(b".")
                    time.sleep(STEP_SECONDS)
            lease.finish()
        except Superseded:
            return
        (self.folder / "results" / f"{lease.identity}.{lease.generation}").touch()


if __name__ == "__main__":
    identities = [f"training{number}" for number in range(int(sys.argv[3]))]
    random.Random(sys.argv[2]).shuffle(identities)
    Worker(Path(sys.argv[1]), sys.argv[2], int(sys.argv[4])).run(identities)
