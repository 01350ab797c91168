"""The files for Kubernetes: held against the documented fields and what KubeRay and Kueue require beside them."""

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from fcos.installation import ROOT
from tests.helpers.deploy.files import DEPLOY, amount, composed, documents_of, words_after_entry
from tests.helpers.deploy.kubernetes_schemas import SCHEMAS
from tests.helpers.processes.namespaces import needs_namespaces
from tests.helpers.processes.waiting import PATIENCE, wait_until

FILES = ("kuberay.yaml", "kueue.yaml")
END_SWEEP = DEPLOY / "end_sweep.sh"
# Of the pod that submits the job, as KubeRay makes it.
SUBMITTER = {"cpu": 1.0, "memory": 2.0**30, "nvidia.com/gpu": 0.0}


def documents(name: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((DEPLOY / name).read_text()))


def ray_job() -> dict[str, Any]:
    (job,) = documents_of("kuberay.yaml", "RayJob")
    return job


def groups() -> list[dict[str, Any]]:
    spec = ray_job()["spec"]["rayClusterSpec"]
    return [spec["headGroupSpec"], *spec["workerGroupSpecs"]]


def container_of(group: dict[str, Any]) -> dict[str, Any]:
    (container,) = group["template"]["spec"]["containers"]
    assert isinstance(container, dict)
    return container


@pytest.mark.parametrize("name", FILES)
def test_every_object_has_the_documented_fields(name: str) -> None:
    for document in documents(name):
        jsonschema.validate(document, SCHEMAS[document["kind"]])


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("spec", "shutdownAfterJobFinishes"), False),
        (("spec", "rayClusterSpec", "enableInTreeAutoscaling"), True),
        (("spec", "rayClusterSpec", "rayVersion"), "2.9.0"),
        (("spec", "entryPoint"), "python sweep.py"),
        (("spec", "rayClusterSpec", "workerGroupSpecs"), [{}]),
        (("metadata", "labels", "kueue.x-k8s.io/queue-name"), "not a label"),
        (("metadata", "name"), "Not_A_Name"),
    ],
)
def test_what_kuberay_or_kueue_would_refuse_is_found(path: tuple[str, ...], value: object) -> None:
    job = ray_job()
    inner = job
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(job, SCHEMAS["RayJob"])


def test_the_ray_job_names_the_installed_ray_and_volumes_that_exist() -> None:
    version = ray_job()["spec"]["rayClusterSpec"]["rayVersion"]
    assert f"ray=={version}" in (ROOT / "requirements.lock").read_text()
    claims = [claim["metadata"]["name"] for claim in documents_of("kuberay.yaml", "PersistentVolumeClaim")]
    for group in groups():
        volumes = {volume["name"]: volume for volume in group["template"]["spec"]["volumes"]}
        assert {mount["name"] for mount in container_of(group)["volumeMounts"]} == set(volumes)
        assert volumes["shared"]["persistentVolumeClaim"]["claimName"] in claims
    # A training is refused where its packages are others than the driver's.
    assert len({container_of(group)["image"] for group in groups()}) == 1


def test_the_ray_job_holds_the_trainings_that_it_requests() -> None:
    job = ray_job()["spec"]
    lab = composed(words_after_entry(job["entrypoint"]))
    (group,) = job["rayClusterSpec"]["workerGroupSpecs"]
    requests = container_of(group)["resources"]["requests"]
    assert group["replicas"] * int(requests["nvidia.com/gpu"]) >= lab.cluster.workers * lab.cluster.gpus_per_worker
    assert int(requests["cpu"]) * group["replicas"] >= lab.cluster.workers * lab.cluster.cpus_per_worker
    mounts = [mount["mountPath"] for mount in container_of(group)["volumeMounts"]]
    assert any(lab.folder.is_relative_to(mount) for mount in mounts)


