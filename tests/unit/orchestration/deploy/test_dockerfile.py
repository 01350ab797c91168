"""The image of kuberay.yaml: its Dockerfile keeps hadolint's rules, and its commands do what they are there for."""

import fnmatch
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from fcos.installation import ROOT
from tests.helpers.deploy.dockerfile import Instruction, defaults, parse, problems
from tests.helpers.deploy.files import DEPLOY, stand_in

FILE = DEPLOY / "Dockerfile"
LOCK = ROOT / "requirements.lock"
PINNED = f"FROM python:3.11.1-slim@sha256:{'0' * 64} AS only\n"
USER = "USER 1000:1000\n"


def instructions() -> list[Instruction]:
    return parse(FILE.read_text())


def test_the_dockerfile_keeps_the_rules() -> None:
    assert problems(FILE.read_text()) == []


@pytest.mark.parametrize(
    ("rule", "text"),
    [
        ("DL3000", f"{PINNED}WORKDIR app\n{USER}"),
        ("DL3002", f"{PINNED}USER root\n"),
        ("DL3002", f"{PINNED}USER ray\n"),
        ("DL3002", f"{PINNED}{USER}FROM only AS last\n"),
        ("DL3003", f"{PINNED}RUN cd /app && make\n{USER}"),
        ("DL3004", f"{PINNED}RUN sudo make\n{USER}"),
        ("DL3006", f"FROM python:3.11-slim AS only\n{USER}"),
        ("DL3006", f"ARG BASE=python\nFROM ${{BASE}} AS only\n{USER}"),
        ("DL3007", f"FROM python:latest AS only\n{USER}"),
        ("DL3008", f"{PINNED}RUN apt-get install --no-install-recommends wget && rm -rf /var/lib/apt/lists\n{USER}"),
        ("DL3009", f"{PINNED}RUN apt-get install --no-install-recommends wget=1.2\n{USER}"),
        ("DL3013", f"{PINNED}RUN pip install --no-cache-dir torch\n{USER}"),
        ("DL3015", f"{PINNED}RUN apt-get install wget=1.2 && rm -rf /var/lib/apt/lists\n{USER}"),
        ("DL3020", f"{PINNED}ADD fcos fcos\n{USER}"),
        ("DL3025", f"{PINNED}{USER}CMD python\n"),
        ("DL3042", f"{PINNED}RUN make \\\n    && pip install -r requirements.lock\n{USER}"),
        ("DL3045", f"{PINNED}WORKDIR /app\nFROM only AS last\nCOPY fcos fcos\n{USER}"),
        ("DL3059", f"{PINNED}RUN make\n# twice\nRUN make\n{USER}"),
        ("DL4000", f"{PINNED}MAINTAINER someone\n{USER}"),
        ("DL4006", f"{PINNED}RUN make | tee log\n{USER}"),
    ],
)
def test_each_rule_is_found_broken(rule: str, text: str) -> None:
    assert [each.split()[0] for each in problems(text)] == [rule]


@pytest.mark.skipif(shutil.which("hadolint") is None, reason="hadolint is not installed")
def test_hadolint_finds_nothing() -> None:
    done = subprocess.run(["hadolint", str(FILE)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_the_image_has_a_variant_with_cuda_and_one_without() -> None:
    found = instructions()
    stages = {each.stage for each in found}
    assert {"cuda", "cpu"} <= stages and defaults(found)["VARIANT"] == "cuda"
    last = [each for each in found if each.name == "FROM"][-1]
    assert last.value.split()[0] == "${VARIANT}"


def run_commands(stage: str, folder: Path, **arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run the RUN of a stage in a folder with the lock, with a pip that only notes what it is given."""
    (run,) = [each.value for each in instructions() if each.name == "RUN" and each.stage == stage]
    shutil.copy(LOCK, folder)
    for temporary in ("rest.lock", "torch.txt"):
        run = run.replace(f"/tmp/{temporary}", str(folder / temporary))
    # What the files hold when pip reads them.
    copied = 'for word in "$@"; do [ -f "$word" ] && cp "$word" "$word.read"; done'
    stand_in(folder / "bin" / "pip", f'echo "$@" >> {folder / "pip.log"}; {copied}; true')
    return subprocess.run(
        ["sh", "-c", run],
        cwd=folder,
        env={"PATH": f"{folder / 'bin'}:{os.environ['PATH']}", **arguments},
        capture_output=True,
        text=True,
        check=False,
    )


def pins(text: str) -> dict[str, str]:
    """Name -> version of a lock."""
    return dict(re.findall(r"(?m)^([A-Za-z0-9_.-]+)==([^ ;\\\n]+)", text))


def test_with_cuda_the_image_gets_the_whole_lock(tmp_path: Path) -> None:
    done = run_commands("cuda", tmp_path)
    assert done.returncode == 0, done.stderr
    (line,) = (tmp_path / "pip.log").read_text().splitlines()
    assert line.split() == ["install", "--no-cache-dir", "--require-hashes", "-r", "requirements.lock"]


def test_without_cuda_the_image_gets_all_but_cuda_and_torch_of_the_same_version(tmp_path: Path) -> None:
    done = run_commands("cpu", tmp_path, TORCH_INDEX="file:///index")
    assert done.returncode == 0, done.stderr
    lock, rest = LOCK.read_text(), (tmp_path / "rest.lock.read").read_text()
    whole, kept = pins(lock), pins(rest)
    left_out = set(whole) - set(kept)
    assert {"torch", "torchvision", "triton", "nvidia-cublas", "cuda-toolkit"} <= left_out
    assert all(re.match("torch$|torchvision$|triton$|nvidia-|cuda-", name) for name in left_out)
    assert {name: whole[name] for name in kept} == kept
    # Every pin keeps its hashes, and no other's.
    blocks = {block.split("==")[0]: block for block in re.split(r"(?m)^(?=[A-Za-z0-9])", lock) if "==" in block}
    assert [block in rest for name, block in blocks.items() if name in kept] == [True] * len(kept)
    assert not any(f"\n{name}==" in f"\n{rest}" for name in left_out)
    assert pins((tmp_path / "torch.txt.read").read_text()) == {name: whole[name] for name in ("torch", "torchvision")}
    rest_line, torch_line, check = (tmp_path / "pip.log").read_text().splitlines()
    assert "--no-deps --require-hashes" in rest_line and "--index-url file:///index" in torch_line and check == "check"
    assert not (tmp_path / "rest.lock").exists() and not (tmp_path / "torch.txt").exists()


def test_without_cuda_the_index_has_to_be_named(tmp_path: Path) -> None:
    done = run_commands("cpu", tmp_path)
    assert done.returncode != 0 and "TORCH_INDEX" in done.stderr
    assert not (tmp_path / "pip.log").exists()


def test_the_image_holds_what_the_packages_are_built_from() -> None:
    copied = copied_files()
    assert {"pyproject.toml", "setup.py", "README.md", "LICENSE", "fcos", "orchestration", "analysis", "conf"} <= copied
    assert all((ROOT / name).exists() for name in copied)


def copied_files() -> set[str]:
    return {word for each in instructions() if each.name == "COPY" for word in each.value.split()[:-1]}


def test_the_build_gets_what_the_image_copies_and_no_more() -> None:
    lines = (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines()
    patterns = [line for line in lines if line and not line.startswith("#")]
    assert patterns[0] == "*"
    assert {line[1:] for line in patterns if line.startswith("!")} == copied_files()
    assert any(fnmatch.fnmatch("fcos/__pycache__", line.replace("**", "*")) for line in patterns[1:])
