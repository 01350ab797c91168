"""The doctor's checks, on information that nodes may report."""

import socket
from dataclasses import replace
from typing import Any

import pytest

from orchestration.cluster.health import checks, node_info
from orchestration.cluster.health.checks import NodeInfo
from orchestration.cluster.resources import Node
from orchestration.config.schema import ClusterConfig

VERSIONS = dict.fromkeys(checks.DECIDING_PACKAGES, "1.0")
CODE = {"fcos": "a" * 64, "orchestration": "b" * 64}
GOOD = NodeInfo(
    "first",
    Node(4, 1),
    versions=VERSIONS,
    code=CODE,
    gpus=1,
    token_mode="600",
    free={"/out": 50 << 30, "/cache": 50 << 30},
    digests={"train": "c" * 64},
    images={"/data/images": True},
)
OTHER = replace(GOOD, name="second")


def test_two_nodes_that_agree_are_ok() -> None:
    nodes = [GOOD, OTHER]
    cluster = ClusterConfig(gpus_per_worker=1, device="cuda")
    results = [
        checks.check_responses(nodes, {}),
        checks.check_names(nodes, cluster),
        checks.check_capacity(cluster, nodes),
        checks.check_versions(nodes, VERSIONS),
        checks.check_code(nodes, CODE),
        checks.check_gpus(cluster, nodes),
        checks.check_output("/out", {}, {"first": ["first", "second"], "second": ["first", "second"]}),
        checks.check_data(nodes, GOOD),
        checks.check_disks(nodes, "/cache", 10**10),
        checks.check_clocks(nodes),
        checks.check_token(True, "10.0.0.1:6379", nodes),
        checks.check_tracking("http://store answers", None, sqlite=False, num_nodes=2),
    ]
    assert [(check.name, check.state) for check in results if check.state != "ok"] == []


LOOPBACK = {"host": "b", "host_addresses": ["127.0.1.1", "::1"]}
ACROSS = ClusterConfig(workers=2)


@pytest.mark.parametrize(
    ("changes", "cluster", "state"),
    [
        (LOOPBACK, ACROSS, "failed"),
        # Nothing connects machines by their names then, as yet.
        (LOOPBACK, ClusterConfig(), "warning"),
        (LOOPBACK, ClusterConfig(workers=2, gpus_per_worker=1, device="cuda"), "warning"),
        ({"host": "b", "host_addresses": []}, ACROSS, "failed"),
        ({**LOOPBACK, "gloo_interface": "eth0"}, ACROSS, "ok"),
        ({"host": "b", "host_addresses": ["127.0.1.1", "192.0.2.7"]}, ACROSS, "ok"),
        ({"host": "b", "host_addresses": ["fe80::1%eth0"]}, ACROSS, "ok"),
        # Another node of the same machine.
        ({**LOOPBACK, "host": "a"}, ACROSS, "ok"),
    ],
)
def test_a_machine_whose_own_name_leads_to_itself_alone_is_named(
    changes: dict[str, Any], cluster: ClusterConfig, state: str
) -> None:
    first = replace(GOOD, host="a", host_addresses=["192.0.2.1"])
    check = checks.check_names([first, replace(OTHER, **changes)], cluster)
    assert check.state == state
    if state != "ok":
        assert check.finding.startswith("b resolves to ") and check.finding.endswith(" on second")
        assert "GLOO_SOCKET_IFNAME" in check.advice and "/etc/hosts" in check.advice


def test_this_machine_reports_what_its_name_resolves_to() -> None:
    known = node_info.describe([], {}, [], count_gpus=False)
    assert known["host"] == socket.gethostname()
    assert known["host_addresses"] == node_info._addresses(socket.gethostname())
    assert node_info._addresses("127.0.0.1") == ["127.0.0.1"]
    assert node_info._addresses("no-such-host.invalid") == []


def test_a_silent_node_fails_by_name_with_its_reason() -> None:
    check = checks.check_responses([GOOD], {"second": "nothing within 120 s"})
    assert check.state == "failed" and "2 nodes" in check.finding and "second: nothing within 120 s" in check.finding


def test_a_training_that_does_not_fit_fails_with_the_arithmetic() -> None:
    check = checks.check_capacity(ClusterConfig(workers=3, cpus_per_worker=4), [GOOD, OTHER])
    assert check.state == "failed" and "3 workers x 4 CPU = 12 CPU" in check.finding


def test_another_version_fails_by_node_package_and_both_versions() -> None:
    wrong = replace(OTHER, versions={**VERSIONS, "torch": "0.9"})
    check = checks.check_versions([GOOD, wrong], VERSIONS)
    assert check.state == "failed" and check.finding == "second has torch 0.9, here is 1.0"


def test_a_package_that_decides_nothing_may_differ() -> None:
    assert checks.check_versions([replace(GOOD, versions={**VERSIONS, "mlflow": "9"})], VERSIONS).state == "ok"


@pytest.mark.parametrize(("digest", "message"), [("d" * 64, "has another"), (None, "finds no")])
def test_other_code_fails_by_node_and_package(digest: str | None, message: str) -> None:
    check = checks.check_code([GOOD, replace(OTHER, code={**CODE, "fcos": digest})], CODE)
    assert check.state == "failed" and check.finding == f"second {message} fcos/"


