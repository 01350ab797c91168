"""Clusters of separate processes: joined with a token alone, looked at by the doctor, given this very code as a job."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestration.cluster.authentication import own_addresses
from orchestration.experiment.code_digest import ENTRIES, code_digest
from tests.helpers.experiments.sweeps import ROOT, SHARED, SWEEP, TINY, TRAIN, environment, runs
from tests.helpers.processes.clusters import RAY, Cluster, cluster, data_words, run
from tests.helpers.processes.namespaces import needs_namespaces
from tests.helpers.processes.waiting import PATIENCE

DOCTOR = ROOT / "orchestration" / "doctor.py"


def states(output: str) -> dict[str, str]:
    """The doctor's table: check -> state."""
    return dict(re.findall(r"(?m)^(\w+) +(ok|warning|failed) ", output))


@pytest.fixture
def coco(tmp_path: Path) -> Path:
    root = tmp_path / "data"
    for split in ("train", "val"):
        (root / "images" / split).mkdir(parents=True)
        (root / "images" / split / "0.png").touch()
        (root / f"{split}.json").write_text(json.dumps({"split": split}))
    return root


def test_the_doctor_finds_a_laptop_in_order(tmp_path: Path) -> None:
    done = run(DOCTOR, at=tmp_path, env=environment(tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr
    found = states(done.stdout)
    assert set(found) >= {"nodes", "token", "room", "versions", "code", "GPUs", "output", "data", "space", "clocks"}
    assert set(found.values()) == {"ok"} and found["tracking"] == "ok"
    # Nothing of the looking stays.
    assert not (tmp_path / "outputs").exists()


@pytest.mark.slow(minutes=1)
def test_the_doctor_finds_two_nodes_in_order(tmp_path: Path, coco: Path) -> None:
    with cluster(token=True, nodes=2) as nodes:
        words = [f"cluster.address={nodes.address}", "cluster.workers=2", *data_words(coco)]
        done = run(DOCTOR, *words, at=tmp_path, env=nodes.environment)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 nodes with 2 CPU" in done.stdout and "written by every node, read by all" in done.stdout
    found = states(done.stdout)
    # One SQLite file for two nodes is told of.
    assert found.pop("tracking") == "warning" and set(found.values()) == {"ok"}


def on_a_disk_of_its_own(nodes: Cluster) -> list[str]:
    """Starts a node whose copies of a job's checkout are not the first node's: each would replace the other's."""
    copies = nodes.folder / "ray" / "session_latest" / "runtime_resources"
    script = f'mkdir -p {copies} && mount -t tmpfs none {copies} && exec "$@"'
    return ["unshare", "--mount", "bash", "-c", script, "--"]


@pytest.fixture
def apart(tmp_path: Path) -> Iterator[list[str]]:
    """Starts a command where the data and the output folder are empty, and the code is another copy."""
    needs_namespaces("--mount")
    copy = tmp_path / "other"
    shutil.copytree(ROOT / "fcos", copy, ignore=shutil.ignore_patterns("__pycache__"))
    with (copy / "losses" / "criterion.py").open("a") as file:
        file.write("# another version\n")
    (tmp_path / "outputs").mkdir()
    hide = [f"mount -t tmpfs none {tmp_path / name}" for name in ("data", "outputs")]
    script = " && ".join([*hide, f"mount --bind {copy} {ROOT / 'fcos'}", 'exec "$@"'])
    yield ["unshare", "--mount", "bash", "-c", script, "--"]


@pytest.mark.slow(minutes=1)
def test_a_node_with_other_code_no_data_and_no_shared_folder_is_named(
    tmp_path: Path, coco: Path, apart: list[str]
) -> None:
    with cluster(token=True) as nodes:
        nodes.start(wrapper=apart)
        words = [f"cluster.address={nodes.address}", *data_words(coco)]
        done = run(DOCTOR, *words, at=tmp_path, env=nodes.environment)
    assert done.returncode == 1, done.stdout + done.stderr
    found = states(done.stdout)
    assert {name for name, state in found.items() if state == "failed"} == {"code", "data", "output"}
    assert "has another fcos/" in done.stdout and "train is not there" in done.stdout
    assert "does not see what" in done.stdout and "storage that all nodes share" in done.stdout


@pytest.mark.slow(minutes=1)
def test_a_cluster_without_a_token_is_refused_where_others_reach_it(tmp_path: Path) -> None:
    with cluster(token=False) as nodes:
        words = [*TINY, f"cluster.address={nodes.address}"]
        done = run(TRAIN, *words, at=tmp_path, env=nodes.environment)
        if not own_addresses():
            pytest.skip("this machine has no address but loopback")
        assert done.returncode == 2, done.stdout + done.stderr
        assert "requires no token and is reachable at" in done.stderr and own_addresses()[0] in done.stderr
        auto = run(TRAIN, *TINY, "cluster.address=auto", at=tmp_path, env=nodes.environment)
        assert auto.returncode == 2 and "requires no token" in auto.stderr
        doctor = run(DOCTOR, f"cluster.address={nodes.address}", at=tmp_path, env=nodes.environment)
        assert doctor.returncode == 1 and states(doctor.stdout)["Ray"] == "failed"
        allowed = run(TRAIN, *words, "cluster.allow_unauthenticated=true", at=tmp_path, env=nodes.environment)
        assert allowed.returncode == 0, allowed.stdout + allowed.stderr
        assert "lets it pass" in allowed.stdout


@pytest.mark.slow(minutes=1)
def test_a_cluster_without_a_token_on_an_unreachable_machine_is_joined(tmp_path: Path) -> None:
    """A network namespace with nothing but loopback."""
    if subprocess.run(["unshare", "--net", "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("needs to make a network namespace (root)")
    inner = (
        "from pathlib import Path\n"
        "from orchestration.cluster.authentication import check_cluster, reachable_addresses\n"
        "from tests.helpers.processes.clusters import cluster\n"
        "with cluster(token=False) as nodes:\n"
        "    print(reachable_addresses(nodes.address), check_cluster(nodes.address, allow_unauthenticated=False))\n"
    )
    command = ["unshare", "--net", "bash", "-c", 'ip link set lo up && exec "$@"', "--", sys.executable, "-c", inner]
    done = subprocess.run(
        command, cwd=ROOT, env=environment(tmp_path), capture_output=True, text=True, timeout=PATIENCE
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith("[] 127.0.0.1:")


@pytest.mark.slow(minutes=1)
def test_the_token_must_be_here_be_right_and_be_private(tmp_path: Path) -> None:
    with cluster(token=True) as nodes:
        words = [*TINY, f"cluster.address={nodes.address}"]
        path = nodes.home / ".ray" / "auth_token"
        elsewhere = {**nodes.environment, "HOME": str(tmp_path)}
        none = run(TRAIN, *words, at=tmp_path, env=elsewhere)
        assert none.returncode == 2 and "requires a token, and there is none here" in none.stderr
        wrong = run(TRAIN, *words, at=tmp_path, env={**elsewhere, "RAY_AUTH_TOKEN": "0" * 32})
        assert wrong.returncode == 2 and "does not take the one in RAY_AUTH_TOKEN" in wrong.stderr
        path.chmod(0o644)
        done = run(TRAIN, *words, at=tmp_path, env=nodes.environment)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "others could read this token (mode 644)" in " ".join(done.stdout.split())
        assert path.stat().st_mode & 0o777 == 0o600
        for each in (none, wrong, done):
            assert str(nodes.token) not in each.stdout + each.stderr


def checkout(folder: Path, seen: Path) -> Path:
    """A copy of the tracked files whose fcos says where it was imported from."""
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    for name in listed.stdout.splitlines():
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, folder / name)
    seen.mkdir()
    (folder / "fcos" / "__init__.py").write_text(
        f"import os, pathlib\n(pathlib.Path({str(seen)!r}) / str(os.getpid())).write_text(__file__)\n"
    )
    # Another digest than that of this checkout.
    with (folder / "fcos" / "build.py").open("a") as file:
        file.write("\nCOPIED = True\n")
    for heavy in (".git/objects", "outputs", ".venv"):
        (folder / heavy).mkdir(parents=True)
        (folder / heavy / "heavy").write_bytes(os.urandom(1 << 20))
    return folder


@pytest.mark.slow(minutes=1)
def test_a_submitted_job_runs_this_very_code_on_both_nodes_and_reports(tmp_path: Path) -> None:
    copy = checkout(tmp_path / "copy", tmp_path / "seen")
    commit = "0123456789abcdef0123456789abcdef01234567"
    words = [word for word in SHARED if not word.startswith("data.cache_dir")]
    words += [
        "cluster.address=auto",
        "cluster.workers=2",
        f"output={tmp_path / 'outputs'}",
        f"data.cache_dir={tmp_path / 'cache'}",
    ]
    needs_namespaces("--mount")
    with cluster(token=True) as nodes:
        nodes.start(wrapper=on_a_disk_of_its_own(nodes))
        done = submit(nodes, copy, ["env", f"FCOS_LAB_COMMIT={commit}", "python", "orchestration/sweep.py", *words])
    assert done.returncode == 0, done.stdout + done.stderr
    sweep = tmp_path / "outputs" / "ablation_centerness"
    assert (
        json.loads((sweep / "plan.json").read_text())["code"]
        == code_digest(copy, ENTRIES["train"])
        != code_digest(ROOT, ENTRIES["train"])
    )
    roots = {Path(file.read_text()).parents[1] for file in (tmp_path / "seen").iterdir()}
    assert all("working_dir_files" in root.parts for root in roots) and len(list((tmp_path / "seen").iterdir())) >= 3
    assert (sweep / "report" / "report.html").is_file()
    found = runs(tmp_path)
    assert {one.info.status for one in found.values()} == {"FINISHED"} and len(found) == 3
    assert {one.data.tags["fcos.git_commit"] for one in found.values()} == {commit}
    assert str(nodes.token) not in "".join(str(one.data.to_dictionary()) for one in found.values())


@pytest.mark.slow(minutes=1)
def test_a_job_that_would_write_into_its_own_copy_is_refused(tmp_path: Path) -> None:
    copy = checkout(tmp_path / "copy", tmp_path / "seen")
    with cluster(token=True) as nodes:
        done = submit(nodes, copy, ["python", "orchestration/sweep.py", *SHARED, "cluster.address=auto"])
    assert done.returncode == 1
    assert "lies in the job's own copy of the checkout" in done.stdout + done.stderr


def submit(nodes: Cluster, at: Path, entrypoint: list[str]) -> "subprocess.CompletedProcess[str]":
    command = [
        *(str(RAY), "job", "submit", "--address", f"http://127.0.0.1:{nodes.dashboard_port}", "--working-dir", "."),
        *("--runtime-env", "orchestration/deploy/runtime_env.yaml", "--", *entrypoint),
    ]
    env = {**nodes.environment, "RAY_AUTH_MODE": "token"}
    return subprocess.run(command, cwd=at, env=env, capture_output=True, text=True, timeout=PATIENCE)


@pytest.mark.slow(minutes=1)
def test_nothing_pickled_in_a_sweeps_folder_is_opened(tmp_path: Path) -> None:
    """A rerun over a folder full of crafted files that Tune, Train and we might read."""
    import pickle

    marker = tmp_path / "executed"
    crafted = pickle.dumps(Payload(str(marker)))
    sweep = tmp_path / "outputs" / "ablation_centerness"
    for name in ("tuner.pkl", "trainable.pkl", "searcher-state-x.pkl", "experiment_state-x.json", "param_space.pkl"):
        for folder in (sweep, sweep / "ray", sweep / "ray" / "trials"):
            folder.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(crafted)
    done = run(SWEEP, *SHARED, at=tmp_path, env=environment(tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr
    for trial in (sweep / "trials").iterdir():
        for name in ("checkpoint_manager_snapshot.json", "tuner.pkl", "state.pt", "stop.pkl"):
            (trial / name).write_bytes(crafted)
        shutil.rmtree(trial / "checkpoints")
        (trial / "summary.json").unlink()
        (trial / "checkpoints" / "step_00000004").mkdir(parents=True)
        (trial / "checkpoints" / "step_00000004" / "state.pt").write_bytes(crafted)
    words = (*SHARED, "reuse=false", "retrain_reason=crafted")
    again = run(SWEEP, *words, at=tmp_path, env=environment(tmp_path))
    assert again.returncode == 0, again.stdout + again.stderr
    assert not marker.exists()


class Payload:
    def __init__(self, marker: str) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (os.system, (f"touch {self.marker}",))


@pytest.mark.slow(minutes=1)
def test_no_secret_of_the_environment_is_left_anywhere(tmp_path: Path) -> None:
    """Neither in the store, nor in artifacts, logs, the plan or the report."""
    secret = "hunter2-of-the-environment"
    names = ("AWS_SECRET_ACCESS_KEY", "WANDB_API_KEY", "MLFLOW_TRACKING_PASSWORD", "GITHUB_TOKEN", "LAB_SECRET")
    env = {**environment(tmp_path), **dict.fromkeys(names, secret), "RAY_AUTH_TOKEN": f"{secret}-token"}
    (tmp_path / ".env").write_text(f"KEY={secret}\n")
    done = run(SWEEP, *SHARED, at=tmp_path, env=env)
    assert done.returncode == 0, done.stdout + done.stderr
    assert secret not in done.stdout + done.stderr
    files = [file for file in (tmp_path / "outputs").rglob("*") if file.is_file()]
    assert (tmp_path / "outputs" / "mlflow.db") in files
    assert [str(file) for file in files if secret.encode() in file.read_bytes()] == []
