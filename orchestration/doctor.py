"""What would keep a sweep from running well, asked of every node: python orchestration/doctor.py"""

import sys
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

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

    return run_entry(sys.argv[1:], main, partial(help_text, "doctor", PURPOSE, EXAMPLES))


def main(arguments: Sequence[str]) -> int:
    """Look at everything and say what is wrong; 1 where something is."""
    from orchestration.cli.console import OutputConsole
    from orchestration.config.compose import compose
    from orchestration.config.overrides import check_overrides, split_config_dir

    console = OutputConsole()
    own, overrides = split_config_dir(arguments)
    lab = compose(check_overrides(overrides, own), own)
    with console.status("Ray starts, and every node is asked ..."):
        checks = examine(lab)
    _show(console, checks)
    return int(any(check.state == "failed" for check in checks))


def examine(lab: "LabConfig") -> "list[Check]":
    """All checks; where Ray cannot be joined, those that do without."""
    from fcos.errors import ConfigError
    from orchestration.cluster.connect import connected, local_nodes
    from orchestration.cluster.health.checks import Check

    local = lab.cluster.address == "local"
    try:
        with connected(lab.cluster, local_nodes(lab.cluster) if local else [], on_workers=False):
            checks = _of_the_cluster(lab)
            num_nodes = _num_nodes()
    except ConfigError as error:
        checks, num_nodes = [Check("Ray", "failed", str(error), "see docs/clusters.md")], 1
    return [*checks, *_tracking(lab, num_nodes)]


def _of_the_cluster(lab: "LabConfig") -> "list[Check]":
    import ray
    from ray.exceptions import RayError

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
        checks.check_capacity(lab.cluster, cluster.nodes),
        checks.check_versions(cluster.nodes, cluster.driver.versions),
        checks.check_code(cluster.nodes, cluster.driver.code),
        checks.check_gpus(lab.cluster, cluster.nodes),
        checks.check_output(str(lab.folder), cluster.write_errors, cluster.visible),
        checks.check_data(cluster.nodes, cluster.driver),
        checks.check_space(cluster.nodes, cache_folder(lab.data), cache_bytes),
        checks.check_shared_memory(
            cluster.nodes, lab.data.num_workers, max_loader_bytes(lab.training, lab.cluster.workers)
        ),
        checks.check_clocks(cluster.nodes),
    ]


def _num_nodes() -> int:
    import ray

    return sum(node["Alive"] for node in ray.nodes())  # type: ignore[no-untyped-call]


def _tracking(lab: "LabConfig", num_nodes: int) -> "list[Check]":
    """Whether the store takes runs, and their artifacts; nothing is left in it."""
    from orchestration.cluster.health.checks import check_artifacts, check_tracking
    from orchestration.store_conventions import default_uri, is_sqlite, public_uri
    from orchestration.tracking.addresses import sqlite_file
    from orchestration.tracking.problems import TrackingError
    from orchestration.tracking.sqlite_store import check_folder

    uri = lab.tracking.uri or default_uri(lab.folder)
    told, place, problem, advice = f"{public_uri(uri)} takes runs", None, None, ""
    file = sqlite_file(uri)
    try:
        if file is not None and not file.exists():
            told = f"{public_uri(uri)} is made by the first command"
            check_folder(file.parent)
        else:
            place = _artifacts_of_store(lab, uri)
    except TrackingError as error:
        problem, advice = str(error), error.advice
    except OSError as error:
        problem = f"tracking.uri={public_uri(uri)}: the SQLite file cannot be made: {error.strerror or error}"
        advice = "give an output, or a tracking.uri, that can be written"
    tracking = check_tracking(told, problem, sqlite=is_sqlite(uri), num_nodes=num_nodes, advice=advice)
    if place is None:
        return [tracking]
    return [tracking, check_artifacts(place[0], place[1], required=lab.tracking.required)]


def _artifacts_of_store(lab: "LabConfig", uri: str) -> "tuple[str, str | None] | None":
    """Where a store keeps the artifacts of this configuration's runs, and why they cannot be written there.

    None where its experiment is not made yet. Raises TrackingError where the store takes no runs.
    """
    from orchestration.tracking.artifacts import artifact_problem
    from orchestration.tracking.problems import store_errors
    from orchestration.tracking.store import Store, connect, previous_artifact_folder
    from orchestration.tracking.tracker import artifact_folder

    client = connect(uri)
    with store_errors(uri):
        known = client.get_experiment_by_name(lab.tracking.experiment)
    if known is None:
        # Any experiment serves to see whether the store takes a write.
        with store_errors(uri):
            known = client.search_experiments(max_results=1)[0]
        Store(client, known.experiment_id, uri, "").check()
        return None
    Store(client, known.experiment_id, uri, known.artifact_location).check()
    place, location = artifact_folder(lab.tracking.uri, lab.folder), str(known.artifact_location)
    old = previous_artifact_folder(location, place) if place is not None else None
    if place is not None and old is not None:
        return f"{place} (the store was moved from {old}, the next command corrects it)", artifact_problem(
            str(place), uri
        )
    return location, artifact_problem(location, uri)


def _show(console: "Console", checks: "Sequence[Check]") -> None:
    from rich.text import Text

    from orchestration.cli.console import show_table

    rows = [(check.name, Text(check.state, style=STYLES[check.state]), check.finding, check.advice) for check in checks]
    show_table(console, "Is everything ready?", ("check", "state", "found", "what to do"), rows)


if __name__ == "__main__":
    sys.exit(cli())
