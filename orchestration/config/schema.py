"""Schema of the config: LabConfig and its sections."""

import re
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from fcos.config.base import Section
from fcos.config.paths import AbsolutePath
from fcos.config.run import Config
from fcos.config.seeds import SeedsConfig
from fcos.errors import ConfigError
from fcos.formats.structures import FormatName
from fcos.storage.bucket.address import Address, is_address, mirror_of
from orchestration.config.experiment import NAME, NAME_RULE, ExperimentConfig
from orchestration.config.search import StrategyConfig
from orchestration.tracking.addresses import absolute_uri

# Seeds that confirm the winner of a search over several seeds: the fewest with which the exact test can decide.
CONFIRM_SEEDS = 6
ENVIRONMENT_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class ClusterConfig(Section):
    """Where trainings run, with what, and what happens when processes or machines are lost."""

    # local starts Ray on this machine; auto and host:port join a running cluster.
    address: str = "local"
    # Join a cluster that requires no token although it is reachable from other machines.
    allow_unauthenticated: bool = False
    # Worker processes of one training.
    workers: int = Field(default=1, ge=1)
    # Least number of workers that a training continues with after nodes are lost; null waits for all of them.
    min_workers: int | None = Field(default=None, ge=1)
    # CPUs that Ray reserves for each worker, and threads that it computes with.
    cpus_per_worker: int = Field(default=1, ge=1)
    # GPUs that Ray reserves for each worker; a fraction lets several trainings of one worker share one.
    gpus_per_worker: float = Field(default=0, ge=0)
    # auto is the GPU where gpus_per_worker is above 0 and one is available.
    device: Literal["cpu", "cuda", "auto"] = "cpu"
    # Maximum number of concurrent trainings; null is as many as fit.
    concurrent: int | None = Field(default=None, ge=1)
    # auto runs a training of one worker in the trial's process; always uses Ray Train for it too.
    ray_train: Literal["auto", "always"] = "auto"
    # How often a training whose process died is resumed from its checkpoint.
    max_failures: int = Field(default=1, ge=0)
    # A training without progress for this long is killed and resumed; null never does so. Compiling, the COCO
    # evaluation of a large set and reading one batch must each take less.
    stall_minutes: float | None = Field(default=30, ge=0.1)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.address.startswith("ray://"):
            raise ValueError(
                f"address={self.address}: a sweep cannot be driven through Ray Client; run it on a node of "
                "the cluster with address=auto, or submit it with `ray job submit`"
            )
        if self.min_workers is not None and self.min_workers > self.workers:
            raise ValueError(f"min_workers={self.min_workers}: must not be above workers={self.workers}")
        if self.workers > 1 and 0 < self.gpus_per_worker < 1:
            raise ValueError(
                f"gpus_per_worker={self.gpus_per_worker:g} with workers={self.workers}: NCCL does not let two workers "
                "of one training share a GPU; give each a whole one, or pack trainings of one worker"
            )
        if self.device == "cuda" and self.gpus_per_worker == 0:
            raise ValueError("device=cuda needs gpus_per_worker above 0; choose cluster=one_gpu or give both")
        if self.device == "cpu" and self.gpus_per_worker > 0:
            raise ValueError(f"gpus_per_worker={self.gpus_per_worker:g} would stand idle with device=cpu")
        return self

    @property
    def stall_seconds(self) -> float | None:
        return None if self.stall_minutes is None else 60 * self.stall_minutes


class TrackingConfig(Section):
    """The MLflow store that runs are recorded in."""

    # Address of the MLflow tracking store; null is an SQLite file in `output`.
    uri: str | None = None
    # The MLflow experiment of all sweeps.
    experiment: str = Field(default="fcos-lab", min_length=1)
    # Start only if the store accepts runs and artifacts; otherwise what it does not accept is buffered and retried.
    required: bool = False
    # Record processors, memory, disk, network and GPUs of the machines of a training as metrics `system/...`.
    system_metrics: bool = True
    # Seconds that a point is the mean of, in the first hours; a training that takes no longer has none.
    system_metrics_seconds: float = Field(default=60, ge=1)
    # Name in the model registry under which the best finished training is registered at the end; null registers none.
    register_as: str | None = None

    @property
    def sampling_seconds(self) -> float | None:
        """Seconds between two points of system metrics; None where none are recorded."""
        return self.system_metrics_seconds if self.system_metrics else None

    @model_validator(mode="after")
    def _check_name(self) -> Self:
        if self.register_as is not None and not NAME.fullmatch(self.register_as):
            raise ValueError(f"register_as={self.register_as!r}: {NAME_RULE}")
        return self

    @model_validator(mode="before")
    @classmethod
    def _make_absolute(cls, values: Any) -> Any:
        """Make the path of an SQLite address absolute."""
        if not (isinstance(values, dict) and isinstance(values.get("uri"), str)):
            return values
        try:
            return {**values, "uri": absolute_uri(values["uri"])}
        except ConfigError as error:
            raise ValueError(str(error).removeprefix("tracking.")) from None


