"""Records of sweeps whose output is in a bucket, fetched into the local folder that stands for it."""

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

from fcos.storage.bucket.run_files import read_file
from fcos.storage.files import write_atomically
from fcos.storage.store_conventions import Artifact
from orchestration.bucket.generations import read_newest
from orchestration.bucket.output import SIDE_BY_SIDE, BucketOutput, as_config_error, open_output
from orchestration.cli.lock import OWNER_IN_BUCKET, LockOwner
from orchestration.experiment.plan_additions import ADDITIONS
from orchestration.experiment.training_folder import STATUS
from orchestration.monitor.find_sweeps import find_sweeps, is_sweep, no_such_sweep


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
        folder = self.folder / name
        # A name, and no path; listings may lag behind.
        if folder.name == name and not name.startswith("."):
            self.output.pull(name)
            if folder.is_dir() and is_sweep(folder):
                return folder
        self.fetch_all()
        raise no_such_sweep(name, find_sweeps(self.folder).folders, self.output.address)

    def refresh(self, folders: Sequence[Path]) -> None:
        """Fetch records and locks of some sweeps again; raises ConfigError."""
        with as_config_error(self.output.address):
            self._fetch([folder.name for folder in folders])

    def _fetch(self, names: Sequence[str]) -> None:
        with ThreadPoolExecutor(max_workers=SIDE_BY_SIDE) as pool:
            list(pool.map(self._fetch_sweep, names))

    def _fetch_sweep(self, name: str) -> None:
        if name.startswith("."):
            # Leases and the like.
            return
        folder = self.folder / name
        self.output.fetch_files(name, (STATUS,))
        if not (folder / STATUS).exists():
            # Its trainings are those of the plan until there is a record.
            self.output.fetch_files(name, (Artifact.PLAN, ADDITIONS))
        if not folder.is_dir():
            return
        _, holder = read_newest(self.output.sweep(name))
        owner = b""
        if holder is not None and not holder.released:
            values = LockOwner(holder.pid, holder.host, holder.since, holder.begin, holder.counter)
            owner = json.dumps(asdict(values)).encode()
        if read_file(folder / OWNER_IN_BUCKET) != owner:
            write_atomically(folder / OWNER_IN_BUCKET, owner)
