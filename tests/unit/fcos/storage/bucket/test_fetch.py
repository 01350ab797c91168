"""Runs that are fetched: what is damaged or gone is passed over with a note, and what is newer here stays."""

import json
from pathlib import Path
from typing import Any

import pytest
from fsspec.implementations.memory import MemoryFileSystem

from fcos.storage.bucket.fetch import IN_BUCKET, fetch_newest, fetch_results, pull_run
from fcos.storage.bucket.manifest import OBJECTS
from fcos.storage.bucket.objects import Objects
from fcos.storage.bucket.upload import RunUpload
from fcos.storage.checkpoint_folder import newest_step, steps_in
from fcos.storage.run_folder import CHECKPOINTS, NOTES, POINTS, SUMMARY, TRAINING_ID
from tests.helpers.bucket_runs import EVALUATION, add_points, begin_run, finish_run, memory_bucket, write_checkpoint

NEWEST = f"{CHECKPOINTS}/step_00000008"


@pytest.fixture
def run(tmp_path: Path) -> Objects:
    """The objects of a run with two checkpoints and a result."""
    objects, here = memory_bucket(), begin_run(tmp_path / "here", 4, 8)
    finish_run(here, 8)
    RunUpload(here, objects).sync()
    return objects


def damage(run: Objects, name: str, way: str) -> None:
    match way:
        case "removed":
            run.remove([name])
        case "cut":
            run.write(name, run.read(name)[:-1])
        case "changed":
            data = bytearray(run.read(name))
            data[-1] ^= 1
            run.write(name, bytes(data))


@pytest.mark.parametrize("way", ["removed", "cut", "changed"])
@pytest.mark.parametrize("name", ["state.pt", "model.safetensors", "config.json", "manifest.json", OBJECTS])
def test_the_checkpoint_before_is_taken_where_an_object_of_the_newest_is_not_whole(
    run: Objects, tmp_path: Path, name: str, way: str
) -> None:
    damage(run, f"{NEWEST}/{name}", way)
    there = tmp_path / "there"
    pull_run(run, there)
    (note,) = fetch_newest(run, there)
    assert NEWEST in note and "an older one is taken" in note
    assert newest_step(there / CHECKPOINTS) == 4
    assert list((there / CHECKPOINTS).glob(".partial*")) == []


def test_without_a_whole_checkpoint_the_run_begins_at_its_start(run: Objects, tmp_path: Path) -> None:
    for step in (4, 8):
        damage(run, f"{CHECKPOINTS}/step_{step:08d}/state.pt", "removed")
    assert len(fetch_newest(run, tmp_path / "there")) == 2
    assert steps_in(tmp_path / "there" / CHECKPOINTS) == frozenset()


@pytest.mark.parametrize("way", ["removed", "cut"])
@pytest.mark.parametrize("name", [EVALUATION, SUMMARY])
def test_a_result_of_which_an_object_is_gone_does_not_count(run: Objects, tmp_path: Path, name: str, way: str) -> None:
    damage(run, name, way)
    (note,) = pull_run(run, tmp_path / "there").notes
    assert name in note and "goes on from its last checkpoint" in note
    assert not (tmp_path / "there" / SUMMARY).exists()
    assert fetch_newest(run, tmp_path / "there") == []
    assert newest_step(tmp_path / "there" / CHECKPOINTS) == 8


def test_a_result_that_was_changed_is_found_when_it_is_fetched(run: Objects, tmp_path: Path) -> None:
    there = tmp_path / "there"
    pull_run(run, there)
    assert (there / SUMMARY).exists() and not (there / EVALUATION).exists(), "evaluations are fetched on demand"
    damage(run, EVALUATION, "changed")
    summary = finish_run(begin_run(tmp_path / "other", 8), 8)
    (problem,) = fetch_results(run, there, summary)
    assert EVALUATION in problem
    assert not (there / EVALUATION).exists()


def test_a_finished_run_shows_that_its_checkpoints_are_in_the_bucket(run: Objects, tmp_path: Path) -> None:
    pull_run(run, tmp_path / "there")
    held = json.loads((tmp_path / "there" / CHECKPOINTS / IN_BUCKET).read_text())
    assert held == [NEWEST, f"{CHECKPOINTS}/step_00000004"]
    assert steps_in(tmp_path / "there" / CHECKPOINTS) == frozenset()


class NoListing(MemoryFileSystem):  # type: ignore[misc]  # which has no types
    """A bucket whose listings show nothing yet."""

    cachable = False

    def find(self, *_: Any, **__: Any) -> list[str]:
        return []

    def ls(self, *_: Any, **__: Any) -> list[Any]:
        raise AssertionError("nothing is listed")


