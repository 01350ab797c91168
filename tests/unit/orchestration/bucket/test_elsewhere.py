"""Trainings of other sweeps in a bucket: found by another host's paths, fetched, taken over or gone on from."""

from dataclasses import replace
from pathlib import Path

import pytest

from fcos.storage.bucket.upload import RunUpload
from fcos.storage.checkpoint_folder import steps_in
from fcos.storage.run_folder import CHECKPOINTS, POINTS, TRAINING_ID
from fcos.storage.store_conventions import Tag
from orchestration.bucket.output import BucketOutput
from orchestration.planning.make_plan import make_plan
from orchestration.planning.repeats.other_results import OtherResults
from orchestration.planning.reuse import find_reuse_source, take
from orchestration.tracking import history
from tests.helpers.bucket_runs import memory_bucket
from tests.helpers.experiments.composed import composed_into, plan_of
from tests.helpers.experiments.stored_runs import StoredRuns
from tests.helpers.memory_objects import MemoryObjects
from tests.helpers.other_command import OtherCommand
from tests.unit.orchestration.planning.test_reuse import finish

HERE = Path("/home/me/.cache/fcos-lab/buckets/0123456789abcdef")


@pytest.mark.parametrize(
    ("folder", "expected"),
    [
        ("/root/.cache/fcos-lab/buckets/0123456789abcdef/mine/trials/ab", f"{HERE}/mine/trials/ab"),
        # Of another bucket, or of none.
        ("/root/.cache/fcos-lab/buckets/fedcba9876543210/mine/trials/ab", None),
        ("/shared/outputs/mine/trials/ab", None),
    ],
)
def test_folders_of_another_hosts_cache_are_those_of_this_one(folder: str, expected: str | None) -> None:
    tags = {Tag.FOLDER: folder, Tag.CHECKPOINT: f"{folder}/checkpoints/step_00000004", Tag.SWEEP: "mine"}
    found = history._relocated(tags, HERE)
    assert found[Tag.FOLDER] == (expected or folder)
    assert found[Tag.CHECKPOINT] == f"{expected or folder}/checkpoints/step_00000004"
    assert found[Tag.SWEEP] == "mine"
    assert history._relocated(tags, Path("/shared/outputs")) == tags


def test_a_training_of_another_host_is_fetched_and_taken_over(tmp_path: Path) -> None:
    lab = composed_into(tmp_path / "outputs", "+experiment=ablation_centerness", "experiment.seeds=[0]")
    plan = make_plan(lab, lambda config: ("d", ()))
    trial = plan.trials[1]
    far, here = BucketOutput(memory_bucket(), tmp_path / "far"), tmp_path / "here"
    folder = Path("before", "trials", trial.short)
    run = finish(trial, far.folder / folder, "branch", "branch")
    (far.folder / folder / TRAINING_ID).write_text("one\n")
    RunUpload(far.folder / folder, far.training(far.folder / folder)).sync()
    paths = {Tag.FOLDER: str(here / folder), Tag.CHECKPOINT: str(here / folder / "checkpoints/step_00000004")}
    found = type(run)(run.run_id, {**run.tags, **paths, Tag.TRAINING_ID: "one"}, {}, {})
    missing, problem = find_reuse_source(StoredRuns(found), trial)
    assert missing is None and "is not here" in problem
    source, problem = find_reuse_source(StoredRuns(found), trial, BucketOutput(far.objects, here).fetch_training)
    assert source is not None, problem
    take(trial, source, plan.folder_of(trial))
    assert steps_in(plan.folder_of(trial) / CHECKPOINTS) == {4}
    assert plan.summary_of(trial) is not None


def test_a_training_that_another_host_has_begun_is_fetched_with_its_newest_checkpoint(tmp_path: Path) -> None:
    words = ("+experiment=ablation_centerness", "experiment.seeds=[0]")
    far, here = BucketOutput(memory_bucket(), tmp_path / "far"), tmp_path / "here"
    lab, plan = composed_into(here, *words, "name=second"), plan_of(here, *words, "name=second")
    trial = plan.trials[0]
    first = OtherCommand(MemoryObjects(), plan_of(far.folder, *words, "name=first"))
    first.claim(trial)
    for step in (4, 8):
        first.save(trial, step)
    theirs = first.plan.folder_of(trial)
    RunUpload(theirs, far.training(theirs)).sync()
    fetched = here / theirs.relative_to(far.folder)
    runs = [replace(run, tags={**run.tags, Tag.FOLDER: str(fetched)}) for run in first.runs(trial)]
    assert OtherResults(lab, plan, StoredRuns(*runs)).find_trunks(trial) == ()
    fetch = BucketOutput(far.objects, here).fetch_begun
    (trunk,) = OtherResults(lab, plan, StoredRuns(*runs), fetch_begun=fetch).find_trunks(trial)
    assert trunk.folder == fetched and steps_in(fetched / CHECKPOINTS) == {8}
    assert (fetched / POINTS).read_bytes() == (theirs / POINTS).read_bytes()
