"""Tracking on PostgreSQL whose artifacts lie in a bucket, which the server alone has the credentials of.

uv run --group database pytest -m slow tests/system/buckets/test_artifacts.py
"""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow.entities import FileInfo
from mlflow.tracking import MlflowClient

from tests.helpers.experiments.sweeps import ROOT, SHARED, environment, finished, runs
from tests.helpers.processes.waiting import PATIENCE
from tests.helpers.servers.s3_server import ACCESS_KEY, BUCKET, SECRET_KEY, S3Server, client_environment, s3_server
from tests.helpers.servers.tracking_server import TrackingServer, tracking_server

pytestmark = pytest.mark.slow(minutes=2)

NAME = "ablation_centerness"


@pytest.fixture
def bucket() -> Iterator[S3Server]:
    with s3_server() as found:
        yield found


@pytest.fixture
def server(bucket: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[TrackingServer]:
    """A server to which the environment of the test signs in; only its own has the credentials of the bucket."""
    (tmp_path / "server").mkdir()
    variables = client_environment(bucket.url)
    for name in variables:
        if name.startswith("AWS_"):
            monkeypatch.delenv(name, raising=False)
    with tracking_server(tmp_path / "server", f"s3://{BUCKET}/mlflow", variables) as started:
        for name, value in started.user.variables.items():
            monkeypatch.setenv(name, value)
        yield started


def artifacts_of(store: MlflowClient, run_id: str, folder: str | None = None) -> list[FileInfo]:
    """All files of a run's artifacts."""
    found = store.list_artifacts(run_id, folder)
    return [each for each in found if not each.is_dir] + [
        file for each in found if each.is_dir for file in artifacts_of(store, run_id, each.path)
    ]


def test_artifacts_go_through_the_server_into_the_bucket_and_a_report_elsewhere_reads_them(
    server: TrackingServer, bucket: S3Server, tmp_path: Path
) -> None:
    (tmp_path / "one").mkdir()
    printed = finished(tmp_path / "one", *SHARED, "tracking=server", f"tracking.uri={server.uri}")
    store = MlflowClient(server.uri)
    found = runs(Path(), NAME, store)
    assert {run.info.status for run in found.values()} == {"FINISHED"} and len(found) == 3
    listed = bucket.request("GET", f"{BUCKET}?list-type=2&prefix=mlflow/").decode()
    keys = re.findall(r"<Key>([^<]+)</Key>", listed)
    for run in found.values():
        files = artifacts_of(store, run.info.run_id)
        assert files, run.info.run_name
        for file in files:
            (key,) = [key for key in keys if key.endswith(f"{run.info.run_id}/artifacts/{file.path}")]
            assert len(bucket.content(key) or b"") == file.file_size
    assert any(key.endswith("results.json.gz") for key in keys) and any(key.endswith("report.html") for key in keys)
    assert not server.artifacts.exists() and not (tmp_path / "one" / "outputs" / "mlartifacts").exists()
    # Elsewhere, where nothing of the sweep lies.
    (tmp_path / "two").mkdir()
    command = [sys.executable, str(ROOT / "analysis" / "report.py"), NAME, "--tracking-uri", server.uri]
    done = subprocess.run(
        [*command, "--output", "report"],
        cwd=tmp_path / "two", env=environment(tmp_path / "two"), capture_output=True, text=True, timeout=PATIENCE,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    for name in ("table.csv", "report.md"):
        report = tmp_path / "one" / "outputs" / NAME / "report"
        assert (tmp_path / "two" / "report" / name).read_text() == (report / name).read_text()
    # By no address of the bucket, which is not reached from everywhere.
    log = (server.folder / "server.log").read_text()
    assert "/mlflow-artifacts/artifacts" in log and "/presigned/" not in log
    # Detections and images are those of the artifacts.
    assert (tmp_path / "two" / "report" / "explorer.html").stat().st_size > 10_000
    for secret in (ACCESS_KEY, SECRET_KEY):
        assert secret not in printed + done.stdout + done.stderr
        for folder in ("one", "two"):
            for path in (each for each in (tmp_path / folder).rglob("*") if each.is_file()):
                assert secret.encode() not in path.read_bytes(), path