class BudgetConfig(Section):
    """Limits of a sweep over all its commands; beyond them trainings stop at a checkpoint and none starts."""

    # Hours times workers times their GPUs; null is no limit.
    gpu_hours: float | None = Field(default=None, gt=0)
    # Hours times workers times their CPUs; null is no limit.
    cpu_hours: float | None = Field(default=None, gt=0)
    # Hours in which at least one training ran.
    wall_hours: float | None = Field(default=None, gt=0)


class KeepConfig(Section):
    """Checkpoints that are retained after the end of a sweep."""

    # Number of trainings whose checkpoints are kept, the best by the search's metric or the experiment's first
    # metric; null keeps all.
    trained: int | None = Field(default=None, ge=1)


class NotifyConfig(Section):
    """Messages about a command, sent with apprise (the extra `notify`): webhooks, mail, chats."""

    # Name of the environment variable that holds the addresses, which are secrets; null sends no message.
    urls_from: str | None = None
    # end: of the command, but where it is interrupted. failure: the first training of a command that fails for good.
    events: tuple[Literal["end", "failure"], ...] = Field(default=("end", "failure"), min_length=1)
    # How long sending a message may take; the command waits no longer for it at its end.
    timeout_seconds: float = Field(default=10, ge=1, le=300)

    @model_validator(mode="after")
    def _check(self) -> Self:
        # Its value is not in the message: it may be an address.
        if self.urls_from is not None and not ENVIRONMENT_VARIABLE.fullmatch(self.urls_from):
            raise ValueError(
                "urls_from: must be the name of an environment variable that holds the addresses, such as "
                "FCOS_NOTIFY_URLS; addresses are secrets, and config is recorded"
            )
        return self


class AutoConfig(Section):
    """Settings of data=auto about a folder, which it would otherwise find out; without effect on other data."""

    # Where a folder holds several formats.
    format: FormatName | None = None
    # Share of the images that validates, where the folder names no images for it; null is a fifth.
    val_fraction: float | None = Field(default=None, gt=0, lt=1)
    # Seed by which these are drawn, the same for all seeds of a sweep.
    split_seed: int = Field(default=0, ge=0)
    # Bound of the time that steps are chosen for on a processor, as a constant estimates it.
    minutes: float = Field(default=8, gt=0)


