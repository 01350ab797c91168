"""Schema of the config: LabConfig and its sections."""

import re
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from fcos.config.base import Section
from fcos.config.parse import flatten
from fcos.config.paths import AbsolutePath
from fcos.config.run import Config
from fcos.config.seeds import SeedsConfig
from fcos.errors import ConfigError
from fcos.formats.structures import FormatName
from fcos.statistics.factorial import FactorialDesign
from fcos.storage.store_conventions import MetricPrefix
from orchestration.config.factorial import plan_design
from orchestration.config.search import SearchConfig, StrategyConfig
from orchestration.tracking.addresses import absolute_uri

# Valid as a folder name, as a tag and in a command line.
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}")
NAME_RULE = "must be 1 to 64 of the characters A-Z a-z 0-9 _ - . and not begin with a dot or a dash"
# Seeds that confirm the winner of a search over several seeds: the fewest with which the exact test can decide.
CONFIRM_SEEDS = 6


class ExperimentConfig(Section):
    """A baseline, arms that each change a few keys, and the seeds that all arms share; or factors; or a search."""

    name: str
    claim: str = ""
    # Arm that the others are compared with, seed by seed; coverage is deterministic and needs none.
    baseline: str | None = None
    # Arm -> the dotted keys that it changes; the option of a preset group is replaced by the keys of its file.
    arms: dict[str, dict[str, Any]] = Field(default_factory=dict)
    # Whether every arm includes the changes of those above it.
    cumulative: bool = False
    # Instead of arms: factor -> level -> the dotted keys that it sets. The arms are the cells of the design, the
    # baseline is that of all first levels.
    factors: dict[str, dict[str, dict[str, Any]]] = Field(default_factory=dict)
    # Generators of a fraction of the cells, such as quality=norm*loss; a number p is a fraction of 2^-p.
    fraction: tuple[str, ...] = ()
    # Effects that the claim is about, such as norm or norm*loss: they alone are tested, and none may be aliased with
    # another one or a main effect. Empty for all main effects and interactions of two factors.
    claimed_effects: tuple[str, ...] = ()
    # Instead of arms: a search space; its strategy is the config group `search`.
    search: SearchConfig | None = None
    # Seeds that every arm is trained with; with until=decided those of the first round; in a search those that a point
    # may get.
    seeds: tuple[int, ...] = Field(min_length=1)
    # seeds: no more than these. decided: one more seed at a time, in which arms that are decided are left out, until
    # every arm is decided on the first metric or has most_seeds.
    until: Literal["seeds", "decided"] = "seeds"
    most_seeds: int = Field(default=12, ge=1, le=100)
    metrics: tuple[str, ...] = Field(default=("val/AP",), min_length=1)
    # Largest difference of the first metric that does not matter, in percent points of AP.
    margin: float = 1.0
    # Arm -> corresponding rows of the papers' tables.
    paper: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    # noise_floor: arms are the baseline itself, each with other seeds fixed, and the report splits the noise by them.
    kind: Literal["comparison", "noise_floor"] = "comparison"
    # Difference in the first metric that the claim is about, in percent points: dry_run=true shows how many seeds
    # would find it.
    effect: float | None = Field(default=None, gt=0, lt=100)

    @model_validator(mode="after")
    def _check_factors(self) -> Self:
        for factor, levels in self.factors.items():
            for name in (factor, *levels):
                if not NAME.fullmatch(name):
                    raise ValueError(f"factors.{factor}: the name {name!r} {NAME_RULE}")
        if self.design is None and (self.fraction or self.claimed_effects):
            raise ValueError("fraction, claimed_effects: have no effect without experiment.factors; leave them out")
        if self.design is not None and tuple(self.arms) != self.design.arms:
            raise ValueError("arms, factors: the arms are the cells of the factors; give exactly one of them")
        return self

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not NAME.fullmatch(self.name):
            raise ValueError(f"name={self.name!r}: {NAME_RULE}")
        for arm in () if self.factors else self.arms:
            if not NAME.fullmatch(arm):
                raise ValueError(f"arms: the arm {arm!r} {NAME_RULE}")
        if (self.search is None) == (not self.arms):
            given = "neither is given" if self.search is None else "both are given"
            raise ValueError(f"arms, factors, search: give exactly one of them; {given}")
        if self.search is not None and (self.baseline is not None or self.paper):
            raise ValueError("baseline, paper: have no meaning for a search, whose trainings have no names yet")
        if self.baseline is not None and self.baseline not in self.arms:
            raise ValueError(f"baseline={self.baseline}: is not an arm; the arms are {', '.join(self.arms)}")
        if len(set(self.seeds)) != len(self.seeds) or min(self.seeds) < 0:
            raise ValueError(f"seeds={list(self.seeds)}: must be different and not negative")
        if len(set(self.metrics)) < len(self.metrics):
            raise ValueError(f"metrics={list(self.metrics)}: each may be named once")
        if not 0 < self.margin < 100:
            raise ValueError(
                f"margin={self.margin:g}: must be above 0 and below 100, in percent points of AP: 1.0 is an AP of 0.01"
            )
        if unknown := sorted(set(self.paper) - set(self.arms)):
            raise ValueError(f"paper: {', '.join(unknown)}: no such arm; the arms are {', '.join(self.arms)}")
        return self

    @model_validator(mode="after")
    def _check_decision(self) -> Self:
        """Check what only a comparison with a baseline has: its margin, effect, and seeds until it is decided."""
        if self.baseline is None:
            kind = "a search" if self.search is not None else "an experiment without a baseline"
        else:
            kind = "kind=noise_floor" if self.kind == "noise_floor" else ""
        if self.until == "decided":
            if kind:
                raise ValueError(f"until=decided: compares arms with experiment.baseline seed by seed, not {kind}")
            if self.most_seeds < len(self.seeds):
                raise ValueError(f"most_seeds={self.most_seeds}: must not be below the {len(self.seeds)} seeds given")
        elif self._is_set("most_seeds"):
            raise ValueError(f"most_seeds={self.most_seeds}: has no effect without until=decided; leave it out")
        if kind and self._is_set("effect"):
            raise ValueError(f"effect={self.effect:g}: has no effect with {kind}; leave it out")
        if not kind and not self.metrics[0].startswith(MetricPrefix.VAL):
            kind = f"metrics={list(self.metrics)}, whose first is no AP"
        if kind and self._is_set("margin"):
            raise ValueError(f"margin={self.margin:g}: has no effect with {kind}; leave it out")
        return self

    def _is_set(self, key: str) -> bool:
        return bool(getattr(self, key) != ExperimentConfig.model_fields[key].default)

    @model_validator(mode="after")
    def _check_noise_floor(self) -> Self:
        if self.kind != "noise_floor":
            return self
        if self.search is not None:
            raise ValueError("kind=noise_floor: has arms that differ in seeds; leave the search out")
        changes = {arm: flatten(keys) for arm, keys in self.arms.items()}
        other = next(
            ((arm, key) for arm, keys in changes.items() for key in keys if not key.startswith("seeds.")), None
        )
        if other is not None:
            arm, key = other
            raise ValueError(
                f"arms.{arm}: {key}: with kind=noise_floor all arms train the same, with other seeds; set it for the "
                f"whole sweep ({key}=...), or leave kind out"
            )
        fixed = (
            [] if self.baseline is None else [key for key, seed in changes[self.baseline].items() if seed is not None]
        )
        if fixed:
            raise ValueError(
                f"arms.{self.baseline}: {', '.join(fixed)}: is the baseline of kind=noise_floor, in which every seed "
                "varies; set it to null"
            )
        return self

    @property
    def design(self) -> FactorialDesign | None:
        """The design of the factors, None where the arms are given by name."""
        return plan_design(self.factors, self.fraction, self.claimed_effects) if self.factors else None

    @property
    def all_seeds(self) -> tuple[int, ...]:
        """The seeds that are trained, with until=decided also those that may be: the numbers after the first ones."""
        more = self.most_seeds - len(self.seeds) if self.until == "decided" else 0
        return (*self.seeds, *range(max(self.seeds) + 1, max(self.seeds) + 1 + more))


