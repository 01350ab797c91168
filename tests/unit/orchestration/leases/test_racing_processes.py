"""Processes that race for the same trainings, and are killed at twenty seeded moments: each training has one result."""

import random
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from orchestration.leases.lease import Outcome, read_state
from orchestration.leases.objects import FolderObjects
from tests.helpers.processes.waiting import PATIENCE, wait_until

WORKER = Path(__file__).parents[3] / "helpers" / "processes" / "lease_worker.py"
ROOT = Path(__file__).parents[4]
TRAININGS, STEPS, WORKERS, KILLS = 12, 20, 3, 20


class Race:
    """Workers on one folder; one that was killed is replaced by another."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.started = folder, 0
        for name in ("steps", "results"):
            (folder / name).mkdir()
        self.workers = [self.start() for _ in range(WORKERS)]

    def start(self) -> subprocess.Popen[bytes]:
        self.started += 1
        words = [str(self.folder), f"worker{self.started}", str(TRAININGS), str(STEPS)]
        return subprocess.Popen([sys.executable, str(WORKER), *words], env={"PYTHONPATH": str(ROOT)})

    def steps(self) -> int:
        return sum(path.stat().st_size for path in (self.folder / "steps").iterdir())

    def kill_at(self, moment: int, number: int) -> None:
        wait_until(lambda: self.steps() >= moment)
        self.workers[number].kill()
        self.workers[number].wait()
        self.workers[number] = self.start()

    def end(self) -> None:
        for process in self.workers:
            assert process.wait(PATIENCE) == 0


@pytest.mark.ray
def test_each_training_has_one_result_whenever_a_process_is_killed(tmp_path: Path) -> None:
    draw = random.Random(0)
    race = Race(tmp_path)
    try:
        # All before the last training could have its result.
        for moment in sorted(draw.sample(range(1, TRAININGS * STEPS - STEPS), KILLS)):
            race.kill_at(moment, draw.randrange(WORKERS))
        race.end()
    finally:
        for process in race.workers:
            process.kill()
            process.wait()
    results = Counter(path.stem for path in (tmp_path / "results").iterdir())
    assert results == Counter({f"training{number}": 1 for number in range(TRAININGS)})
    objects = FolderObjects(tmp_path / "leases")
    states = {identity: read_state(objects, identity) for identity in results}
    for identity, state in states.items():
        assert state.end is not None and state.end.outcome is Outcome.FINISHED
        assert (tmp_path / "results" / f"{identity}.{state.generation}").exists(), "the newest generation has it"
        # One holder a generation, and the whole training in the one that has the result.
        files = [path.name.split(".") for path in (tmp_path / "steps").glob(f"{identity}.*")]
        assert len({generation for _, generation, _ in files}) == len(files)
        (whole,) = (tmp_path / "steps").glob(f"{identity}.{state.generation}.*")
        assert whole.stat().st_size == STEPS
    assert max(state.generation for state in states.values()) > 1, "no holder was killed"