def test_the_queue_is_the_jobs_and_has_room_for_it() -> None:
    (local,) = documents_of("kueue.yaml", "LocalQueue")
    (queue,) = documents_of("kueue.yaml", "ClusterQueue")
    flavors = [flavor["metadata"]["name"] for flavor in documents_of("kueue.yaml", "ResourceFlavor")]
    assert ray_job()["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == local["metadata"]["name"]
    assert local["spec"]["clusterQueue"] == queue["metadata"]["name"]
    (resources,) = queue["spec"]["resourceGroups"]
    (flavor,) = resources["flavors"]
    assert flavor["name"] in flavors
    quotas = {each["name"]: amount(each["nominalQuota"]) for each in flavor["resources"]}
    assert list(quotas) == resources["coveredResources"]
    wanted = dict(SUBMITTER)
    for group in groups():
        for name, quantity in container_of(group)["resources"]["requests"].items():
            wanted[name] = wanted.get(name, 0.0) + group.get("replicas", 1) * amount(quantity)
    # What is requested beside these would never be admitted.
    assert set(wanted) == set(quotas) and all(quotas[name] >= wanted[name] for name in wanted)


def test_pods_have_the_time_to_end_in_order() -> None:
    head, *workers = groups()
    command = container_of(head)["lifecycle"]["preStop"]["exec"]["command"]
    assert command[:2] == ["bash", f"/app/{END_SWEEP.relative_to(ROOT)}"]
    from ray._private.ray_constants import RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S as RAY_SECONDS

    # Until the trainings have saved, until the sweep has closed its runs, and until Ray has ended.
    seconds, closing = int(command[2]), 30
    assert head["template"]["spec"]["terminationGracePeriodSeconds"] >= seconds + closing + RAY_SECONDS
    # As long as that where the job is stopped, as KubeRay does when a RayJob is deleted.
    stops = {each["name"]: float(each["value"]) for each in container_of(head)["env"]}
    assert stops["RAY_JOB_STOP_WAIT_TIME_S"] >= closing
    for worker in workers:
        (drain,) = [each for each in container_of(worker)["env"] if each["name"].endswith("DRAIN_TIMEOUT_S")]
        assert drain["name"] == "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S"
        assert seconds <= float(drain["value"]) < worker["template"]["spec"]["terminationGracePeriodSeconds"]


ENDS_IN_ORDER = """
import pathlib, signal, sys, time
def end(number, frame):
    time.sleep(0.5)
    pathlib.Path(__file__ + ".closed").touch()
    sys.exit(143)
signal.signal(signal.SIGTERM, end)
pathlib.Path(__file__ + ".up").touch()
time.sleep(600)
"""


@pytest.mark.ray
def test_the_sweep_of_a_pod_is_ended_and_nothing_else(tmp_path: Path) -> None:
    # A pod has one of processes.
    namespaces = ("--pid", "--fork", "--mount-proc", "--kill-child")
    needs_namespaces(*namespaces)
    sweep, other = tmp_path / "orchestration" / "sweep.py", tmp_path / "other.py"
    sweep.parent.mkdir()
    for file in (sweep, other):
        file.write_text(ENDS_IN_ORDER)
    # As Ray starts an entrypoint: from a shell that has the same words.
    script = (
        f"sh -c '{sys.executable} -u {sweep} name=x; true' & {sys.executable} {other} & other=$!; "
        f"until [ -e {sweep}.up ] && [ -e {other}.up ]; do sleep 0.1; done; bash {END_SWEEP} 0; "
        f"test -e {sweep}.closed && echo closed; kill -0 $other && echo goes on"
    )
    pod = subprocess.Popen(
        ["unshare", *namespaces, "bash", "-c", script],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        output, _ = pod.communicate(timeout=PATIENCE)
    finally:
        pod.send_signal(signal.SIGKILL)
    assert output.splitlines() == ["closed", "goes on"]
    assert not Path(f"{other}.closed").exists()
    wait_until(lambda: pod.poll() is not None)
