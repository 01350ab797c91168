"""compose.yaml is a valid file, publishes nothing beyond loopback, and its sweep is one that this code accepts."""

import re
import subprocess
from typing import Any

import pytest
import yaml

from fcos.installation import ROOT
from tests.helpers.deploy.dockerfile import parse
from tests.helpers.deploy.files import DEPLOY, composed, linter, words_after_entry
from tests.helpers.deploy.schemas import find_violations

FILE = ROOT / "compose.yaml"
SERVICES: dict[str, dict[str, Any]] = yaml.safe_load(FILE.read_text())["services"]


def test_the_file_is_one_of_the_compose_specification() -> None:
    assert find_violations("compose-spec", FILE) == ""


def test_a_file_that_breaks_the_specification_is_found(tmp_path) -> None:
    (tmp_path / "compose.yaml").write_text(FILE.read_text().replace("    healthcheck:", "    healthchecks:"))
    assert "healthchecks" in find_violations("compose-spec", tmp_path / "compose.yaml")


def test_all_that_is_needed_is_there() -> None:
    assert SERVICES.keys() == {"keys", "database", "bucket", "make-bucket", "mlflow", "head", "worker", "lab"}
    assert SERVICES["worker"]["deploy"]["replicas"] == 2


def test_what_is_published_is_reached_from_this_machine_alone() -> None:
    published = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert sorted(published) == ["127.0.0.1:5000:5000", "127.0.0.1:8265:8265"]
    assert not [name for name, service in SERVICES.items() if service.get("privileged") or "cap_add" in service]


def test_services_run_as_the_user_of_their_image_but_for_that_which_gives_files_away() -> None:
    assert {name: service["user"] for name, service in SERVICES.items() if "user" in service} == {"keys": "0:0"}
    assert SERVICES["keys"]["network_mode"] == "none" and "ports" not in SERVICES["keys"]


def test_images_are_built_from_stages_of_the_dockerfile_or_have_a_version() -> None:
    stages = {each.stage for each in parse((DEPLOY / "Dockerfile").read_text())}
    for name, service in SERVICES.items():
        if "build" in service:
            assert service["build"]["dockerfile"] == "orchestration/deploy/Dockerfile"
            assert service["build"]["target"] in stages, name
        else:
            assert re.fullmatch(r"[a-z]+:\d+\.\d+-[a-z]+", service["image"]), name


@pytest.mark.parametrize("name", [name for name, each in SERVICES.items() if each.get("command", [""])[0] == "sh"])
def test_shellcheck_finds_nothing_in_scripts(name: str) -> None:
    _, flag, script = SERVICES[name]["command"]
    # Compose takes $$ for a dollar sign.
    command = [linter("shellcheck"), "--shell=sh", "-"]
    done = subprocess.run(command, input=script.replace("$$", "$"), capture_output=True, text=True, check=False)
    assert (flag, done.returncode, done.stdout) == ("-c", 0, "")


def test_no_password_stands_in_the_file() -> None:
    values = [
        value
        for service in SERVICES.values()
        for key, value in service.get("environment", {}).items()
        if re.search("PASSWORD|TOKEN|SECRET", key)
    ]
    # Files of the volumes, and what a bucket without credentials is called with.
    assert set(values) == {"/keys/password", "/keys/ray_token", "lab"}


def test_nodes_have_the_credentials_of_the_bucket_and_the_token_of_the_cluster() -> None:
    for name in ("head", "worker", "lab"):
        environment = SERVICES[name]["environment"]
        assert environment["AWS_ENDPOINT_URL"] == "http://bucket:5000" and environment["RAY_AUTH_MODE"] == "token"
        assert SERVICES[name]["volumes"] == ["ray-keys:/keys:ro"]


def test_the_sweep_of_the_docs_resolves() -> None:
    text = (ROOT / "docs" / "clusters.md").read_text()
    (line,) = re.findall(r"docker compose exec lab (python (?:.|\\\n)*?[^\\])\n", text)
    lab = composed(words_after_entry(line.replace("\\\n", " ")))
    assert lab.output == "s3://fcos-lab/outputs" and lab.tracking.uri == "http://mlflow:5000"
    assert (lab.cluster.address, lab.cluster.device, lab.cluster.cpus_per_worker) == ("auto", "cpu", 1)