class LabConfig(Config):
    """The whole config of a command."""

    # Name of the folder of the sweep or run below `output`, and of its run in MLflow.
    name: str | None = None
    # A folder, or the address of one in a bucket: s3://bucket/folder, gs://bucket/folder.
    output: str = "outputs"
    # Show the plan and exit.
    dry_run: bool = False
    # With dry_run: time a few steps where no finished run provides a cost estimate.
    probe: bool = False
    # Show why each training runs or does not, and exit.
    explain: bool = False
    # Reuse finished trainings of the same identity from other sweeps in the store.
    reuse: bool = True
    # With reuse=false: why trainings that are finished in the store are trained again; their runs and reports show it.
    retrain_reason: str | None = Field(default=None, min_length=1, max_length=500)
    # Train first steps that several trainings have in common once; false trains each from its own start.
    share_prefixes: bool = True
    # Folder of a checkpoint, or of its run, to go on from although the schedule of the learning rate is another one.
    extend: AbsolutePath | None = None
    # Write the report at the end of a sweep; analysis/report.py writes it at any time.
    report: bool = True
    experiment: ExperimentConfig | None = None
    # Strategy of an experiment's search.
    search: StrategyConfig = StrategyConfig()
    # Settings of data=auto; it is resolved to data=coco before the config is validated.
    auto: AutoConfig = AutoConfig()
    cluster: ClusterConfig = ClusterConfig()
    tracking: TrackingConfig = TrackingConfig()
    budget: BudgetConfig = BudgetConfig()
    keep: KeepConfig = KeepConfig()
    notify: NotifyConfig = NotifyConfig()

    @model_validator(mode="after")
    def _check_experiment(self) -> Self:
        if self.name is not None and not NAME.fullmatch(self.name):
            raise ValueError(f"name={self.name!r}: {NAME_RULE}")
        if self.retrain_reason is not None and self.reuse:
            raise ValueError(f"retrain_reason={self.retrain_reason!r}: has no effect without reuse=false; leave it out")
        if self.experiment is not None and self.seed != LabConfig.model_fields["seed"].default:
            raise ValueError(
                f"seed={self.seed}: an experiment has seeds of its own; give experiment.seeds=[{self.seed}]"
            )
        if self.experiment is not None and self.experiment.kind == "noise_floor" and self.seeds != SeedsConfig():
            raise ValueError(
                "seeds: the arms of an experiment of kind=noise_floor set them; give them there, or leave them out"
            )
        if self.task == "coverage" and self.tracking.register_as is not None:
            name = self.tracking.register_as
            raise ValueError(f"tracking.register_as={name}: has no effect with task=coverage, which trains nothing")
        if self.task == "coverage" and self.experiment is not None and self.experiment.until == "decided":
            raise ValueError("experiment.until=decided: has no effect with task=coverage, which is without chance")
        if self.experiment is not None and self.experiment.factors and self.task != "train":
            raise ValueError(
                f"experiment.factors: task={self.task} has no seeds over which effects could be tested; give arms"
            )
        if self.extend is not None and (self._searches or self.task == "coverage"):
            given = "task=coverage" if self.task == "coverage" else "experiment.search"
            raise ValueError(f"extend={self.extend}: has no effect with {given}; leave it out")
        return self

    @model_validator(mode="after")
    def _check_search(self) -> Self:
        if not self._searches and self.search.early_stopping != "none":
            raise ValueError(
                f"search.early_stopping={self.search.early_stopping}: is for experiments with a search; arms are "
                "trained to their last step, because stopping by the metric would bias their comparison"
            )
        if not self._searches and self.search.warm_start:
            raise ValueError("search.warm_start=true: has no effect without experiment.search")
        if not self._searches and self.search.searcher != StrategyConfig().searcher:
            raise ValueError(f"search.searcher={self.search.searcher}: has no effect without experiment.search")
        return self

    @model_validator(mode="after")
    def _check_confirm_seeds(self) -> Self:
        if not self._searches and self.search.confirm_seeds is not None:
            raise ValueError(
                f"search.confirm_seeds={self.search.confirm_seeds}: has no effect without experiment.search"
            )
        if self.confirm_seeds and self.experiment and self.experiment.search and self.experiment.search.objectives:
            raise ValueError(
                f"search.confirm_seeds={self.search.confirm_seeds}: a search with objectives ends in a front, and "
                "in no single winner; leave it out, and compare the points of your choice as arms"
            )
        if both := sorted(set(self.confirm_seeds) & set(self.experiment.seeds if self.experiment else ())):
            raise ValueError(
                f"search.confirm_seeds={list(self.confirm_seeds)}: {both} are among experiment.seeds, by which the "
                "winner is chosen; confirm it with seeds that the search does not see, or give their number"
            )
        if self.experiment and self._searches and self.experiment.sets_margin and not self.confirm_seeds:
            given = f"experiment.margin={self.experiment.margin:g}"
            raise ValueError(
                f"{given}: has no effect with a search whose winner no seeds confirm; leave it out, or give "
                "search.confirm_seeds"
            )
        return self

    @model_validator(mode="after")
    def _check_baseline(self) -> Self:
        if self._searches or self.task != "train" or self.experiment is None or self.experiment.baseline is not None:
            return self
        raise ValueError(f"experiment.baseline: a value is needed; the arms are {', '.join(self.experiment.arms)}")

    @property
    def _searches(self) -> bool:
        return self.experiment is not None and self.experiment.search is not None

    @property
    def confirm_seeds(self) -> tuple[int, ...]:
        """The seeds that confirm the winner of a search: those given, or so many after the seeds of the search."""
        if self.experiment is None or self.experiment.search is None:
            return ()
        given, seeds = self.search.confirm_seeds, self.experiment.seeds
        if isinstance(given, tuple):
            return given
        several = len(seeds) > 1 and not self.experiment.search.objectives
        count = given if given is not None else CONFIRM_SEEDS if several else 0
        return tuple(range(max(seeds) + 1, max(seeds) + 1 + count))

    @property
    def training(self) -> Config:
        """The part of the config that decides a run's result."""
        return Config(**{key: getattr(self, key) for key in Config.model_fields})

    @model_validator(mode="after")
    def _check_output(self) -> Self:
        if not is_address(self.output):
            return self
        try:
            Address.parse(self.output)
        except ConfigError as error:
            raise ValueError(f"output={error}") from None
        return self

    @property
    def is_in_bucket(self) -> bool:
        """Whether the output goes to a bucket; `folder` then is the local folder that stands for it."""
        return is_address(self.output)

    @property
    def folder(self) -> Path:
        if self.is_in_bucket:
            return mirror_of(Address.parse(self.output))
        return Path(self.output).expanduser().resolve()
