"""One training run on one page: data, model, steps, evaluation, checkpoints."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from fcos.assignment.build import Assign
from fcos.build import build_detector, build_oracle_targets, build_train_state
from fcos.config.choices import BoxConvention
from fcos.config.evaluation import EvaluationSettings
from fcos.config.rates import rate_notes
from fcos.config.run import Config
from fcos.data.batching import Batching, WorkerShare
from fcos.data.coco import CocoDataset, make_dataset
from fcos.data.loader import eval_batches, shared_eval_batches, train_batches
from fcos.data.prepare import PreparedData, check_digest, prepare, splits_with_masks
from fcos.data.shared_memory import check_shared_memory
from fcos.device import precision_notes, to_device
from fcos.distributed import broadcast_buffers, broadcast_object
from fcos.evaluation.detect import Inference, Validation, validate
from fcos.evaluation.samples import draw_sample_pictures
from fcos.evaluation.saved.save_evaluations import save_evaluations
from fcos.evaluation.saved.thumbnails import save_thumbnails
from fcos.postprocess.decode import Postprocess
from fcos.postprocess.oracle import BuildOracleTargets
from fcos.runtime import Runtime
from fcos.storage import checkpoint_folder
from fcos.storage.run_folder import CHECKPOINTS, DETECTIONS, EVALUATION, BestEvaluation, RunSummary
from fcos.structures import Batch
from fcos.training.batch_norms import check_batch_norms
from fcos.training.best import improved, read_best
from fcos.training.due import due_after
from fcos.training.elastic import extend_history, history_notes
from fcos.training.interruption import EvaluationInterrupted, InterruptionPoll, Preempted, until_preempted
from fcos.training.progress import Progress
from fcos.training.state import Restored, StateWriter, generator_states, restore, set_generator_states
from fcos.training.step import LossLog, TrainState, train_step
from fcos.weights.begin import begin_from_weights


@dataclass(frozen=True)
class _Run:
    """What a run trains, on what data, and where."""

    config: Config
    runtime: Runtime
    data: PreparedData
    train: CocoDataset
    val: CocoDataset
    state: TrainState
    # Decay of a moving average, or None for the weights themselves -> the arms that evaluate it, with their inference.
    arms: Mapping[float | None, Mapping[str, Postprocess]]
    # All arms, in the order in which they are reported.
    arm_names: tuple[str, ...]
    oracle_targets: BuildOracleTargets | None
    # Steps after which a checkpoint is kept for trainings that go on from there.
    forks: frozenset[int]
    # Remarks on the weights that it began from, and on its schedule.
    notes: tuple[str, ...]

    @property
    def images_per_worker(self) -> int:
        """Images of a micro-batch on each of the planned workers."""
        size = max(self.runtime.world_size, self.runtime.planned_size)
        return max(1, self.config.schedule.batch_size // self.config.schedule.accumulate // size)


def run(
    config: Config,
    runtime: Runtime,
    arms: Mapping[str, EvaluationSettings] | None = None,
    *,
    data_digest: str | None = None,
    forks: Collection[int] = (),
    assign: Assign | None = None,
) -> RunSummary:
    """Train from the newest good checkpoint in the run's folder to the last step, evaluating on the way.

    `arms` names several settings by which this training is evaluated: inference settings, and averages of its weights;
    without them the configuration's own stand alone under the empty name. `data_digest` is that of the planned data
    (see `prepare`). After each of the steps `forks`, and at the first milestone, a checkpoint is kept apart, from which
    other trainings go on. `assign` takes the place of the configured assignment. A run that is requested to stop ends
    at its next report, evaluated and saved; the summary's `pruned` is that step. Every worker returns the same summary.

    Raises ConfigError for a user's mistake, DataChanged for other data than planned, Diverged where the loss is no
    longer finite, and Preempted where the run saved itself because a machine of it will be taken away.
    """
    seed_everything(config.resolved_seeds.weights, config.schedule.deterministic)
    kept = config.schedule.kept_milestone
    kept_steps = frozenset(forks) if kept is None else frozenset({*forks, kept})
    run_ = _prepare(config, runtime, arms or {"": EvaluationSettings.of(config)}, data_digest, kept_steps, assign)
    log = LossLog()
    restored = restore(run_.state, log, config.schedule, runtime)
    workers = restored.workers
    if restored.step < config.schedule.steps:
        workers = extend_history(workers, restored.step, runtime.world_size)
    progress = Progress(runtime, config.schedule.steps, restored.step)
    writer = StateWriter(config, runtime, run_.data.classes, run_.state, workers)
    validation = train_loop(run_, progress, writer, log, restored)
    notes = [*restored.notes, *run_.data.notes, *run_.notes, *history_notes(workers, config)]
    notes += log.missing_positives.notes()
    return _summarize(run_, progress, validation, workers, notes)


def _prepare(
    config: Config,
    runtime: Runtime,
    arms: Mapping[str, EvaluationSettings],
    data_digest: str | None,
    forks: frozenset[int],
    assign: Assign | None,
) -> _Run:
    """Read the data, and build model, optimizer and loss."""
    assignment = config.model.assignment
    inference = [settings.postprocess for settings in arms.values()]
    masks = splits_with_masks(assignment, inference, training=True, augmentation=config.data.augmentation)
    data = prepare(config.data, box_convention=assignment.corners, masks=masks, progress=lambda *_: runtime.heartbeat())
    check_digest(config.data, data.digest, data_digest)
    detector = build_detector(config.model, len(data.classes), channels_last=config.schedule.channels_last)
    notes = (*detector.backbone.notes, *begin_from_weights(detector, config.model, data.classes), *rate_notes(config))
    notes += precision_notes(runtime.device, config.schedule.precision)
    seed = config.resolved_seeds.augmentation
    by_weights = _by_weights(arms, assignment.corners)
    prepared = _Run(
        config=config,
        runtime=runtime,
        data=data,
        train=make_dataset(data, "train", config.data, True, seed, masks=assignment.by_masks),
        val=make_dataset(data, "val", config.data, training=False, seed=seed),
        state=build_train_state(config, detector, runtime, [ema for ema in by_weights if ema is not None], assign),
        arms=by_weights,
        arm_names=tuple(arms),
        oracle_targets=build_oracle_targets(config.model, inference),
        forks=forks,
        notes=notes,
    )
    check_batch_norms(config, prepared.train.sample_sizes, workers=max(runtime.world_size, runtime.planned_size))
    sizes = [prepared.train.sample_sizes, prepared.val.sample_sizes]
    divisor = config.model.size_divisor
    check_shared_memory(sizes, config.data, images=prepared.images_per_worker, divisor=divisor)
    return prepared


def _by_weights(
    arms: Mapping[str, EvaluationSettings], corners: BoxConvention
) -> dict[float | None, dict[str, Postprocess]]:
    """Return the arms by the decay of the average that they evaluate, so that the network runs once for each."""
    groups: dict[float | None, dict[str, Postprocess]] = {}
    for arm, settings in arms.items():
        groups.setdefault(settings.ema, {})[arm] = Postprocess(settings.postprocess, corners)
    return groups


def _batches(run: _Run, start: int) -> Iterator[list[Batch]]:
    """Return the micro-batches of this worker for each step after `start`."""
    config, runtime = run.config, run.runtime
    return train_batches(
        run.train,
        Batching.of(config),
        WorkerShare(runtime.rank, runtime.world_size, runtime.planned_size),
        seed=config.resolved_seeds.order,
        start_step=start,
        num_workers=config.data.num_workers,
        pin_memory=runtime.device.type == "cuda",
    )


def train_loop(run: _Run, progress: Progress, writer: StateWriter, log: LossLog, restored: Restored) -> Validation:
    """Train all steps that are left, or until the run is requested to stop; return the last evaluation.

    Where an evaluation was given up for a preemption, it comes first.
    """
    runtime, state, schedule = run.runtime, run.state, run.config.schedule
    batches = _batches(run, progress.start)
    interruption = InterruptionPoll(runtime, progress.start)
    validation, best = None, _best_until(run, progress.start)
    progress.restart_clock()
    for step in range(progress.start if restored.unevaluated else progress.start + 1, schedule.steps + 1):
        lr = state.optimizer.param_groups[0]["lr"]
        if step > progress.start:
            _train(run, step, next(batches), progress, log)
        evaluates, saves, reports = due_after(schedule, step)
        if reports:
            if losses := log.read():
                progress.add_losses(step, {**losses, "lr": lr})
            if evaluates:
                validation = _evaluate(run, step, progress)
            # Before the checkpoint: after a crash in between these points are reported twice, and none is lost.
            progress.report(step)
        if evaluates and validation is None:
            writer.save(step, log.average(), best, unevaluated=True)
            raise Preempted(f"saved at step {step}, before its evaluation, and left a machine that will be taken away")
        if step in run.forks:
            # Before the next checkpoint of this training, which then is past the step only where the fork is there.
            writer.save_fork(step, log.average())
        request = "" if step == schedule.steps else interruption.poll(step, reported=reports)
        if request == "stop" and not evaluates:
            validation = _evaluate(run, step, progress)
            progress.report(step)
            # A stop is requested again where it goes on.
            request = request if validation is not None else "preempt"
        if validation is not None and (evaluates or request == "stop"):
            better = improved(schedule.best_metric, step, validation.metrics, best)
            best, saves = better or best, saves or better is not None
        if saves or request or step == progress.start:
            # The average raises for a loss that is not finite, which must not become the newest checkpoint.
            writer.save(step, log.average(), best)
        if request == "preempt":
            raise Preempted(f"saved at step {step} and left a machine that will be taken away")
        if request == "stop":
            break
        if reports:
            progress.restart_clock()
    if validation is None:
        validation = _end_at_once(run, progress, writer, log, forked=restored.forked)
    return validation


def _train(run: _Run, step: int, batches: list[Batch], progress: Progress, log: LossLog) -> None:
    """Train one step on the micro-batches of this worker."""
    terms = train_step(run.state, [to_device(batch, run.runtime.device) for batch in batches])
    log.add(step, terms, tuple(name for batch in batches for name in batch.names))
    progress.images += run.config.schedule.batch_size
    run.runtime.heartbeat()


def _end_at_once(run: _Run, progress: Progress, writer: StateWriter, log: LossLog, *, forked: bool) -> Validation:
    """Evaluate the checkpoint of the last step, which was there already; a fork becomes this training's own."""
    step, scheduler = run.config.schedule.steps, run.state.scheduler
    losses = log.average()
    if len(losses):
        lr = float(scheduler.base_lrs[0]) * scheduler.lr_lambdas[0](step - 1)
        progress.add_losses(step, {**log.read(), "lr": lr})
    validation = _evaluate(run, step, progress)
    progress.report(step)
    if validation is None:
        raise Preempted(f"left a machine that will be taken away, before the evaluation of step {step}")
    if forked:
        best = improved(run.config.schedule.best_metric, step, validation.metrics, _best_until(run, step))
        writer.save(step, losses, best)
    return validation


