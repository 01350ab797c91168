"""Sweeps whose data are in a bucket: the same results as from a folder, fetched once a host, and no secret anywhere."""

import json
from collections import Counter
from pathlib import Path

import pytest

from tests.helpers.data.shapes import NAMES, upload_shapes, words_of, write_shapes
from tests.helpers.experiments.sweeps import TRAIN, pair_words
from tests.helpers.processes.bucket_hosts import OUTPUT, Host, hosts, proxy, server
from tests.helpers.servers.faulty_proxy import FaultyProxy
from tests.helpers.servers.s3_server import ACCESS_KEY, BUCKET, SECRET_KEY, S3Server

__all__ = ["hosts", "proxy", "server"]

NAME, ROOT = "ablation_centerness", f"s3://{BUCKET}/data/shapes"
# Two trainings; each host has a cache of its own.
WORDS = [word for word in pair_words(12, 6, 2) if not word.startswith("data.")]

pytestmark = pytest.mark.slow(minutes=2)


def fetched(proxy: FaultyProxy, since: int = 0) -> Counter[str]:
    """How often each object of the data was fetched."""
    before = f"{BUCKET}/data/shapes/"
    seen = [name for method, name in proxy.faults.seen[since:] if method == "GET" and name.startswith(before)]
    return Counter(name.removeprefix(before) for name in seen)


def test_data_and_output_in_a_bucket_give_the_results_of_folders(
    server: S3Server, proxy: FaultyProxy, hosts: tuple[Host, Host], tmp_path: Path, monkeypatch
) -> None:
    one, two = hosts
    folder = write_shapes(tmp_path / "shapes")
    upload_shapes(server, folder, "data/shapes")
    printed = one.run(*WORDS, *words_of(ROOT), f"output={OUTPUT}")
    assert f"fetching train images from {ROOT} (24) ..." in printed
    assert fetched(proxy) == Counter(NAMES), "by the plan and two trainings, one after another or at once"
    before = len(proxy.faults.seen)
    again = two.run(*WORDS, *words_of(ROOT), f"output={OUTPUT}")
    assert two.summaries(NAME) == one.summaries(NAME)
    assert fetched(proxy, before) == Counter(NAMES)
    plain = Host(tmp_path / "plain", monkeypatch)
    plain.run(*WORDS, *words_of(folder), "report=false")
    summaries = sorted((plain.folder / "outputs" / NAME / "trials").glob("*/summary.json"))
    # The names of the folders are the identities.
    numbers = {path.parent.name: json.loads(path.read_text())["summary"]["metrics"] for path in summaries}
    found = {name: json.loads(data)["summary"]["metrics"] for name, data in one.summaries(NAME).items()}
    assert found == numbers and len(found) == 2
    for secret in (ACCESS_KEY, SECRET_KEY):
        assert secret not in printed + again
        for file in (path for host in hosts for path in host.folder.rglob("*") if path.is_file()):
            assert secret.encode() not in file.read_bytes(), file


def test_a_mistake_about_data_in_a_bucket_ends_the_command_before_anything_starts(
    server: S3Server, proxy: FaultyProxy, hosts: tuple[Host, Host], tmp_path: Path
) -> None:
    one, _ = hosts
    upload_shapes(server, write_shapes(tmp_path / "shapes"), "data/shapes")
    absent = one.run(*WORDS, *words_of("s3://absent/shapes"), code=2)
    assert "data.root=s3://absent/shapes" in absent and "no such bucket" in absent
    wrong = one.run(*WORDS, *words_of(ROOT), "data.train.annotations=trian.json", code=2)
    assert "data.train.annotations=trian.json: no such object" in wrong and "did you mean train.json" in wrong
    secret = one.run(*WORDS, *words_of(f"s3://name:hidden@{BUCKET}/data/shapes"), code=2)
    assert "neither credentials" in secret and "hidden" not in secret
    assert fetched(proxy) == Counter()
    assert not (one.folder / "outputs").exists()


def test_a_folder_that_only_a_bucket_has_is_recognised_and_planned_for(
    server: S3Server, proxy: FaultyProxy, hosts: tuple[Host, Host], tmp_path: Path
) -> None:
    one, _ = hosts
    upload_shapes(server, write_shapes(tmp_path / "shapes"), "data/shapes")
    words = ("data=auto", f"data.root={ROOT}", "model=fcos_small", "schedule.steps=300")
    printed = one.run(*words, "dry_run=true", entry=TRAIN)
    assert "auto.format=coco" in printed and f"fetching from {ROOT} (32 objects)" in printed
    assert fetched(proxy) == Counter(NAMES)
