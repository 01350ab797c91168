"""The image of kuberay.yaml: hadolint finds nothing in its Dockerfile, and its commands do what they are there for."""

import fnmatch
import os
import re
import shutil
import subprocess
from pathlib import Path

from fcos.installation import ROOT
from tests.helpers.deploy.dockerfile import Instruction, defaults, parse
from tests.helpers.deploy.files import DEPLOY, linter, stand_in

FILE = DEPLOY / "Dockerfile"
LOCK = ROOT / "requirements.lock"


def instructions() -> list[Instruction]:
    return parse(FILE.read_text())


def test_hadolint_finds_nothing() -> None:
    done = subprocess.run([linter("hadolint"), str(FILE)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_the_image_begins_from_one_that_is_pinned_and_runs_as_a_number() -> None:
    found = instructions()
    images = {each.value.split()[0] for each in found if each.name == "FROM"} - {each.stage for each in found}
    assert images == {"${BASE}", "${VARIANT}"}
    assert re.fullmatch(r"[a-z0-9./-]+:[A-Za-z0-9_.-]+@sha256:[0-9a-f]{64}", defaults(found)["BASE"])
    # Kubernetes cannot see of a name that it is not root's.
    users = [each.value for each in found if each.name == "USER" and each.stage == found[-1].stage]
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", users[-1])


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
