"""The ready files for clusters: held against schemas, run without a cluster, and every word for a sweep composed."""

import os
import re
import shlex
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from fcos.installation import ROOT
from orchestration.config.compose import compose
from orchestration.config.overrides import check_overrides

DEPLOY = ROOT / "orchestration" / "deploy"
DOCUMENT = ROOT / "docs" / "clusters.md"
ENTRIES = ("sweep.py", "train.py", "doctor.py")

# Of the fields that KubeRay documents for a RayJob (ray.io/v1), those that a file of ours may use.
POD = {
    "type": "object",
    "required": ["spec"],
    "properties": {
        "spec": {
            "type": "object",
            "required": ["containers"],
            "properties": {
                "containers": {
                    "type": "array",
                    "minItems": 1,
                    "items": {
                        "type": "object",
                        "required": ["name", "image", "resources"],
                        "properties": {
                            "name": {"type": "string"},
                            "image": {"type": "string", "pattern": r"^[a-z0-9./-]+:(?!latest)[A-Za-z0-9_.-]+$"},
                            "resources": {
                                "type": "object",
                                "required": ["requests", "limits"],
                                "additionalProperties": {
                                    "type": "object",
                                    "additionalProperties": {"type": "string"},
                                },
                            },
                            "volumeMounts": {
                                "type": "array",
                                "items": {"type": "object", "required": ["name", "mountPath"]},
                            },
                            "ports": {
                                "type": "array",
                                "items": {"type": "object", "required": ["name", "containerPort"]},
                            },
                        },
                        "additionalProperties": False,
                    },
                },
                "volumes": {"type": "array", "items": {"type": "object", "required": ["name"]}},
            },
            "additionalProperties": False,
        }
    },
    "additionalProperties": False,
}
PARAMS = {"type": "object", "additionalProperties": {"type": "string"}}
RAY_JOB = {
    "type": "object",
    "required": ["apiVersion", "kind", "metadata", "spec"],
    "properties": {
        "apiVersion": {"const": "ray.io/v1"},
        "kind": {"const": "RayJob"},
        "metadata": {"type": "object", "required": ["name"]},
        "spec": {
            "type": "object",
            "required": ["entrypoint", "rayClusterSpec", "shutdownAfterJobFinishes"],
            "properties": {
                "entrypoint": {"type": "string"},
                "backoffLimit": {"type": "integer", "minimum": 0},
                "shutdownAfterJobFinishes": {"const": True},
                "ttlSecondsAfterFinished": {"type": "integer", "minimum": 0},
                "activeDeadlineSeconds": {"type": "integer", "minimum": 1},
                "runtimeEnvYAML": {"type": "string"},
                "rayClusterSpec": {
                    "type": "object",
                    "required": ["rayVersion", "authOptions", "headGroupSpec", "workerGroupSpecs"],
                    "properties": {
                        "rayVersion": {"type": "string"},
                        "authOptions": {
                            "type": "object",
                            "required": ["mode", "secretName"],
                            "properties": {"mode": {"const": "token"}, "secretName": {"type": "string"}},
                            "additionalProperties": False,
                        },
                        "headGroupSpec": {
                            "type": "object",
                            "required": ["template"],
                            "properties": {
                                "rayStartParams": PARAMS,
                                "template": POD,
                                "serviceType": {"type": "string"},
                            },
                            "additionalProperties": False,
                        },
                        "workerGroupSpecs": {
                            "type": "array",
                            "items": {
                                "type": "object",
                                "required": ["groupName", "replicas", "minReplicas", "maxReplicas", "template"],
                                "properties": {
                                    "groupName": {"type": "string"},
                                    "replicas": {"type": "integer"},
                                    "minReplicas": {"type": "integer"},
                                    "maxReplicas": {"type": "integer"},
                                    "rayStartParams": PARAMS,
                                    "template": POD,
                                },
                                "additionalProperties": False,
                            },
                        },
                    },
                    "additionalProperties": False,
                },
            },
            "additionalProperties": False,
        },
    },
    "additionalProperties": False,
}


def ray_job() -> dict[str, Any]:
    (job,) = [
        document
        for document in yaml.safe_load_all((DEPLOY / "kuberay.yaml").read_text())
        if document["kind"] == "RayJob"
    ]
    assert isinstance(job, dict)
    return job


