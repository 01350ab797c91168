"""Check every node of a cluster for what would keep a sweep from running: python orchestration/doctor.py"""

import sys
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient
    from rich.console import Console

    from orchestration.cli.event_records import CheckRecord
    from orchestration.cli.event_stream import EventStream
    from orchestration.cluster.health.checks import Check
    from orchestration.config.schema import LabConfig

PURPOSE = "Look at Ray, GPUs, storage, tracking, data, versions and code on every node, and say what is wrong."
EXAMPLES = (
    "",
    "cluster=many_nodes output=/shared/outputs data=coco data.root=/shared/coco "
    "tracking=server tracking.uri=http://host:5000",
)
STYLES = {"ok": "green", "warning": "yellow", "failed": "red"}


def cli() -> int:
    """Run the command `fcos-doctor`; returns the exit code."""
    from orchestration.cli.entry import run_entry
    from orchestration.config.overrides import help_text

    return run_entry(sys.argv[1:], main, partial(help_text, "doctor", PURPOSE, EXAMPLES), json="object")


def main(arguments: Sequence[str], stream: "EventStream") -> int:
    """Run all checks and show their results; return 1 where one failed."""
    from orchestration.cli.console import OutputConsole
    from orchestration.cli.event_records import DoctorEvent
    from orchestration.config.compose import compose
    from orchestration.config.overrides import check_overrides, split_config_dir

    console = OutputConsole(plain=stream.is_open)
    own, overrides = split_config_dir(arguments)
    lab = compose(check_overrides(overrides, own), own)
    with console.status("Ray starts, and every node is checked ..."):
        checks = run_checks(lab)
    _show(console, checks)
    code = int(any(check.state == "failed" for check in checks))
    stream.emit(DoctorEvent(checks=tuple(map(_record_of, checks)), exit_code=code))
    return code


def _record_of(check: "Check") -> "CheckRecord":
    from orchestration.cli.event_records import CheckRecord

    return CheckRecord(name=check.name, state=check.state, finding=check.finding, advice=check.advice)


def run_checks(lab: "LabConfig") -> "list[Check]":
    """Run all checks; where Ray cannot be reached, only those without it."""
    from fcos.errors import ConfigError
    from orchestration.cluster.connect import connected, local_nodes
    from orchestration.cluster.health.checks import Check

    local = lab.cluster.address == "local"
    try:
        with connected(lab.cluster, local_nodes(lab.cluster) if local else [], on_workers=False):
            checks = _check_cluster(lab)
            num_nodes = _num_nodes()
    except ConfigError as error:
        checks, num_nodes = [Check("Ray", "failed", str(error), "see docs/clusters.md")], 1
    return [*checks, *_check_store(lab, num_nodes)]


def _check_cluster(lab: "LabConfig") -> "list[Check]":
    import ray
    from ray.exceptions import RayError

    from fcos.data.bucket_source import is_in_bucket
    from fcos.data.shared_memory import max_loader_bytes
    from orchestration.cluster.authentication import requires_token
    from orchestration.cluster.health import checks
    from orchestration.cluster.health.cluster_info import cache_folder, collect_cluster_info

    gcs = ray.get_runtime_context().gcs_address
    try:
        cluster = collect_cluster_info(lab)
    except RayError as error:
        reason = str(error).strip().splitlines()[-1]
        return [checks.Check("nodes", "failed", f"a node was lost: {reason}", "look at Ray's logs on the nodes")]
    cache_bytes = int(1e9 * lab.data.cache_gb) if lab.data.name == "coco" else 0
    return [
        checks.check_responses(cluster.nodes, cluster.silent),
        checks.check_token(requires_token(gcs), gcs, cluster.nodes),
        checks.check_names(cluster.nodes, lab.cluster),
        checks.check_capacity(lab.cluster, cluster.nodes),
        checks.check_versions(cluster.nodes, cluster.driver.versions),
        checks.check_code(cluster.nodes, cluster.driver.code),
        checks.check_gpus(lab.cluster, cluster.nodes),
        _check_bucket(lab)
        if lab.is_in_bucket
        else checks.check_output(str(lab.folder), cluster.write_errors, cluster.visible),
        _check_data_in_bucket(lab) if is_in_bucket(lab.data) else checks.check_data(cluster.nodes, cluster.driver),
        checks.check_disks(cluster.nodes, cache_folder(lab.data), cache_bytes),
        checks.check_shared_memory(
            cluster.nodes, lab.data.num_workers, max_loader_bytes(lab.training, lab.cluster.workers)
        ),
        checks.check_clocks(cluster.nodes),
    ]


