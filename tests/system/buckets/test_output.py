"""Sweeps whose output is a bucket: from one host to another, and through what networks and services do to them."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.experiments.sweeps import TINY, TRAIN, loss_steps, pair_words, wait_for
from tests.helpers.processes.bucket_hosts import OUTPUT, Host, hosts, proxy, server
from tests.helpers.processes.holding import Hold
from tests.helpers.processes.waiting import PATIENCE, wait_until
from tests.helpers.servers.faulty_proxy import FaultyProxy
from tests.helpers.servers.s3_server import ACCESS_KEY, BUCKET, SECRET_KEY, S3Server

__all__ = ["hosts", "proxy", "server"]

STEPS, INTERVAL, LOG = 24, 6, 2
NAME = "ablation_centerness"
# Two trainings.
SWEEP = (*pair_words(STEPS, INTERVAL, LOG), "cluster.concurrent=1", f"output={OUTPUT}")

pytestmark = pytest.mark.slow(minutes=1)


def in_bucket(server: S3Server, name: str) -> bytes:
    content = server.content(f"outputs/{name}")
    assert content is not None, name
    return content


def checkpoints_in_bucket(server: S3Server, trial: str) -> list[str]:
    # It is there only after the first upload.
    index = json.loads(server.content(f"outputs/{NAME}/trials/{trial}/objects.json") or b'{"checkpoints": []}')
    return sorted(each["folder"] for each in index["checkpoints"])


def kill_host(process: "subprocess.Popen[str]", hold: Hold) -> None:
    """Kill a driver, and go on when the training that it started has noticed, as it has no host any more."""
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    wait_until(lambda: not hold.held())
    hold.release()


def check_results_are_those_of_a_folder(host: Host, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Numbers of a sweep whose bucket failed are those of the same sweep into a folder."""
    plain = Host(folder, monkeypatch)
    plain.run(*SWEEP[:-1], "report=false")
    expected = sorted((folder / "outputs" / NAME / "trials").glob("*/summary.json"))
    numbers = {path.parent.name: json.loads(path.read_text())["summary"]["metrics"] for path in expected}
    found = {name: json.loads(data)["summary"]["metrics"] for name, data in host.summaries(NAME).items()}
    assert found == numbers


def test_a_sweep_goes_into_a_bucket_and_another_host_takes_all_of_it(
    server: S3Server, proxy: FaultyProxy, hosts: tuple[Host, Host], tmp_path: Path
) -> None:
    one, two = hosts
    printed = one.run(*SWEEP)
    assert f"in the bucket: {OUTPUT}/{NAME}" in printed
    assert in_bucket(server, f"{NAME}/report/report.html").startswith(b"<!")
    assert len(one.trials(NAME)) == 2
    for trial in one.trials(NAME):
        summary = json.loads(in_bucket(server, f"{NAME}/trials/{trial.name}/summary.json"))["summary"]
        for name in (*summary["evaluations"].values(), *summary["pictures"].values()):
            for each in name:
                in_bucket(server, f"{NAME}/trials/{trial.name}/{each}")
        assert f"checkpoints/step_{STEPS:08d}" in checkpoints_in_bucket(server, trial.name)
    before = len(proxy.faults.seen)
    again = two.run(*SWEEP)
    assert two.summaries(NAME) == one.summaries(NAME)
    assert "in the bucket" in again
    uploads = [key for method, key in proxy.faults.seen[before:] if method == "PUT"]
    assert not any("/checkpoints/" in key or key.endswith("summary.json") for key in uploads), (
        "nothing is trained again"
    )
    # The report of the other host has the pictures and evaluations, which it fetched.
    assert (two.mirror / NAME / "report" / "explorer.html").stat().st_size > 10_000
    for secret in (ACCESS_KEY, SECRET_KEY):
        assert secret not in printed + again
        for file in (path for host in hosts for path in host.folder.rglob("*") if path.is_file()):
            assert secret.encode() not in file.read_bytes(), file


def test_a_single_training_goes_into_a_bucket_and_is_evaluated_from_there(
    server: S3Server, proxy: FaultyProxy, hosts: tuple[Host, Host]
) -> None:
    one, two = hosts
    words = (*TINY, f"output={OUTPUT}", "name=single")
    one.run(*words, entry=TRAIN)
    (trial,) = one.trials("single")
    address = f"{OUTPUT}/single/trials/{trial.name}"
    summary = json.loads(in_bucket(server, f"single/trials/{trial.name}/summary.json"))["summary"]
    environment = {**os.environ, "XDG_CACHE_HOME": str(two.folder / "cache"), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "fcos", "evaluate", address, "--output", "numbers.json"]
    subprocess.run(command, cwd=two.folder, env=environment, check=True, timeout=PATIENCE, capture_output=True)
    found = json.loads((two.folder / "numbers.json").read_text())["metrics"]
    assert found["val/AP"] == pytest.approx(summary["metrics"][""]["val/AP"], abs=1e-6)
    two.run(*words, entry=TRAIN)
    assert two.summaries("single") == one.summaries("single")


