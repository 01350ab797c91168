"""The whole story of one training run on one page: data, learner, steps, evaluation, checkpoints."""

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fcos.build import build_detector, build_oracle_targets, build_train_state
from fcos.config.model_parts import PostprocessConfig
from fcos.config.run import Config, ScheduleConfig
from fcos.data.loader import eval_batches, train_batches
from fcos.data.prepare import check_digest, make_dataset, prepare, splits_with_masks
from fcos.data.shared_memory import check_shared_memory
from fcos.device import to_device
from fcos.distributed import broadcast_buffers, broadcast_object, gather_objects
from fcos.evaluation.detect import Validation, validate
from fcos.evaluation.samples import draw_sample_pictures
from fcos.postprocess.decode import Postprocess
from fcos.runtime import Record, Runtime
from fcos.training import checkpoint
from fcos.training.best import Best, better, read_best, write_best
from fcos.training.elastic import History, go_on, remarks
from fcos.training.interruption import Preempted, Watch
from fcos.training.step import LossLog, TrainState, train_step

CHECKPOINTS = "checkpoints"
DETECTIONS = "detections"
# [arm, key, step, value]; arm None belongs to every arm that shares the training.
Point = list[Any]


def run(
    config: Config,
    runtime: Runtime,
    postprocess: Mapping[str, PostprocessConfig] | None = None,
    *,
    data_digest: str | None = None,
) -> dict[str, Any]:
    """Train from the newest good checkpoint in the run's folder to the last step, evaluating on the way.

    A run that is asked to stop ends at its next report, evaluated and saved; the summary's `pruned` is that step.

    `postprocess` names several inference settings that are evaluated on the same weights; without it the
    configuration's own stands alone under the empty name. `data_digest` is that of the data it was planned with (see
    `prepare`). Reports {step, total_steps, seconds, points, resumed_from}
    as it goes, and returns the summary that every worker gets alike.
    Raises ConfigError for what a user got wrong, DataChanged for other data than planned, Diverged where the loss is
    no longer finite, and Preempted where the run saved itself and left, because a machine of it will be taken away.
    """
    seed_everything(config.seed, config.schedule.deterministic)
    assignment = config.model.assignment
    settings = postprocess or {"": config.model.postprocess}
    masks = splits_with_masks(assignment, settings.values(), training=True)
    data = prepare(config.data, box_convention=assignment.corners, masks=masks, progress=lambda *_: runtime.beat())
    check_digest(config.data, data.digest, data_digest)
    detector = build_detector(config.model, len(data.classes), channels_last=config.schedule.channels_last)
    learner = build_train_state(config, detector, runtime)
    start, notes, workers = _resume(learner, runtime)
    if start < config.schedule.steps:
        workers = go_on(workers, start, runtime.world_size)
    progress = Progress(runtime, config.schedule.steps, start)
    size = max(runtime.world_size, runtime.planned_size)
    rules = {arm: Postprocess(rule, assignment.corners) for arm, rule in settings.items()}
    oracle_targets = build_oracle_targets(config.model, settings.values())
    val = make_dataset(data, "val", config.data, training=False, seed=config.seed)
    train = make_dataset(data, "train", config.data, training=True, seed=config.seed)
    images = max(1, config.schedule.batch_size // config.schedule.accumulate // size)
    check_shared_memory([train, val], config.data, images=images, divisor=config.model.size_divisor)

    def check() -> Validation:
        # Workers gather batch statistics of their own; what is evaluated is what rank 0 saves.
        broadcast_buffers(learner.evaluated)
        batches = eval_batches(
            val,
            batch_size=images,
            rank=runtime.rank,
            world_size=runtime.world_size,
            size_divisor=config.model.size_divisor,
            num_workers=config.data.num_workers,
            pin_memory=runtime.device.type == "cuda",
        )
        return validate(
            learner.evaluated,
            batches,
            data.val.annotations,
            rules,
            locate=learner.locate,
            device=runtime.device,
            precision=learner.precision,
            rank=runtime.rank,
            progress=lambda _: runtime.beat(),
            oracle_targets=oracle_targets,
        )

    save = partial(_save, config=config, runtime=runtime, classes=data.classes, learner=learner, workers=workers)
    validation = _train(config, runtime, train, learner, progress, check, save)
    best = _best(config, runtime, progress.step)
    pictures, not_drawn = draw_sample_pictures(val, validation.detections, data.classes, runtime.directory / DETECTIONS)
    final = runtime.directory / _relative(progress.step)
    summary = {
        "step": progress.step,
        "pruned": progress.step if progress.step < config.schedule.steps else None,
        "seconds": progress.seconds(),
        "metrics": validation.metrics,
        "pictures": {
            arm: [str(path.relative_to(runtime.directory)) for path in paths] for arm, paths in pictures.items()
        },
        "checkpoint": str(_relative(progress.step)),
        "checkpoint_sha256": checkpoint.digest(final) if runtime.rank == 0 else "",
        "best": None if best is None else {**asdict(best), "checkpoint": str(_relative(best.step))},
        "classes": list(data.classes),
        "notes": [*notes, *data.notes, *remarks(workers, config), *not_drawn],
        "resumed_from": start,
        "workers": workers,
    }
    return broadcast_object(summary, runtime.device)  # type: ignore[no-any-return]


def _train(
    config: Config,
    runtime: Runtime,
    dataset: Any,
    learner: TrainState,
    progress: "Progress",
    check: Callable[[], Validation],
    save: Callable[[int, Best | None], None],
) -> Validation:
    """All steps that are left, or those until the run is asked to stop; returns the validation after the last."""
    schedule = config.schedule
    batches = train_batches(
        dataset,
        batch_size=schedule.batch_size,
        accumulate=schedule.accumulate,
        rank=runtime.rank,
        world_size=runtime.world_size,
        seed=config.seed,
        start_step=progress.start,
        size_divisor=config.model.size_divisor,
        num_workers=config.data.num_workers,
        group_by_aspect=config.data.group_by_aspect,
        pin_memory=runtime.device.type == "cuda",
        planned_size=runtime.planned_size,
        fixed_canvas=schedule.compile,
    )
    log, watch = LossLog(), Watch(runtime, progress.start)
    validation, best = None, _best(config, runtime, progress.start)
    progress.restart_clock()
    for step in range(progress.start + 1, schedule.steps + 1):
        host = next(batches)
        lr = learner.optimizer.param_groups[0]["lr"]
        terms = train_step(learner, [to_device(batch, runtime.device) for batch in host])
        log.add(step, terms, tuple(name for batch in host for name in batch.names))
        progress.images += schedule.batch_size
        runtime.beat()
        evaluates, saves, reports = _due(schedule, step)
        if reports:
            progress.add_losses(step, {**log.read(), "lr": lr, **_memory(runtime.device)})
            if evaluates:
                validation = progress.evaluated(step, check())
            # In this order: what a crash in between repeats is told twice, and nothing goes untold.
            progress.report(step)
        asked = "" if step == schedule.steps else watch.ask(step, reported=reports)
        if asked == "stop" and not evaluates:
            validation = progress.evaluated(step, check())
            progress.report(step)
        if validation is not None and (evaluates or asked == "stop"):
            improved = better(schedule.best_metric, step, validation.metrics, best)
            best, saves = improved or best, saves or improved is not None
        if asked == "leave":
            # What is not finite must not become the newest checkpoint.
            log.read()
            save(step, best)
            raise Preempted(f"saved at step {step} and left a machine that will be taken away")
        if saves or asked == "stop":
            save(step, best)
        if asked == "stop":
            break
        if reports:
            progress.restart_clock()
    if validation is None:
        # The last step was already behind us: its numbers are made again from its checkpoint.
        validation = progress.evaluated(schedule.steps, check())
        progress.report(schedule.steps)
    return validation


def _due(schedule: ScheduleConfig, step: int) -> tuple[bool, bool, bool]:
    """Whether a step is followed by an evaluation, a checkpoint, a report."""
    last = step == schedule.steps
    evaluates = last or (schedule.eval_every is not None and step % schedule.eval_every == 0)
    saves = last or step % schedule.checkpoint_every == 0
    return evaluates, saves, evaluates or saves or step % schedule.log_every == 0


@dataclass
class Progress:
    """What the run has to tell since it last reported."""

    runtime: Runtime
    total_steps: int
    # Step that this attempt begins after.
    start: int
    # Step of the last report.
    step: int = 0
    began: float = field(default_factory=time.monotonic)
    points: list[Point] = field(default_factory=list)
    images: int = 0
    _since: float = field(default_factory=time.monotonic)

    def seconds(self) -> float:
        return time.monotonic() - self.began

    def add_losses(self, step: int, values: Mapping[str, float]) -> None:
        speed = self.images / max(time.monotonic() - self._since, 1e-9)
        together = {**values, "images_per_second": speed}
        self.points += [[None, f"train/{name}", step, value] for name, value in together.items()]

    def evaluated(self, step: int, validation: Validation) -> Validation:
        metrics = validation.metrics
        self.points += [[arm, key, step, value] for arm, values in metrics.items() for key, value in values.items()]
        return validation

    def report(self, step: int) -> None:
        record: Record = {
            "step": step,
            "total_steps": self.total_steps,
            "seconds": self.seconds(),
            "points": self.points,
            "resumed_from": self.start,
        }
        self.runtime.report(record)
        self.points, self.step = [], step

    def restart_clock(self) -> None:
        """Count speed from here: reading data in, evaluation and checkpoints are not training."""
        self.images, self._since = 0, time.monotonic()


def _memory(device: torch.device) -> dict[str, float]:
    """The most that tensors have taken on a GPU so far, in GiB."""
    return {"memory_gb": torch.cuda.max_memory_allocated(device) / 2**30} if device.type == "cuda" else {}


def seed_everything(seed: int, deterministic: bool) -> None:
    """Initial weights follow from the seed; the data's own draws do not use these generators."""
    torch.manual_seed(seed)
    torch.backends.cudnn.benchmark = not deterministic
    torch.use_deterministic_algorithms(deterministic, warn_only=True)
    # Otherwise every new tensor is filled before it is written.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]


def _resume(learner: TrainState, runtime: Runtime) -> tuple[int, list[str], History]:
    """Put the newest good checkpoint into the learner; returns its step (0: none), notes on damaged ones, its workers.

    Rank 0 chooses, so that workers who see the folder differently do not begin at different steps.
    """
    folder = runtime.directory / CHECKPOINTS
    found, problems = checkpoint.latest(folder) if runtime.rank == 0 else (None, [])
    step, problems = broadcast_object((0 if found is None else found.step, problems), runtime.device)
    if step == 0:
        return 0, problems, []
    found = found or checkpoint.load(checkpoint.folder_of(folder, step))
    learner.detector.load_state_dict(found.model)
    if learner.average is not None and found.ema is not None:
        learner.average.module.load_state_dict(found.ema)
        learner.average.n_averaged.fill_(step)
    learner.optimizer.load_state_dict(found.state["optimizer"])
    learner.scheduler.load_state_dict(found.state["scheduler"])
    learner.scaler.load_state_dict(found.state["scaler"])
    if learner.loss.history is not None:
        learner.loss.history.copy_(found.state["normalizer"])
    generators = found.state["generators"]
    _set_generators(generators[runtime.rank % len(generators)])
    return step, problems, found.state.get("workers", [])


def _generators() -> dict[str, Tensor]:
    """The states of torch's random generators in this process."""
    states = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        states["cuda"] = torch.cuda.get_rng_state()
    return states


def _set_generators(states: Mapping[str, Tensor]) -> None:
    torch.set_rng_state(states["cpu"])
    if "cuda" in states and torch.cuda.is_available():
        torch.cuda.set_rng_state(states["cuda"])


def _relative(step: int) -> Path:
    """Where the checkpoint of a step lies in a run's folder."""
    return checkpoint.folder_of(Path(CHECKPOINTS), step)


def _best(config: Config, runtime: Runtime, step: int) -> Best | None:
    """The best evaluation up to a step, the same on every worker."""
    folder, metric = runtime.directory / CHECKPOINTS, config.schedule.best_metric
    found = read_best(folder, metric, step) if runtime.rank == 0 else None
    return broadcast_object(found, runtime.device)  # type: ignore[no-any-return]


def _save(
    step: int,
    best: Best | None,
    *,
    config: Config,
    runtime: Runtime,
    classes: tuple[str, ...],
    learner: TrainState,
    workers: History,
) -> None:
    """Write a checkpoint from rank 0; every worker leaves only when it is whole."""
    folder = runtime.directory / CHECKPOINTS
    generators = gather_objects(_generators())
    if runtime.rank == 0:
        if best is not None:
            # First: a run that is cut off in between finds no checkpoint there, and evaluates that step again.
            write_best(folder, best)
        checkpoint.save(
            folder,
            step=step,
            config=config.model_dump(mode="json"),
            classes=classes,
            model=learner.detector,
            ema=None if learner.average is None else learner.average.module,
            state={
                "optimizer": learner.optimizer.state_dict(),
                "scheduler": learner.scheduler.state_dict(),
                "scaler": learner.scaler.state_dict(),
                "normalizer": learner.loss.history,
                "generators": generators,
                "workers": workers,
            },
        )
        checkpoint.prune(folder, config.schedule.keep_checkpoints, None if best is None else best.step)
    broadcast_object(None, runtime.device)