@pytest.mark.parametrize(
    ("changes", "cluster", "state"),
    [
        ({"gpus": None}, ClusterConfig(gpus_per_worker=1, device="cuda"), "failed"),
        ({"gpus": 0}, ClusterConfig(), "failed"),
        ({}, ClusterConfig(), "warning"),
        ({"node": Node(4), "gpus": None}, ClusterConfig(gpus_per_worker=1, device="cuda"), "failed"),
        ({"node": Node(4), "gpus": None}, ClusterConfig(gpus_per_worker=1, device="auto"), "warning"),
        ({"node": Node(4), "gpus": None}, ClusterConfig(), "ok"),
        ({"node": Node(4, 0.5)}, ClusterConfig(gpus_per_worker=0.5, device="auto"), "ok"),
    ],
)
def test_gpus_of_torch_and_ray(changes: dict, cluster: ClusterConfig, state: str) -> None:
    assert checks.check_gpus(cluster, [replace(GOOD, **changes)]).state == state


def test_an_output_folder_that_is_not_shared_fails_by_both_nodes() -> None:
    check = checks.check_output("/out", {}, {"first": ["first"], "second": ["first", "second"]})
    assert check.state == "failed" and "first does not see what second wrote" in check.finding
    assert "storage that all nodes share" in check.advice


def test_an_output_folder_that_cannot_be_written_fails_with_the_reason() -> None:
    check = checks.check_output("/out", {"second": "Read-only file system"}, {})
    assert check.state == "failed" and "second: Read-only file system" in check.finding


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"digests": {"train": None}}, "second: train is not there"),
        ({"digests": {"train": "d" * 64}}, "second: train is another file"),
        ({"images": {"/data/images": False}}, "second: no images in /data/images"),
    ],
)
def test_other_data_fail_by_node_and_file(changes: dict, message: str) -> None:
    check = checks.check_data([GOOD, replace(OTHER, **changes)], GOOD)
    assert check.state == "failed" and check.finding == message


def test_annotations_that_are_absent_here_fail() -> None:
    absent = replace(GOOD, digests={"train": None})
    assert checks.check_data([absent], absent).finding == "train: no such file here"


def test_a_full_disk_fails_and_a_tight_one_warns() -> None:
    assert checks.check_disks([replace(GOOD, free={"/out": 1 << 20, "/cache": 1 << 40})], "/cache", 0).state == "failed"
    assert (
        checks.check_disks([replace(GOOD, free={"/out": 1 << 40, "/cache": 2 << 30})], "/cache", 10**10).state
        == "warning"
    )


def test_a_clock_that_is_off_warns_unless_the_answer_took_as_long() -> None:
    check = checks.check_clocks([GOOD, replace(OTHER, clock_offset=-90.0, clock_uncertainty=0.1)])
    assert check.state == "warning" and check.finding == "second: 90 s behind"
    assert checks.check_clocks([replace(GOOD, clock_offset=3.0, clock_uncertainty=2.0)]).state == "ok"


def test_a_token_file_that_others_read_fails_and_no_token_warns() -> None:
    check = checks.check_token(True, "a:1", [GOOD, replace(OTHER, token_mode="644")])
    assert check.state == "failed" and "second: mode 644" in check.finding
    assert checks.check_token(False, "a:1", [GOOD]).state == "warning"
    assert "environment alone" in checks.check_token(True, "a:1", [replace(GOOD, token_mode="")]).finding


def test_tracking_that_does_not_answer_fails_and_sqlite_for_many_nodes_warns() -> None:
    assert checks.check_tracking("x", "tracking.uri=x: refused", sqlite=False, num_nodes=1).state == "failed"
    assert checks.check_tracking("x", None, sqlite=True, num_nodes=2).state == "warning"
    assert checks.check_tracking("x", None, sqlite=True, num_nodes=1).state == "ok"
    other = checks.check_tracking("x", None, "the server runs MLflow 2.9.1", sqlite=False, num_nodes=1)
    assert (other.state, other.finding) == ("warning", "the server runs MLflow 2.9.1")


def test_shared_memory_that_loaders_would_fill_fails_by_node() -> None:
    roomy, small = replace(GOOD, shared_memory=1 << 30), replace(OTHER, shared_memory=64 << 20)
    check = checks.check_shared_memory([roomy, small], 4, 400 << 20)
    assert check.state == "failed" and check.finding.startswith("second: 64 MiB free, data.num_workers=4 needs")
    assert "--shm-size" in check.advice and "data.num_workers" in check.advice
    # What no setting bounds is guessed from Docker's default.
    assert checks.check_shared_memory([roomy, small], 4, None).state == "warning"
    assert checks.check_shared_memory([roomy], 4, 400 << 20).state == "ok"
    assert checks.check_shared_memory([small], 0, 0).state == "ok"
    # A system without a folder of it.
    assert checks.check_shared_memory([GOOD], 4, 400 << 20).state == "ok"