def test_a_killed_driver_goes_on_on_another_host_with_at_most_one_interval_done_again(
    server: S3Server, proxy: FaultyProxy, hosts: tuple[Host, Host], hold: Hold, tmp_path: Path, monkeypatch
) -> None:
    one, two = hosts
    moment = 2 * INTERVAL + LOG
    hold.at(moment)
    process = one.start(*SWEEP, "report=false")
    wait_for(hold.held, process)
    ((name, _),) = hold.held().items()
    wait_until(lambda: f"checkpoints/step_{2 * INTERVAL:08d}" in checkpoints_in_bucket(server, name))
    kill_host(process, hold)
    two.run(*SWEEP, "report=false")
    (trial,) = [trial for trial in two.trials(NAME) if trial.name == name]
    steps = loss_steps(trial)
    # Whatever was reported after the checkpoint is done again, and nothing before it.
    assert sorted(set(steps)) == list(range(LOG, STEPS + 1, LOG))
    assert steps.count(2 * INTERVAL) == 1 and steps[0] == LOG
    assert json.loads((trial / "summary.json").read_text())["summary"]["resumed_from"] == 2 * INTERVAL
    check_results_are_those_of_a_folder(two, tmp_path / "plain", monkeypatch)
    # The first host finds that all is done.
    one.run(*SWEEP, "report=false")
    assert one.summaries(NAME) == two.summaries(NAME)


def test_a_checkpoint_that_is_deleted_costs_one_interval_more_and_a_note(
    server: S3Server, proxy: FaultyProxy, hosts: tuple[Host, Host], hold: Hold
) -> None:
    one, two = hosts
    hold.at(2 * INTERVAL + LOG)
    process = one.start(*SWEEP, "report=false")
    wait_for(hold.held, process)
    ((name, _),) = hold.held().items()
    newest = f"checkpoints/step_{2 * INTERVAL:08d}"
    wait_until(lambda: newest in checkpoints_in_bucket(server, name))
    kill_host(process, hold)
    server.remove(f"outputs/{NAME}/trials/{name}/{newest}/state.pt")
    two.run(*SWEEP, "report=false")
    summary = json.loads((two.mirror / NAME / "trials" / name / "summary.json").read_text())["summary"]
    assert summary["resumed_from"] == INTERVAL
    assert any("state.pt: was removed from the bucket" in note for note in summary["notes"])


def test_a_slow_bucket_that_refuses_one_call_of_five_and_cuts_uploads_changes_no_number(
    server: S3Server, proxy: FaultyProxy, hosts: tuple[Host, Host], tmp_path: Path, monkeypatch
) -> None:
    one, two = hosts
    faults = proxy.faults
    faults.delay, faults.unavailable_every, faults.cuts, faults.cut_bytes = 0.02, 5, 6, 2000
    one.run(*SWEEP, "report=false")
    assert faults.cuts == 0
    check_results_are_those_of_a_folder(one, tmp_path / "plain", monkeypatch)
    faults.lags = True
    two.run(*SWEEP, "report=false")
    assert two.summaries(NAME) == one.summaries(NAME)


def test_credentials_that_expire_stop_a_sweep_that_goes_on_with_new_ones(
    server: S3Server, proxy: FaultyProxy, hosts: tuple[Host, Host], hold: Hold, tmp_path: Path, monkeypatch
) -> None:
    one, _ = hosts
    hold.at(INTERVAL + LOG)
    process = one.start(*SWEEP, "report=false")
    wait_for(hold.held, process)
    ((name, _),) = hold.held().items()
    wait_until(lambda: f"checkpoints/step_{INTERVAL:08d}" in checkpoints_in_bucket(server, name))
    proxy.faults.expire_now()
    hold.release()
    output, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 4, output + errors
    assert "ExpiredToken" in output and "credentials that are valid" in output
    assert "Traceback" not in output + errors
    refused = one.run(*SWEEP, "report=false", code=2)
    assert "ExpiredToken" in refused and "AWS_ACCESS_KEY_ID" in refused
    proxy.faults.expired_from = None
    one.run(*SWEEP, "report=false")
    steps = loss_steps(one.mirror / NAME / "trials" / name)
    assert steps == list(range(LOG, STEPS + 1, LOG)), "all that was trained was on this machine's disk"
    check_results_are_those_of_a_folder(one, tmp_path / "plain", monkeypatch)


def test_a_second_command_elsewhere_is_refused_while_the_first_is_alive(
    server: S3Server, proxy: FaultyProxy, hosts: tuple[Host, Host], hold: Hold
) -> None:
    one, two = hosts
    hold.at(LOG)
    process = one.start(*SWEEP, "report=false")
    wait_for(hold.held, process)
    refused = two.run(*SWEEP, "report=false", code=3)
    assert f"is in use by process {process.pid} on" in refused
    process.terminate()
    process.communicate(timeout=PATIENCE)
    hold.release()
    two.run(*SWEEP, "report=false")


def test_retention_removes_checkpoints_in_the_bucket_too(
    server: S3Server, proxy: FaultyProxy, hosts: tuple[Host, Host]
) -> None:
    one, two = hosts
    one.run(*SWEEP, "report=false", "keep.trained=1")
    kept = {trial.name: checkpoints_in_bucket(server, trial.name) for trial in one.trials(NAME)}
    assert sorted(map(bool, kept.values())) == [False, True]
    listed = server.request("GET", f"{BUCKET}?list-type=2&prefix=outputs/{NAME}/trials/").decode()
    (gone,) = [name for name, checkpoints in kept.items() if not checkpoints]
    assert f"{gone}/checkpoints/step_" not in listed and f"{gone}/summary.json" in listed
    two.run(*SWEEP, "report=false")
    assert two.summaries(NAME) == one.summaries(NAME)


def test_a_bucket_that_is_not_there_is_refused_before_anything_starts(
    proxy: FaultyProxy, hosts: tuple[Host, Host]
) -> None:
    one, _ = hosts
    refused = one.run(*SWEEP[:-1], "output=s3://absent/outputs", code=2)
    assert "output=s3://absent/outputs" in refused and "no such bucket" in refused
    assert "create it" in refused