def _check_bucket(lab: "LabConfig") -> "Check":
    """Check that the bucket of the output is reached from here; nodes are not checked for it."""
    from fcos.errors import ConfigError
    from orchestration.bucket.output import open_output
    from orchestration.cluster.health.checks import Check

    try:
        open_output(lab.output)
    except ConfigError as error:
        return Check("output", "failed", str(error), "see docs/buckets.md")
    return Check("output", "ok", f"{lab.output} is reached from here; every node needs the credentials too")


def _check_data_in_bucket(lab: "LabConfig") -> "Check":
    """Check that the data in a bucket are reached from here, without images for coverage; nodes are not checked."""
    from fcos.data.bucket_source import check_reachable
    from fcos.errors import ConfigError, ReadError
    from orchestration.cluster.health.checks import Check

    try:
        found = check_reachable(lab.data, with_images=lab.task == "train")
    except (ConfigError, ReadError) as error:
        return Check("data", "failed", str(error), "see docs/buckets.md")
    return Check("data", "ok", f"{lab.data.root}: {found}; each node fetches its own copy, with credentials of its own")


def _num_nodes() -> int:
    import ray

    return sum(node["Alive"] for node in ray.nodes())


def _check_store(lab: "LabConfig", num_nodes: int) -> "list[Check]":
    """Check that the store accepts runs and artifacts; nothing is left in it."""
    from fcos.storage.store_conventions import default_uri, is_sqlite, public_uri
    from orchestration.cluster.health.checks import check_artifact_store, check_tracking
    from orchestration.tracking.addresses import sqlite_file
    from orchestration.tracking.problems import TrackingError
    from orchestration.tracking.server_version import other_version
    from orchestration.tracking.sqlite_store import check_folder
    from orchestration.tracking.store import connect

    uri = lab.tracking.uri or default_uri(lab.folder)
    finding, artifacts, problem, advice, version_note = f"{public_uri(uri)} takes runs", None, None, "", None
    file = sqlite_file(uri)
    try:
        if file is not None and not file.exists():
            finding = f"{public_uri(uri)} is made by the first command"
            check_folder(file.parent)
        else:
            client = connect(uri)
            artifacts = _artifact_location(lab, uri, client)
            version_note = other_version(client, uri)
    except TrackingError as error:
        problem, advice = str(error), error.advice
    except OSError as error:
        problem = f"tracking.uri={public_uri(uri)}: the SQLite file cannot be made: {error.strerror or error}"
        advice = "give an output, or a tracking.uri, that can be written"
    tracking = check_tracking(finding, problem, version_note, sqlite=is_sqlite(uri), num_nodes=num_nodes, advice=advice)
    if artifacts is None:
        return [tracking]
    location, artifact_error = artifacts
    return [tracking, check_artifact_store(location, artifact_error, required=lab.tracking.required)]


def _artifact_location(lab: "LabConfig", uri: str, client: "MlflowClient") -> "tuple[str, str | None] | None":
    """Return the artifact location of this config's runs, and why it cannot be written (None where it can).

    None where the experiment does not exist yet. Raises TrackingError where the store accepts no runs.
    """
    from orchestration.tracking.artifacts import artifact_problem
    from orchestration.tracking.problems import store_errors
    from orchestration.tracking.store import Store, previous_artifact_folder
    from orchestration.tracking.tracker import artifact_folder

    with store_errors(uri):
        known = client.get_experiment_by_name(lab.tracking.experiment)
    if known is None:
        # Any experiment will do for a test write.
        with store_errors(uri):
            known = client.search_experiments(max_results=1)[0]
        Store(client, known.experiment_id, uri, "").check()
        return None
    Store(client, known.experiment_id, uri, known.artifact_location).check()
    folder, location = artifact_folder(lab.tracking.uri, lab.folder), str(known.artifact_location)
    old = previous_artifact_folder(location, folder) if folder is not None else None
    if folder is not None and old is not None:
        return f"{folder} (the store was moved from {old}, the next command corrects it)", artifact_problem(
            str(folder), uri
        )
    return location, artifact_problem(location, uri)


def _show(console: "Console", checks: "Sequence[Check]") -> None:
    from rich.text import Text

    from orchestration.cli.console import show_table

    rows = [(check.name, Text(check.state, style=STYLES[check.state]), check.finding, check.advice) for check in checks]
    show_table(console, "Is everything ready?", ("check", "state", "found", "what to do"), rows)


if __name__ == "__main__":
    sys.exit(cli())
