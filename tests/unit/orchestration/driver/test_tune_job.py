"""What the processes of a training are given by the command that runs it."""

from dataclasses import replace
from pathlib import Path

from fcos.storage.run_folder import STOP
from orchestration.bucket.output import BucketOutput
from orchestration.cluster.resources import Demand
from orchestration.driver.tune_run import TuneJob
from orchestration.planning.make_plan import make_plan
from orchestration.trial.files import begin_training, request_stop
from tests.helpers.bucket_runs import memory_bucket
from tests.helpers.experiments.composed import composed_into


def test_a_training_elsewhere_is_not_stopped_by_a_request_to_an_earlier_command(tmp_path: Path) -> None:
    words = ("+experiment=ablation_centerness", "experiment.seeds=[0]", "cluster.address=auto", "cluster.workers=2")
    lab = composed_into(tmp_path / "outputs", *words)
    plan = make_plan(lab, lambda config: ("d", ()))
    output = BucketOutput(memory_bucket(), tmp_path / "outputs")
    job = TuneJob(lab, plan, Demand(workers=2, cpus=1, gpus=0, device="cpu"), 1, True, [0], 0, bucket=output)
    folder = plan.folder_of(plan.trials[0])
    begin_training(folder)
    request_stop(folder)
    task = job.task("one", 0)
    assert task.is_spread
    assert task.bucket is not None and task.bucket.below == f"trials/{folder.name}"
    output.push_stops(plan.name, [folder])
    assert output.training(folder).read_if_there(STOP) is None
    # Here it is the training itself that clears it.
    request_stop(folder)
    assert not replace(job, lab=composed_into(tmp_path / "outputs", *words[:2])).task("one", 0).is_spread
    assert (folder / STOP).exists()