def test_what_the_index_names_is_found_without_a_listing(run: Objects, tmp_path: Path) -> None:
    blind = Objects(run.address, NoListing(), patience=0.0)
    assert pull_run(blind, tmp_path / "there").notes == ()
    assert fetch_newest(blind, tmp_path / "there") == []
    assert newest_step(tmp_path / "there" / CHECKPOINTS) == 8


@pytest.mark.parametrize("way", ["removed", "cut"])
def test_without_its_index_a_run_is_found_by_listing(run: Objects, tmp_path: Path, way: str) -> None:
    damage(run, OBJECTS, way)
    there = tmp_path / "there"
    (note,) = pull_run(run, there).notes
    assert f"its {OBJECTS} is gone" in note
    assert fetch_newest(run, there) == []
    assert newest_step(there / CHECKPOINTS) == 8
    assert (there / POINTS).exists() and not (there / SUMMARY).exists()
    # The next upload makes one again.
    RunUpload(there, run).sync()
    assert pull_run(run, tmp_path / "later").notes == ()


def test_a_run_that_the_bucket_does_not_have_is_left_alone(tmp_path: Path) -> None:
    here = begin_run(tmp_path / "here", 4)
    assert pull_run(memory_bucket(), here).index.checkpoints == ()
    assert newest_step(here / CHECKPOINTS) == 4
    assert pull_run(memory_bucket(), tmp_path / "nothing").notes == ()
    assert not (tmp_path / "nothing").exists()


def test_what_this_host_alone_went_on_with_stays(run: Objects, tmp_path: Path) -> None:
    there = tmp_path / "there"
    pull_run(run, there)
    fetch_newest(run, there)
    # An attempt whose uploads did not arrive.
    add_points(there, 12)
    write_checkpoint(there, 12)
    points = (there / POINTS).read_text()
    pull_run(run, there)
    assert fetch_newest(run, there) == []
    assert (there / POINTS).read_text() == points
    assert newest_step(there / CHECKPOINTS) == 12


def test_what_another_host_went_on_with_is_taken(run: Objects, tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    for there in (one, other):
        pull_run(run, there)
        fetch_newest(run, there)
        (there / SUMMARY).unlink()
    for step in (12, 16):
        add_points(other, step)
        write_checkpoint(other, step)
    RunUpload(other, run).sync()
    add_points(one, 12)
    write_checkpoint(one, 12)
    pull_run(run, one)
    assert fetch_newest(run, one) == []
    assert newest_step(one / CHECKPOINTS) == 16
    assert (one / POINTS).read_text() == (other / POINTS).read_text()
    assert 12 not in steps_in(one / CHECKPOINTS), "its points are gone"


def test_another_training_under_the_same_name_replaces_this_one(run: Objects, tmp_path: Path) -> None:
    stale = begin_run(tmp_path / "stale", 4, 8, 12)
    pull_run(run, stale)
    assert (stale / TRAINING_ID).read_bytes() == run.read(TRAINING_ID)
    assert steps_in(stale / CHECKPOINTS) == frozenset()


def test_a_training_that_began_anew_here_and_is_not_uploaded_stays(run: Objects, tmp_path: Path) -> None:
    there = tmp_path / "there"
    pull_run(run, there)
    (there / TRAINING_ID).write_text("anew\n")
    (there / SUMMARY).unlink()
    write_checkpoint(there, 4, text="anew")
    pull_run(run, there)
    assert (there / TRAINING_ID).read_text() == "anew\n"
    assert fetch_newest(run, there) == []
    assert newest_step(there / CHECKPOINTS) == 4


def test_points_that_are_newer_than_the_index_are_taken_and_gone_on_with(run: Objects, tmp_path: Path) -> None:
    there = tmp_path / "there"
    # The process ended between the two writes.
    run.write(POINTS, run.read(POINTS) + b'[null, "train/loss", 10, 1.0]\n')
    pull_run(run, there)
    add_points(there, 12)
    before = (there / POINTS).read_text()
    assert '"train/loss", 10' in before
    pull_run(run, there)
    assert (there / POINTS).read_text() == before


@pytest.mark.parametrize("name", ["../outside", "/outside", "deep/er"])
def test_a_manifest_leads_nowhere_else(run: Objects, tmp_path: Path, name: str) -> None:
    manifest = json.loads(run.read(f"{NEWEST}/{OBJECTS}"))
    manifest["objects"][0]["name"] = name
    run.write(f"{NEWEST}/{OBJECTS}", json.dumps(manifest).encode())
    (note,) = fetch_newest(run, tmp_path / "there")
    assert "no file of a checkpoint" in note
    assert sorted(path.name for path in tmp_path.iterdir()) == ["here", "there"]


def test_notes_come_along(run: Objects, tmp_path: Path) -> None:
    there = tmp_path / "there"
    pull_run(run, there)
    assert (there / NOTES).read_text() == "a note\n"
