"""The training step and the evaluation pass, in the open."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.lr_scheduler import LRScheduler
from torch.optim.swa_utils import AveragedModel

from fcos.assignment.build import Assign
from fcos.config.choices import Precision
from fcos.device import autocast
from fcos.distributed import gather_objects, mean_over_workers
from fcos.losses.boxes import quality_entropy_sum
from fcos.losses.criterion import FCOSLoss
from fcos.metrics import TERMS
from fcos.structures import Batch, HeadOutputs, Locations


class Diverged(RuntimeError):
    """The loss is no longer finite; the message names the step, the terms and the images of the batch."""


@dataclass(frozen=True)
class TrainState:
    """Everything that one training step touches."""

    # The bare network, the same network as this worker trains it, and how that is called: compiled, or as it is.
    detector: nn.Module
    model: nn.Module
    forward: Callable[[Tensor, Tensor], HeadOutputs]
    locate: Callable[[Batch], Locations]
    assign: Assign
    # Whether it needs the head outputs, and so comes after the forward pass.
    assigns_by_outputs: bool
    loss: FCOSLoss
    optimizer: torch.optim.Optimizer
    scheduler: LRScheduler
    average: AveragedModel | None
    precision: Precision
    # Does nothing but under fp16.
    scaler: torch.amp.GradScaler
    clip_norm: float | None

    @property
    def evaluated(self) -> nn.Module:
        """What is evaluated: the moving average where one is kept."""
        return self.detector if self.average is None else self.average.module


def train_step(learner: TrainState, batches: Sequence[Batch]) -> Float[Tensor, " 7"]:
    """One optimizer step over the micro-batches of this worker; returns the sums named by TERMS, on the device.

    The normaliser covers all micro-batches of all workers, so that accumulation and more workers leave the step as
    it is. So an assignment by predictions allows one micro-batch only. Nothing here waits for the device.
    """
    located = [learner.locate(batch) for batch in batches]
    assert len(batches) == 1 or not learner.assigns_by_outputs, "the configuration refuses accumulation"
    ahead = _forward(learner, batches[0]) if learner.assigns_by_outputs else None
    assignments = [learner.assign(batch.targets, places, ahead) for batch, places in zip(batches, located, strict=True)]
    normalizer = learner.loss.normalizer(assignments)
    learner.optimizer.zero_grad(set_to_none=True)
    terms = torch.zeros(len(TERMS), device=batches[0].pixels.device)
    for number, (batch, places, assignment) in enumerate(zip(batches, located, assignments, strict=True), start=1):
        with _without_sync(learner.model) if number < len(batches) else nullcontext():
            outputs = _forward(learner, batch) if ahead is None else ahead
            assignment = learner.loss.best_pairing(outputs, assignment, places, normalizer)
            losses = learner.loss(outputs, assignment, places, normalizer)
            learner.scaler.scale(losses.total).backward()
        per_image = assignment.positive.sum() / (batch.pixels.shape[0] * len(batches))
        floor = (
            quality_entropy_sum(outputs, assignment, learner.loss.quality, learner.loss.quality_loss)
            / normalizer.positives
        )
        floor = floor * learner.loss.quality_weight
        excess = losses.quality - floor
        parts = (losses.total, losses.classification, losses.regression, losses.quality, per_image, floor, excess)
        terms += torch.stack([part.detach().float() for part in parts])
    if learner.clip_norm is not None:
        learner.scaler.unscale_(learner.optimizer)
        nn.utils.clip_grad_norm_(learner.model.parameters(), learner.clip_norm)
    learner.scaler.step(learner.optimizer)
    learner.scaler.update()
    learner.scheduler.step()
    if learner.average is not None:
        learner.average.update_parameters(learner.detector)
    return terms


def _forward(learner: TrainState, batch: Batch) -> HeadOutputs:
    with autocast(batch.pixels.device, learner.precision):
        return learner.forward(batch.pixels, batch.sizes)


def _without_sync(model: nn.Module) -> AbstractContextManager[None]:
    """Gradients stay local until the last micro-batch."""
    if isinstance(model, DistributedDataParallel):
        return model.no_sync()  # type: ignore[no-any-return]
    return nullcontext()


@dataclass
class LossLog:
    """Terms of the steps since the last reading, kept on the device so that a step never waits for it."""

    pending: list[tuple[int, Tensor, tuple[str, ...]]] = field(default_factory=list)

    def add(self, step: int, terms: Float[Tensor, " 7"], names: tuple[str, ...]) -> None:
        self.pending.append((step, terms, names))

    def read(self) -> dict[str, float]:
        """Mean of each term over the pending steps and all workers; forgets them.

        Raises Diverged, on every worker, naming the first step whose loss is not finite.
        """
        if not self.pending:
            return {}
        own = torch.stack([terms for _, terms, _ in self.pending])
        # One not-finite worker makes the mean not finite, so that all of them stop at the same step.
        values = mean_over_workers(own.flatten()).view_as(own).cpu()
        finite = values.isfinite().all(1)
        if not finite.all():
            first = int((~finite).nonzero()[0])
            raise Diverged(self._describe(first, values[first].tolist()))
        self.pending.clear()
        return dict(zip(TERMS, values.mean(0).tolist(), strict=True))

    def _describe(self, position: int, values: list[float]) -> str:
        step, _, names = self.pending[position]
        terms = ", ".join(f"{name}={value:g}" for name, value in zip(TERMS, values, strict=True))
        images = [name for part in gather_objects(names) for name in part]
        return f"the loss is not finite at step {step}: {terms}; images of the batch: {', '.join(images)}"
