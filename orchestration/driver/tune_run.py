"""Run all pending trials of a plan with Ray Tune."""

import secrets
import shutil
from collections.abc import Callable, Sequence
from contextlib import nullcontext, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from orchestration.bucket.output import BucketOutput, as_config_error
from orchestration.cluster.connect import head_address
from orchestration.cluster.ray_internals import inherited_environment
from orchestration.cluster.resources import Demand
from orchestration.config.schema import LabConfig
from orchestration.driver.events import Events
from orchestration.driver.searchers.training_queue import TrainingQueue
from orchestration.driver.sharing.shared_trainings import SharedTrainings
from orchestration.driver.watchdogs import watch_head
from orchestration.experiment.trials import Trial
from orchestration.leases.lease import Lease
from orchestration.planning.first_steps.planned_prefixes import Elsewhere, find_prefixes
from orchestration.planning.plan import Plan, complete_plan
from orchestration.planning.search_race import SearchRace
from orchestration.planning.seed_rounds import LaterRounds
from orchestration.search.points import best_metric
from orchestration.search.samplers import make_scheduler
from orchestration.trial.bucket_folder import mark_folder
from orchestration.trial.files import begin_training, clear_stop
from orchestration.trial.task import TASK, BucketTask, MicroBatching, Task

if TYPE_CHECKING:
    from ray import tune

    from orchestration.driver.early_stopping import StopRequestingScheduler
    from orchestration.driver.searchers.plan_searcher import PlanSearcher
    from orchestration.driver.searchers.race_searcher import RaceSearcher
    from orchestration.driver.searchers.trial_searcher import TrialSearcher

    # What chooses the trainings of a job.
    JobSearcher = PlanSearcher | RaceSearcher | TrialSearcher

# Ray's own records of a sweep; nothing is ever read back from them.
RAY_FOLDER = "ray"
# What Ray prints in this process.
RAY_LOG = "ray.log"
# The resource that only the first machine of a Ray cluster has, one of it.
HEAD = "node:__internal_head__"


@dataclass(frozen=True)
class TuneJob:
    """The part of a plan that one command runs."""

    lab: LabConfig
    plan: Plan
    # Of one training.
    resources: Demand
    max_concurrent: int
    # Whether TorchTrainers run the trainings.
    on_workers: bool
    # Indices of planned trainings that are not finished.
    pending: Sequence[int]
    # Points that are still to be sampled.
    to_sample: int
    # Rounds of seeds; None where all trainings are known.
    later: LaterRounds | None = None
    # What other sweeps have of the first steps of trainings.
    trunks: Elsewhere = field(default_factory=dict)
    # Called with the index of each training that the race of a search adds to the plan.
    add_training: Callable[[int], None] | None = None
    # Trainings that other commands have too; None where all are trained here whatever others do.
    shared: SharedTrainings | None = None
    # None where the output is a folder.
    bucket: BucketOutput | None = None

    def task(self, command_id: str, index: int, forks: tuple[int, ...] = (), lease: Lease | None = None) -> Task:
        """Return what the processes of a training are given; after the steps `forks` it keeps a checkpoint."""
        plan, cluster = self.plan, self.lab.cluster
        trial = plan.trials[index]
        return Task(
            index=index,
            identity=trial.identity,
            folder=str(plan.folder_of(trial)),
            ray_folder=str(plan.folder / RAY_FOLDER),
            config=trial.values,
            arms={arm: settings.model_dump(mode="json") for arm, settings in trial.arms.items()},
            provenance=plan.provenance,
            data_digest=trial.data_digest,
            demand=self.resources,
            micro_batching=MicroBatching.of(trial.config),
            on_workers=self.on_workers,
            command_id=command_id,
            max_failures=cluster.max_failures,
            stall_seconds=cluster.stall_seconds,
            best_metric=None if plan.search is None else best_metric(plan.search.config),
            forks=forks,
            system_metrics_seconds=self.lab.tracking.sampling_seconds,
            lease=lease,
            averages=trial.averages,
            bucket=self._bucket_of(trial),
        )

    def _bucket_of(self, trial: Trial) -> BucketTask | None:
        if self.bucket is None:
            return None
        folder = self.plan.folder_of(trial)
        if self.is_elsewhere:
            # That of an earlier command, which would be passed on to this one's.
            clear_stop(folder)
            with as_config_error(self.bucket.address):
                self.bucket.push_begun([folder])
        below = folder.relative_to(self.plan.folder).as_posix()
        return BucketTask(str(self.bucket.address), self.plan.name, below, self.bucket.generation, self.is_elsewhere)

    @property
    def is_elsewhere(self) -> bool:
        """Whether trainings may run where the sweep's folder is not."""
        return self.bucket is not None and self.lab.cluster.address != "local"

    def fetch_end(self, folder: Path) -> None:
        """Fetch what an attempt left in the bucket, where its process may have run elsewhere."""
        if self.bucket is not None and self.is_elsewhere:
            self.bucket.fetch_end(folder)