class ClusterConfig(Section):
    # local starts Ray on this machine; auto and host:port join a running cluster.
    address: str = "local"
    # Join a cluster that requires no token although it is reachable from other machines.
    allow_unauthenticated: bool = False
    # Worker processes of one training.
    workers: int = Field(default=1, ge=1)
    # Least number of workers that a training continues with after nodes are lost; null waits for all of them.
    min_workers: int | None = Field(default=None, ge=1)
    cpus_per_worker: int = Field(default=1, ge=1)
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
    # Address of the MLflow tracking store; null is an SQLite file in `output`.
    uri: str | None = None
    # The MLflow experiment of all sweeps.
    experiment: str = Field(default="fcos-lab", min_length=1)
    # Start only if the store accepts runs and artifacts; otherwise what it does not accept is buffered and retried.
    required: bool = False

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

    # Hours times workers times their CPUs or GPUs; null is no limit.
    gpu_hours: float | None = Field(default=None, gt=0)
    cpu_hours: float | None = Field(default=None, gt=0)
    # Hours in which at least one training ran.
    wall_hours: float | None = Field(default=None, gt=0)


class KeepConfig(Section):
    """Checkpoints that are retained after the end of a sweep."""

    # Number of trainings whose checkpoints are kept, the best by the search's metric or the experiment's first
    # metric; null keeps all.
    trained: int | None = Field(default=None, ge=1)


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
    output: str = "outputs"
    # Show the plan and exit.
    dry_run: bool = False
    # With dry_run: time a few steps where no finished run provides a cost estimate.
    probe: bool = False
    # Show why each training runs or does not, and exit.
    explain: bool = False
    # Reuse finished trainings of the same identity from other sweeps in the store.
    reuse: bool = True
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

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.name is not None and not NAME.fullmatch(self.name):
            raise ValueError(f"name={self.name!r}: {NAME_RULE}")
        if self.experiment is not None and self.seed != LabConfig.model_fields["seed"].default:
            raise ValueError(
                f"seed={self.seed}: an experiment has seeds of its own; give experiment.seeds=[{self.seed}]"
            )
        if self.experiment is not None and self.experiment.kind == "noise_floor" and self.seeds != SeedsConfig():
            raise ValueError(
                "seeds: the arms of an experiment of kind=noise_floor set them; give them there, or leave them out"
            )
        if self.task == "coverage" and self.experiment is not None and self.experiment.until == "decided":
            raise ValueError("experiment.until=decided: has no effect with task=coverage, which is without chance")
        if self.experiment is not None and self.experiment.factors and self.task != "train":
            raise ValueError(
                f"experiment.factors: task={self.task} has no seeds over which effects could be tested; give arms"
            )
        searches = self.experiment is not None and self.experiment.search is not None
        if self.extend is not None and (searches or self.task == "coverage"):
            given = "task=coverage" if self.task == "coverage" else "experiment.search"
            raise ValueError(f"extend={self.extend}: has no effect with {given}; leave it out")
        if not searches and self.search.early_stopping != "none":
            raise ValueError(
                f"search.early_stopping={self.search.early_stopping}: is for experiments with a search; arms are "
                "trained to their last step, because stopping by the metric would bias their comparison"
            )
        if not searches and self.search.confirm_seeds is not None:
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
        if not searches and self.search.warm_start:
            raise ValueError("search.warm_start=true: has no effect without experiment.search")
        if not searches and self.search.searcher != StrategyConfig().searcher:
            raise ValueError(f"search.searcher={self.search.searcher}: has no effect without experiment.search")
        if searches:
            return self
        if self.task == "train" and self.experiment is not None and self.experiment.baseline is None:
            raise ValueError(f"experiment.baseline: a value is needed; the arms are {', '.join(self.experiment.arms)}")
        return self

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

    @property
    def folder(self) -> Path:
        return Path(self.output).expanduser().resolve()