def test_the_ray_job_has_the_documented_fields_and_no_image_named_latest() -> None:
    jsonschema.validate(ray_job(), RAY_JOB)


def test_the_ray_job_names_the_installed_ray_and_volumes_that_exist() -> None:
    spec = ray_job()["spec"]["rayClusterSpec"]
    assert f"ray=={spec['rayVersion']}" in (ROOT / "requirements.lock").read_text()
    claims = [
        document["metadata"]["name"]
        for document in yaml.safe_load_all((DEPLOY / "kuberay.yaml").read_text())
        if document["kind"] == "PersistentVolumeClaim"
    ]
    for group in (spec["headGroupSpec"], *spec["workerGroupSpecs"]):
        pod = group["template"]["spec"]
        volumes = {volume["name"]: volume for volume in pod["volumes"]}
        (container,) = pod["containers"]
        mounted = [mount["name"] for mount in container["volumeMounts"]]
        assert set(mounted) == set(volumes)
        assert volumes["shared"]["persistentVolumeClaim"]["claimName"] in claims


def test_the_ray_job_holds_the_trainings_it_asks_for() -> None:
    job = ray_job()["spec"]
    lab = compose(check_overrides(words_after_entry(job["entrypoint"])))
    (group,) = job["rayClusterSpec"]["workerGroupSpecs"]
    requests = group["template"]["spec"]["containers"][0]["resources"]["requests"]
    assert group["replicas"] * int(requests["nvidia.com/gpu"]) >= lab.cluster.workers * lab.cluster.gpus_per_worker
    assert int(requests["cpu"]) * group["replicas"] >= lab.cluster.workers * lab.cluster.cpus_per_worker
    mounts = [mount["mountPath"] for mount in group["template"]["spec"]["containers"][0]["volumeMounts"]]
    assert any(lab.folder.is_relative_to(mount) for mount in mounts)


@pytest.mark.filterwarnings("ignore:Using extra keyword arguments on `Field`")  # Ray Serve's own
def test_the_cluster_of_machines_holds_against_rays_own_schema() -> None:
    from ray.autoscaler._private.util import prepare_config, validate_config

    written = yaml.safe_load((DEPLOY / "vms.yaml").read_text())
    validate_config(prepare_config(written))
    assert written["file_mounts"]["~/.ray/auth_token"] == "~/.ray/auth_token"
    starts = [
        line for name in ("head", "worker") for line in written[f"{name}_start_ray_commands"] if "ray start" in line
    ]
    assert len(starts) == 2 and all("RAY_AUTH_MODE=token" in line for line in starts)
    assert "--dashboard-host=127.0.0.1" in starts[0]
    # Ray itself reads the options.
    from ray.scripts.scripts import start

    for line in starts:
        options = shlex.split(line.replace("$RAY_HEAD_IP", "10.0.0.1"))
        start.make_context("start", options[options.index("start") + 1 :])


def test_the_environment_of_a_job_is_one_and_packs_code_alone(tmp_path: Path) -> None:
    from ray._private.runtime_env.packaging import create_package
    from ray.runtime_env import RuntimeEnv

    values = yaml.safe_load((DEPLOY / "runtime_env.yaml").read_text())
    RuntimeEnv(**{key: value for key, value in values.items() if key != "excludes"})
    package = tmp_path / "package.zip"
    create_package(str(ROOT), package, include_gitignore=True, excludes=values["excludes"])
    with zipfile.ZipFile(package) as packed:
        names = packed.namelist()
    for needed in ("fcos/train.py", "orchestration/sweep.py", "analysis/templates/report.html.j2", "conf/config.yaml"):
        assert needed in names
    tops = {name.split("/")[0] for name in names}
    assert not tops & {".git", ".venv", "outputs", "mlruns", "tests", "docs", "benchmarks"}
    # Ray takes 500 MiB at most.
    assert package.stat().st_size < 5 * 2**20


def test_the_image_holds_what_the_packages_are_built_from() -> None:
    lines = (DEPLOY / "Dockerfile").read_text().splitlines()
    copied = {word for line in lines if line.startswith("COPY ") for word in line.split()[1:-1]}
    assert {"pyproject.toml", "setup.py", "README.md", "LICENSE", "fcos", "orchestration", "analysis", "conf"} <= copied


