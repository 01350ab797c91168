"""What a training's processes are given, as plain values that travel to them."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from orchestration.cluster.resources import Demand
from orchestration.experiment.provenance import Provenance
from orchestration.leases.lease import Lease
from orchestration.trial.fence import Attempt

if TYPE_CHECKING:
    from ray.tune.experiment import Trial as TuneTrial

    from fcos.config.run import Config

# The one key of Tune's own config of a trial.
TASK = "task"
# Norms whose statistics are those of a micro-batch.
BATCH_NORMS = ("bn", "bn_per_level", "sync_bn")


@dataclass(frozen=True)
class MicroBatching:
    """How the batch of a training is split, and whether it may be split further where memory is short."""

    batch_size: int
    # Micro-batches of a step.
    accumulate: int
    trains: bool
    # An assignment by the outputs needs a step's images together.
    divisible: bool
    # Batch norm gathers statistics over the images of a micro-batch, so that its size decides the result.
    decides: bool

    @classmethod
    def of(cls, config: "Config") -> "MicroBatching":
        """Return the micro-batching of a config."""
        model, trains = config.model, config.task == "train"
        return cls(
            batch_size=config.schedule.batch_size,
            accumulate=config.schedule.accumulate,
            trains=trains,
            divisible=trains and not model.assignment.by_outputs,
            decides=bool({model.backbone.norm, model.fpn.norm, model.head.norm} & set(BATCH_NORMS)),
        )


@dataclass(frozen=True)
class BucketTask:
    """Where a training's folder goes in a bucket, and the command that may write there."""

    # Address of the output, and the names of the sweep's folder and of the training's in it.
    output: str
    name: str
    below: str
    # Of the command's lock; see orchestration/bucket/generations.py.
    generation: int
    # Whether the machines of a cluster that was joined see nothing in common but the bucket.
    is_joined: bool = False


@dataclass(frozen=True)
class Task:
    """One training of a plan."""

    # Position among the plan's trainings.
    index: int
    identity: str
    # The training's own folder, the same on every machine; with a bucket that of this machine.
    folder: str
    # Where Ray keeps its own records.
    ray_folder: str
    # Config and evaluation settings by arm as plain values: they are unpickled before the code that would parse them
    # is compared with the plan's.
    config: Mapping[str, Any]
    arms: Mapping[str, Mapping[str, Any]]
    # The code, versions and data that the identity stands for; compared with those where it trains.
    provenance: Provenance
    data_digest: str
    demand: Demand
    micro_batching: MicroBatching
    # Whether a TorchTrainer runs the loop.
    on_workers: bool
    # Id of this command: failures are counted by it.
    command_id: str
    max_failures: int
    # Ended after so long without a heartbeat; None sets no limit.
    stall_seconds: float | None
    # schedule.best_metric of a search, which looks for another; None leaves the configured one.
    best_metric: str | None = None
    # Steps after which a checkpoint is kept, from which other trainings go on.
    forks: tuple[int, ...] = ()
    # Seconds between two points of system metrics; None records none.
    system_metrics_seconds: float | None = None
    # The right to train where other commands may train the same; None where none is needed.
    lease: Lease | None = None
    # Set where an attempt begins.
    attempt: Attempt | None = None
    # Moving averages of the weights that are evaluated.
    averages: frozenset[float] = frozenset()
    # None where the output is a folder.
    bucket: BucketTask | None = None

    @property
    def is_spread(self) -> bool:
        """Whether its workers and its trial run on machines that share a bucket and no folder."""
        return self.on_workers and self.bucket is not None and self.bucket.is_joined


def task_of(trial: "TuneTrial | SimpleNamespace") -> Task:
    """Return what the processes of a Tune trial are given."""
    task: Task = trial.config[TASK]
    return task