def _evaluate(run: _Run, step: int, progress: Progress) -> Validation | None:
    """Evaluate every arm: the current weights, or an average of them, under its inference settings.

    None, and nothing has changed, where it was given up for a preemption.
    """
    generators = generator_states()
    try:
        parts = [_evaluate_weights(run, ema, arms) for ema, arms in run.arms.items()]
    except EvaluationInterrupted:
        # It is done anew elsewhere, and has to draw the same.
        set_generator_states(generators)
        return None
    metrics = {arm: part.metrics[arm] for arm in run.arm_names for part in parts if arm in part.metrics}
    detections = {arm: part.detections[arm] for arm in run.arm_names for part in parts if arm in part.detections}
    progress.add_metrics(step, metrics)
    return Validation(metrics, detections)


def _evaluate_weights(run: _Run, ema: float | None, arms: Mapping[str, Postprocess]) -> Validation:
    """Evaluate the moving average of a decay, or the weights themselves, under the inference settings of some arms."""
    runtime, state = run.runtime, run.state
    network = state.evaluated(ema)
    # Workers gather batch statistics of their own; what is evaluated is what rank 0 saves.
    broadcast_buffers(network)
    size = run.images_per_worker
    batches = eval_batches(
        run.val,
        batch_size=size,
        rank=runtime.rank,
        world_size=runtime.world_size,
        size_divisor=run.config.model.size_divisor,
        num_workers=run.config.data.num_workers,
        pin_memory=runtime.device.type == "cuda",
    )
    shared = shared_eval_batches(run.val, batch_size=size, world_size=runtime.world_size)
    return validate(
        network,
        until_preempted(batches, runtime, shared),
        run.data.val.annotations,
        Inference(arms, state.locate, runtime.device, state.precision, run.oracle_targets),
        rank=runtime.rank,
        progress=lambda _: runtime.heartbeat(),
    )