@pytest.mark.ray
def test_the_slurm_script_starts_ray_on_every_node_and_the_sweep_once(tmp_path: Path) -> None:
    script = DEPLOY / "slurm.sh"
    subprocess.run(["bash", "-n", str(script)], check=True)
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    (tmp_path / ".venv" / "bin" / "activate").touch()
    stand_in(tmp_path / "bin" / "scontrol", "seq -f node-%.0f 5000")
    stand_in(tmp_path / "bin" / "srun", 'printf "%s\\n" "$RAY_AUTH_MODE" "${#RAY_AUTH_TOKEN}" "$@"')
    stand_in(tmp_path / "bin" / "python", f'exec {sys.executable} "$@"')
    arguments = ["+experiment=ablation_centerness", "data=coco", "data.root=/shared/coco"]
    slurm = {"SUBMIT_DIR": str(tmp_path), "JOB_NODELIST": "node-[1-5000]", "JOB_NUM_NODES": "2", "JOB_ID": "4123"}
    slurm |= {"CPUS_PER_TASK": "8", "GPUS_ON_NODE": "4"}
    done = subprocess.run(
        ["bash", str(script), *arguments],
        env={"PATH": f"{tmp_path / 'bin'}:/usr/bin:/bin", **{f"SLURM_{name}": value for name, value in slurm.items()}},
        capture_output=True,
        text=True,
        check=True,
    )
    mode, token_length, *command = done.stdout.splitlines()
    assert (mode, token_length) == ("token", "64")
    start = command.index("symmetric-run")
    ray, sweep = command[start + 1 : command.index("--", start)], command[command.index("--", start) + 1 :]
    assert ray == ["--address", "node-1:6502", "--min-nodes", "2", "--num-cpus", "8", "--num-gpus", "4"]
    assert sweep == ["python", "-u", "orchestration/sweep.py", "cluster=many_nodes", *arguments]
    compose(check_overrides(sweep[3:]))
    # Ray itself reads its part, and keeps what is for `ray start`.
    from ray.scripts.symmetric_run import curate_and_validate_ray_start_args

    assert curate_and_validate_ray_start_args(ray) == ["--num-cpus", "8", "--num-gpus", "4"]


def stand_in(path: Path, body: str) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/bin/bash\n{body}\n")
    path.chmod(0o755)


def words_after_entry(command: str) -> list[str]:
    """The overrides of a command line that starts one of our entries."""
    arguments = shlex.split(command, comments=True)
    i = next(i for i, word in enumerate(arguments) if word.endswith(ENTRIES))
    return [word for word in arguments[i + 1 :] if not word.startswith("$(")]


def documented_commands() -> list[str]:
    text = DOCUMENT.read_text().replace("\\\n", " ")
    commands = re.findall(r"(?m)^    (.+)$", text)
    return [command for command in commands if re.search(r"orchestration/(sweep|train|doctor)\.py|slurm\.sh", command)]


@pytest.mark.parametrize("command", documented_commands())
def test_every_documented_command_composes(command: str) -> None:
    arguments = " ".join(shlex.split(command, comments=True)).split()
    keys = [word for word in arguments if re.match(r"[+~]?[a-z][\w./]*=", word)]
    assert keys or "doctor.py" in command
    assert compose(check_overrides([re.sub(r"<[^>]*>", "/given", word) for word in keys])) is not None


def test_the_document_names_every_ready_file() -> None:
    text = DOCUMENT.read_text()
    assert [file.name for file in DEPLOY.iterdir() if file.is_file() and file.name not in text] == []


@pytest.mark.ray
def test_symmetric_run_is_a_command_of_this_ray() -> None:
    ray = Path(sys.executable).with_name("ray")
    done = subprocess.run([str(ray), "symmetric-run", "--help"], capture_output=True, text=True, env={**os.environ})
    assert done.returncode == 0 and "--min-nodes" in done.stdout


@pytest.mark.parametrize("file", sorted(DEPLOY.glob("*.yaml")), ids=lambda file: file.name)
def test_deploy_files_hold_plain_values_without_tags_and_anchors(file: Path) -> None:
    events = list(yaml.parse(file.read_text()))
    marked = [event for event in events if getattr(event, "tag", None) or getattr(event, "anchor", None)]
    assert [str(event.start_mark) for event in marked] == []
    assert any(isinstance(event, yaml.ScalarEvent) for event in events)