def run_tune(job: TuneJob, events: Events, on_head_lost: Callable[[str], None]) -> str | None:
    """Run the job; return why a searcher sampled fewer points than requested, None where it sampled all.

    `on_head_lost` is called from a thread where the head of a joined cluster is gone; it has to end the process.
    """
    plan = job.plan
    shutil.rmtree(plan.folder / RAY_FOLDER, ignore_errors=True)
    command_id = secrets.token_hex(8)
    if job.bucket is not None:
        mark_folder(plan.folder, command_id)
    task = partial(job.task, command_id)
    for index in job.pending:
        begin_training(plan.folder_of(plan.trials[index]))
    searcher = _searcher(job, task, events)
    tuner = _tuner(job, searcher, task, events)
    # Tune prints headers and results of its own; the console was bound to the real output before.
    with (
        (plan.folder / RAY_LOG).open("a") as log,
        redirect_stdout(log),
        redirect_stderr(log),
        watch_head(head_address(job.lab.cluster), on_head_lost),
        inherited_environment() if job.lab.cluster.address == "local" and not job.on_workers else nullcontext(),
    ):
        try:
            tuner.fit()
        finally:
            complete_plan(plan.folder)
    return None if searcher is None else searcher.exhausted


def _tuner(job: TuneJob, searcher: "JobSearcher | None", task: Callable[[int], Task], events: Events) -> "tune.Tuner":
    """Return the Tuner of a job; without a searcher the pending trainings are its grid."""
    from ray import tune

    from orchestration.driver.callback import SweepCallback
    from orchestration.trial.run import run_trial

    return tune.Tuner(
        tune.with_resources(run_trial, trial_resources(job.resources, on_workers=job.on_workers)),
        param_space={} if searcher else {TASK: tune.grid_search([task(index) for index in job.pending])},
        tune_config=tune.TuneConfig(
            search_alg=searcher,
            num_samples=_most_trainings(job) if searcher else 1,
            scheduler=_scheduler(job),
            max_concurrent_trials=job.max_concurrent,
            # A process that trains here keeps its imports for the next trial.
            reuse_actors=not job.on_workers,
            trial_dirname_creator=lambda trial: str(trial.trial_id),
        ),
        run_config=tune.RunConfig(
            name="trials",
            storage_path=str(job.plan.folder / RAY_FOLDER),
            callbacks=[SweepCallback(job.plan, events, job.fetch_end)],
            # One more for want of memory, which does not count as a failure; see trial/retries.py.
            failure_config=tune.FailureConfig(max_failures=job.lab.cluster.max_failures + 1),
            verbose=0,
        ),
    )


def _most_trainings(job: TuneJob) -> int:
    if job.shared is not None:
        # One that another command took over may come back: the searcher has the end.
        return -1
    return len(job.plan.trials) if job.later is not None else len(job.pending) + job.to_sample


def _searcher(job: TuneJob, task: Callable[..., Task], events: Events) -> "JobSearcher | None":
    """Return what chooses trainings from results, None where all are planned and none waits for anything.

    Tune notifies it of the end of a training before its callbacks: it is the one that fetches what the training left.
    """
    plan, lab = job.plan, job.lab
    race = SearchRace.of(plan)
    if race is not None and job.add_training is not None:
        from orchestration.driver.searchers.race_searcher import PointSampler, RaceSearcher

        sampler = PointSampler(plan, race.search, lab.cluster)
        return RaceSearcher(race, sampler, job.pending, task, job.add_training, job.fetch_end)
    if plan.search is not None and plan.search.samples_as_it_goes:
        from orchestration.driver.searchers.trial_searcher import SearchTrials

        assert lab.experiment is not None, "searches are experiments"
        trials = SearchTrials(plan, plan.search, lab.experiment.seeds[0], lab.cluster, task, job.fetch_end)
        return trials.searcher(job.pending)
    pending = [plan.trials[index] for index in job.pending]
    begins_at_once = job.later is None and not find_prefixes(plan, pending, job.trunks).by_identity
    if job.shared is None and begins_at_once and not job.is_elsewhere:
        return None
    from orchestration.driver.searchers.plan_searcher import PlanSearcher

    queue = TrainingQueue(plan, job.trunks, job.shared, events.publish)
    return PlanSearcher(plan, job.pending, queue, task, job.later, job.fetch_end)


def _scheduler(job: TuneJob) -> "StopRequestingScheduler | None":
    """Return what stops trainings early, None where all run to their last step."""
    plan, search = job.plan, job.plan.search
    if search is None or not search.prunes:
        return None
    from orchestration.driver.early_stopping import StopRequestingScheduler

    inner, judged = make_scheduler(search.strategy, search.config.mode, search.base.schedule.steps), search.seeds[0]
    ended = [
        plan.folder_of(trial)
        for index, trial in enumerate(plan.trials)
        if index not in job.pending and trial.seed == judged
    ]
    return StopRequestingScheduler(inner, search.config.metric, search.config.mode, ended, judged)


def trial_resources(resources: Demand, *, on_workers: bool) -> dict[str, float]:
    """Return what Tune reserves for a trial's own process."""
    if on_workers:
        # The workers hold the processors; a trial that held one too would wait for them for ever. So it takes a
        # thousandth of the head, without which no training goes on: losing another machine costs its workers alone.
        return {HEAD: 0.001}
    return {"cpu": resources.cpus, **({"gpu": resources.gpus} if resources.gpus else {})}