def seed_everything(seed: int, deterministic: bool) -> None:
    """Seed torch's generators, from which the initial weights follow; order and augmentation have their own."""
    torch.manual_seed(seed)
    torch.backends.cudnn.benchmark = not deterministic
    torch.use_deterministic_algorithms(deterministic, warn_only=True)
    # Otherwise every new tensor is filled before it is written.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]


def _best_until(run: _Run, step: int) -> BestEvaluation | None:
    """Return the best evaluation up to a step, the same on every worker."""
    folder, metric = run.runtime.directory / CHECKPOINTS, run.config.schedule.best_metric
    best = read_best(folder, metric, step) if run.runtime.rank == 0 else None
    return broadcast_object(best, run.runtime.device)  # type: ignore[no-any-return]


def _summarize(
    run: _Run, progress: Progress, validation: Validation, workers: list[list[int]], notes: list[str]
) -> RunSummary:
    """Draw sample detections, save evaluation and thumbnails, and return rank 0's summary on every worker."""
    runtime, folder, step = run.runtime, run.runtime.directory, progress.step
    pictures, not_drawn = draw_sample_pictures(run.val, validation.detections, run.data.classes, folder / DETECTIONS)
    saved = save_evaluations(
        run.data.val.annotations, validation.detections, folder / EVALUATION, data_digest=run.data.digest, step=step
    )
    thumbnails, without_thumbnail = (
        save_thumbnails(run.val, folder, run.data.digest) if runtime.rank == 0 else (None, ())
    )
    name = checkpoint_folder.folder_of(Path(CHECKPOINTS), step)
    summary = RunSummary(
        step=step,
        seconds=progress.seconds,
        metrics=validation.metrics,
        classes=run.data.classes,
        notes=(*notes, *not_drawn, *saved.notes, *without_thumbnail),
        pictures=_names(folder, pictures),
        evaluations=_names(folder, saved.files),
        thumbnails="" if thumbnails is None else thumbnails.name,
        data_digest=run.data.digest,
        pruned=step if step < run.config.schedule.steps else None,
        checkpoint=str(name),
        checkpoint_sha256=checkpoint_folder.digest(folder / name) if runtime.rank == 0 else "",
        best=_best_until(run, step),
        resumed_from=progress.start,
        workers=workers,
    )
    return broadcast_object(summary, runtime.device)  # type: ignore[no-any-return]


def _names(folder: Path, files: Mapping[str, Iterable[Path]]) -> dict[str, tuple[str, ...]]:
    """Return the names of each arm's files below the run's folder."""
    return {arm: tuple(str(path.relative_to(folder)) for path in paths) for arm, paths in files.items()}
