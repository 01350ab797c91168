"""Hosts that share a bucket and nothing else: a cache folder each, an S3 server, and a proxy that fails on request."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.experiments.sweeps import SWEEP as ENTRY
from tests.helpers.experiments.sweeps import start as start_command
from tests.helpers.processes.waiting import PATIENCE
from tests.helpers.servers.proxied_s3 import proxy
from tests.helpers.servers.s3_server import BUCKET, S3Server, s3_server

__all__ = ["OUTPUT", "Host", "hosts", "proxy", "server"]

OUTPUT = f"s3://{BUCKET}/outputs"


class Host:
    """A host: a cache folder of its own, in which the local folder of the bucket and the tracking store are."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        folder.mkdir(exist_ok=True)
        self.folder, self._patch = folder, monkeypatch

    @property
    def cache(self) -> Path:
        return self.folder / "cache"

    def start(self, *words: str, entry: Path = ENTRY) -> "subprocess.Popen[str]":
        with self._patch.context() as patch:
            patch.setenv("XDG_CACHE_HOME", str(self.cache))
            return start_command(self.folder, *words, entry=entry)

    def run(self, *words: str, code: int = 0, entry: Path = ENTRY) -> str:
        """The output of a command that ends with a code; both streams."""
        with self.start(*words, entry=entry) as process:
            output, errors = process.communicate(timeout=PATIENCE)
        assert process.returncode == code, output + errors
        assert "Traceback" not in output + errors, output + errors
        return output + errors

    @property
    def mirror(self) -> Path:
        buckets = (self.cache / "fcos-lab" / "buckets").iterdir()
        # Others are those of single runs that were evaluated by their addresses.
        (found,) = (each for each in buckets if (each / "address.txt").read_text().strip() == OUTPUT)
        return found

    def trials(self, name: str) -> list[Path]:
        return sorted((self.mirror / name / "trials").glob("*"))

    def summaries(self, name: str) -> dict[str, bytes]:
        """The results of a sweep's trainings by the name of their folder."""
        return {trial.name: (trial / "summary.json").read_bytes() for trial in self.trials(name)}


@pytest.fixture
def server() -> Iterator[S3Server]:
    with s3_server() as found:
        yield found


@pytest.fixture
def hosts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Host, Host]:
    return Host(tmp_path / "one", monkeypatch), Host(tmp_path / "two", monkeypatch)
