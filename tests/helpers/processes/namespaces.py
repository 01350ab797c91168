"""Hosts as Linux namespaces of this machine: processes, network, name, /tmp and code are their own, one folder shared.

Nothing of them is seen from outside, and all of it ends with the process that holds the namespaces, which ends with
this one. A folder for their files is all that is made on disk.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from shlex import quote

import psutil
import pytest

from tests.helpers.experiments.sweeps import ROOT
from tests.helpers.processes.switch import DEVICE

# As a host sees them, both in a /tmp of its own: its home and working folder, and the folder that all hosts share.
HOME, SHARED = Path("/tmp/home"), Path("/tmp/shared")
# What a checkout needs so that its commands run.
CODE = ("fcos", "orchestration", "analysis", "conf", "tests/helpers/processes", "pyproject.toml")
ADDRESSES = {"head": "10.77.0.1", **{f"node{number}": f"10.77.0.{number + 1}" for number in range(1, 9)}}
TOOLS = ("ip", "mount", "nsenter", "setpriv")
OWN = ("--net", "--mount", "--pid", "--uts", "--ipc")
# What unshare prints, in the C locale, where a user has no right.
NOT_PERMITTED = ("Operation not permitted", "Permission denied")
ENDS_WITH_THIS = ("setpriv", "--pdeathsig", "KILL")
SWITCH = Path(__file__).with_name("switch.py")
# Where there are no namespaces of hosts; their own /tmp hides this one's.
OUTSIDE = "/var/tmp"


def needs_namespaces(*options: str, tools: Sequence[str] = (), devices: Sequence[str] = ()) -> None:
    """Skip a test where this user may not make namespaces, or where a tool or a device is absent.

    options: of unshare, which name the namespaces. Where they cannot be made for another reason, the test fails.
    """
    tools = ("unshare", *tools)
    has_all = all(map(shutil.which, tools)) and all(Path(device).exists() for device in devices)
    missing = f"needs to make namespaces ({', '.join(('root', *devices, *tools))})"
    if os.geteuid() != 0 or not has_all:
        pytest.skip(missing)
    probe = subprocess.run(
        ["unshare", *options, "true"], env={**os.environ, "LC_ALL": "C"}, capture_output=True, text=True, check=False
    )
    if any(text in probe.stderr for text in NOT_PERMITTED):
        pytest.skip(missing)
    assert probe.returncode == 0, probe.stderr


def needs_hosts() -> None:
    """Skip a test where hosts cannot be made."""
    needs_namespaces(*OWN, "--fork", "--mount-proc", tools=TOOLS, devices=["/dev/net/tun"])


@dataclass(frozen=True)
class Host:
    """A machine of its own, as far as processes can see."""

    name: str
    # Of its files: tmp/ is its /tmp, code/ its checkout.
    folder: Path
    holder: "subprocess.Popen[str]"
    # Its first process, with which all others end.
    pid: int

    @property
    def address(self) -> str:
        return ADDRESSES[self.name]

    @property
    def home(self) -> Path:
        return self.folder / "tmp" / HOME.name

    def command(self, *words: str) -> list[str]:
        """Return what runs a command there, in its home folder."""
        return ["nsenter", f"--target={self.pid}", *OWN, "env", f"--chdir={HOME}", *words]

    def run(self, *words: str, env: Mapping[str, str] | None = None) -> str:
        """Run a command there to its end, which must be a good one; return its output."""
        done = subprocess.run(self.command(*words), env=env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{self.name}: {words}: {done.stdout}{done.stderr}"
        return done.stdout

    def node_id(self) -> str:
        """Return Ray's id of it."""
        own = Path(f"/proc/{self.pid}/ns/pid").stat().st_ino
        for process in Path("/proc").glob("[0-9]*"):
            with suppress(OSError, ValueError):
                words = (process / "cmdline").read_text().split("\0")
                if words[0].endswith("/raylet") and (process / "ns" / "pid").stat().st_ino == own:
                    return next(word.partition("=")[2] for word in words if word.startswith("--node_id="))
        raise AssertionError(f"no Ray on {self.name}")

    def end(self) -> None:
        """Kill all of its processes at once."""
        # Waited for, and its output closed.
        with self.holder, suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)


