"""A host has other code, packages, data or time, or a full disk: named before a number stands for what it is not."""

import re
import shutil
import sys
from pathlib import Path

import pytest

from fcos.config.run import SyntheticConfig
from fcos.data.synthetic import synthetic_folder
from tests.helpers.experiments.sweeps import ROOT, loss_steps, statuses, trials_of
from tests.helpers.processes.clusters import data_words
from tests.helpers.processes.hosts import HEAD, Hosts
from tests.helpers.processes.interrupted import SINGLE, check_whole, redone
from tests.helpers.processes.namespaces import HOME
from tests.helpers.processes.waiting import PATIENCE

pytestmark = pytest.mark.slow(minutes=2)

DOCTOR = ROOT / "orchestration" / "doctor.py"
WORDS = (*SINGLE, "cluster.workers=2", "report=false")
ON_DISK = (
    *(word for word in WORDS if not word.startswith("data.")),
    "data.short_sides=null",
    "data.long_side=null",
    "data.num_workers=0",
    f"data.cache_dir={HOME / 'cache'}",
    *(word.replace("images/", "") for word in data_words(HOME / "data")),
)
SHAPES = SyntheticConfig(image_size=64, train_images=24, val_images=6, object_size=(10, 40))
SKEWED_CLOCK = Path(__file__).parents[2] / "helpers" / "processes" / "skewed_clock"
SECONDS_AHEAD = 600
# Bytes that the drawn data do not fit into, and that they do.
FULL, ENOUGH = "128k", "64m"


def packages() -> Path:
    (folder,) = Path(sys.prefix).glob("lib/python*/site-packages")
    return folder


def another(hosts: Hosts, file: Path, before: str) -> str:
    """Return the line of a shell by which a host has another version of a package than this file states."""
    text, changes = re.subn(before, r"\g<1>0.0.1\g<2>", file.read_text(), count=1, flags=re.MULTILINE)
    assert changes == 1
    copy = hosts.folder / file.name
    copy.write_text(text)
    return f"mount --bind {copy} {file}"


def other_hotcoco(hosts: Hosts) -> str:
    (file,) = packages().glob("hotcoco-*.dist-info/METADATA")
    return another(hosts, file, r"^(Version: )\S+()$")


def change_code(host_code: Path) -> None:
    with (host_code / "fcos" / "losses" / "criterion.py").open("a") as file:
        file.write("\nANOTHER_VERSION = True\n")


def small_cache() -> str:
    return f"mkdir -p {HOME}/cache && mount -t tmpfs -o size={FULL} tmpfs {HOME}/cache"


def give_data(hosts: Hosts, tmp_path: Path, *names: str) -> None:
    drawn = synthetic_folder(SHAPES, tmp_path / "drawn")
    for name in names:
        shutil.copytree(drawn, hosts[name].home / "data")


def test_the_doctor_names_what_is_another_thing_on_a_host(hosts: Hosts, tmp_path: Path) -> None:
    hosts.environment["PYTHONPATH"] = str(SKEWED_CLOCK)
    hosts.add(HEAD, "node1")
    change_code(hosts.boot("node2", [other_hotcoco(hosts), small_cache()]).folder / "code")
    hosts.join("node2", more={"FCOS_LAB_TEST_CLOCK": str(SECONDS_AHEAD)})
    give_data(hosts, tmp_path, HEAD, "node1")
    done = hosts.run(*ON_DISK, entry=DOCTOR)
    assert done.returncode == 1, done.stdout + done.stderr
    found = dict(re.findall(r"(?m)^(\w+) +(ok|warning|failed) ", done.stdout))
    assert {name for name, state in found.items() if state == "failed"} == {"versions", "code", "data", "space"}
    assert {name for name, state in found.items() if state == "warning"} == {"clocks", "tracking"}
    assert found["output"] == found["token"] == found["nodes"] == "ok"
    for finding in (
        "node2 has hotcoco 0.0.1",
        "node2 has another fcos/",
        "node2: train is not there",
        f"node2: 0.0 GiB free at {HOME / 'cache'}",
        f"node2: {SECONDS_AHEAD} s ahead",
    ):
        assert finding in done.stdout, done.stdout
    assert "node1 " not in done.stdout and "node1:" not in done.stdout


def test_a_host_with_other_code_and_packages_trains_nothing(hosts: Hosts) -> None:
    hosts.add(HEAD, "node1")
    change_code(hosts.boot("node2", [other_hotcoco(hosts)]).folder / "code")
    hosts.join("node2")
    done = hosts.run(*WORDS)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "on node2 hotcoco is 0.0.1, planned" in done.stdout
    assert "the code of fcos/ is not that of the plan" in done.stdout and "taken up" not in done.stdout
    assert set(statuses(hosts.shared).values()) == {"FAILED"}
    (trial,) = trials_of(hosts.shared)
    assert loss_steps(trial) == [] and not (trial / "summary.json").exists()


def test_a_host_with_another_ray_does_not_join(hosts: Hosts) -> None:
    hosts.add(HEAD)
    hosts.boot("node1", [another(hosts, packages() / "ray" / "_version.py", r'^(version = ")[^"]+(")$')])
    assert hosts.start_ray("node1").wait(timeout=PATIENCE) != 0
    log = hosts.log_of("node1")
    assert "Version mismatch" in log and "Ray: 0.0.1" in log


def test_a_host_without_the_data_ends_the_training_at_once(hosts: Hosts, tmp_path: Path) -> None:
    hosts.add(HEAD, "node1", "node2")
    give_data(hosts, tmp_path, HEAD, "node1")
    done = hosts.run(*ON_DISK)
    assert done.returncode == 1, done.stdout + done.stderr
    assert f"data.root={HOME / 'data'}: no such folder" in done.stdout and "taken up" not in done.stdout
    assert set(statuses(hosts.shared).values()) == {"FAILED"}


def test_a_full_disk_stops_the_sweep_and_a_clock_ten_minutes_ahead_is_no_matter(hosts: Hosts) -> None:
    hosts.environment["PYTHONPATH"] = str(SKEWED_CLOCK)
    hosts.add(HEAD, "node1")
    hosts.boot("node2", [small_cache()])
    hosts.join("node2", more={"FCOS_LAB_TEST_CLOCK": str(SECONDS_AHEAD)})
    done = hosts.run(*WORDS)
    assert done.returncode == 4, done.stdout + done.stderr
    assert "no space left on the disk of" in done.stdout and "the same command goes on" in done.stdout
    assert "RUNNING" not in statuses(hosts.shared).values()
    hosts["node2"].run("mount", "-o", f"remount,size={ENOUGH}", str(HOME / "cache"))
    again = hosts.run(*WORDS)
    assert again.returncode == 0, again.stdout + again.stderr
    check_whole(hosts.shared)
    (trial,) = trials_of(hosts.shared)
    assert redone(trial) == 0 and "taken up" not in again.stdout
