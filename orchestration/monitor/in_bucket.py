"""Records of sweeps whose output is in a bucket, fetched into the local folder that stands for it."""

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

from orchestration.bucket.generations import read_newest
from orchestration.bucket.output import SIDE_BY_SIDE, BucketOutput, as_config_error, open_output
from orchestration.cli.lock import OWNER_IN_BUCKET, LockOwner
from orchestration.monitor.find_sweeps import find_sweep
from orchestration.monitor.record import STATUS
from orchestration.monitor.stored_plan import PLAN


@dataclass(frozen=True)
class BucketSweeps:
    """The sweeps below an address."""

    output: BucketOutput

    @classmethod
    def open(cls, address: str) -> "BucketSweeps":
        """Return the sweeps below an address; raises ConfigError for one that cannot be used."""
        return cls(open_output(address))

    @property
    def folder(self) -> Path:
        """The local folder that stands for the address."""
        return self.output.folder

    def fetch_all(self) -> None:
        """Fetch record, plan and lock of all sweeps; raises ConfigError."""
        with as_config_error(self.output.address):
            self._fetch(self.output.objects.folders())

    def find(self, name: str) -> Path:
        """Return the local folder of a sweep, with the small files of its trainings.

        Raises ConfigError with near matches for one that is not there.
        """
        self.fetch_all()
        folder = find_sweep(self.folder, name)
        self.output.pull(folder.name)
        return folder

    def refresh(self, folders: Sequence[Path]) -> None:
        """Fetch the records of some sweeps again; raises ConfigError."""
        with as_config_error(self.output.address):
            self._fetch([folder.name for folder in folders])

    def _fetch(self, names: Sequence[str]) -> None:
        with ThreadPoolExecutor(max_workers=SIDE_BY_SIDE) as pool:
            list(pool.map(self._fetch_sweep, names))

    def _fetch_sweep(self, name: str) -> None:
        if name.startswith("."):
            # Leases and the like.
            return
        self.output.fetch_files(name, (PLAN, STATUS))
        _, holder = read_newest(self.output.sweep(name))
        path = self.folder / name / OWNER_IN_BUCKET
        if holder is None or holder.released:
            path.unlink(missing_ok=True)
        elif path.parent.is_dir():
            path.write_text(json.dumps(asdict(LockOwner(holder.pid, holder.host, holder.since, holder.begin))))