def make_host(name: str, folder: Path, shared: Path, lines: Sequence[str] = (), *, code: bool = True) -> Host:
    """Make a host, its files below `folder`; `lines` of a shell are run in its namespaces before anything else.

    code: whether it has a checkout; the packages of this Python it has in any case.
    """
    for part in ("code", "kept", f"tmp/{HOME.name}/.ray", f"tmp/{SHARED.name}"):
        (folder / part).mkdir(parents=True)
    hosts = ["127.0.0.1 localhost", *(f"{address} {each}" for each, address in ADDRESSES.items())]
    (folder / "hosts").write_text("\n".join(hosts) + "\n")
    if code:
        copy_code(folder / "code")
    script = "\n".join(["set -eu", *_set_up(name, folder, shared), *lines, *_finish()])
    holder = subprocess.Popen(
        [*ENDS_WITH_THIS, "unshare", *OWN, "--fork", "--kill-child", "--mount-proc", "bash", "-c", script],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    assert holder.stdout is not None
    line = holder.stdout.readline()
    assert line == "ready\n", line + holder.stdout.read()
    (first,) = psutil.Process(holder.pid).children()
    return Host(name, folder, holder, first.pid)


def copy_code(folder: Path) -> None:
    """Copy what is needed of this checkout."""
    for part in CODE:
        source, target = ROOT / part, folder / part
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copyfile(source, target)


def _set_up(name: str, folder: Path, shared: Path) -> list[str]:
    """Return the lines of a shell that give a host its name and its files."""
    # Its own /tmp, and its own checkout, would hide this Python and its packages.
    kept = [path for path in dict.fromkeys((sys.prefix, sys.base_prefix)) if _is_hidden(Path(path))]
    stages = [(path, folder / "kept" / str(number)) for number, path in enumerate(kept)]
    return [
        f"echo {name} > /proc/sys/kernel/hostname",
        "{ echo 1 > /proc/sys/net/ipv6/conf/all/disable_ipv6; } 2> /dev/null || true",
        "ip link set lo up",
        *(line for path, stage in stages for line in (_bind(path, stage), f"mount -o remount,ro,bind {stage}")),
        "mount -t tmpfs -o size=1g tmpfs /dev/shm",
        f"mount --bind {folder / 'hosts'} /etc/hosts",
        _bind(folder / "tmp", "/tmp"),
        _bind(folder / "code", ROOT),
        *(_bind(stage, path) for path, stage in stages),
        _bind(shared, SHARED),
    ]


def _finish() -> list[str]:
    # No host sees the files of the others; the first process lets those go that have ended.
    return [f"mount -t tmpfs tmpfs {OUTSIDE}", "echo ready", "exec env --ignore-signal=CHLD sleep infinity"]


def _is_hidden(path: Path) -> bool:
    return any(path.is_relative_to(hidden) for hidden in ("/tmp", OUTSIDE, ROOT))


def _bind(source: Path | str, target: Path | str) -> str:
    return f"mkdir -p {quote(str(target))} && mount --rbind {quote(str(source))} {quote(str(target))}"


class Network:
    """The one network that hosts have, a process that carries their frames (see switch.py)."""

    def __init__(self) -> None:
        command = [*ENDS_WITH_THIS, sys.executable, "-I", "-S", str(SWITCH)]
        self._switch = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def plug(self, host: Host) -> None:
        """Give a host its address."""
        self._do("plug", host.name, host.pid)
        host.run("ip", "address", "add", f"{host.address}/24", "dev", DEVICE)
        host.run("ip", "link", "set", DEVICE, "up")

    def unplug(self, host: Host) -> None:
        """Take a host off the network, as a power cut would: nothing comes of it any more, not even that it ends."""
        self._do("unplug", host.name)

    def set_link(self, one: str, other: str, *, seconds: float = 0.0, loss: float = 0.0) -> None:
        """Set how long packets between two hosts take, one way, and the share of them that is lost."""
        self._do("link", one, other, seconds, loss)

    def close(self) -> None:
        # It ends at the end of its input.
        self._switch.communicate()

    def _do(self, *words: str | float) -> None:
        assert self._switch.stdin is not None and self._switch.stdout is not None
        self._switch.stdin.write(json.dumps(words) + "\n")
        self._switch.stdin.flush()
        assert self._switch.stdout.readline() == "done\n", "the switch has ended"
