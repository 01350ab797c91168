"""One training step, and the log of its losses."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.lr_scheduler import LambdaLR
from torch.optim.swa_utils import AveragedModel

from fcos.assignment.build import Assign
from fcos.config.choices import Precision
from fcos.device import autocast
from fcos.distributed import gather_objects, mean_over_workers
from fcos.losses.boxes import quality_entropy_sum
from fcos.losses.criterion import FCOSLoss, Losses, Normalizer
from fcos.metrics import TERMS
from fcos.structures import Assignment, Batch, HeadOutputs, Locations
from fcos.training.missing_positives import MissingPositives

_POSITIVES = TERMS.index("positives_per_image")


class Diverged(RuntimeError):
    """The loss is no longer finite.

    The message names the step, the terms and the images of the batch.
    """


@dataclass(frozen=True)
class TrainState:
    """The model and all else that one training step reads or changes."""

    # The bare network; the same network wrapped for this worker; and what to call in training, possibly compiled.
    detector: nn.Module
    model: nn.Module
    forward: Callable[[Tensor, Tensor], HeadOutputs]
    locate: Callable[[Batch], Locations]
    assign: Assign
    # Whether the assignment needs the head outputs, and so comes after the forward pass.
    assigns_by_outputs: bool
    loss: FCOSLoss
    optimizer: torch.optim.Optimizer
    scheduler: LambdaLR
    # Moving averages of the weights by their decay: those that are evaluated.
    averages: Mapping[float, AveragedModel]
    precision: Precision
    # Disabled but for fp16.
    scaler: torch.amp.GradScaler
    clip_norm: float | None

    def evaluated(self, ema: float | None) -> nn.Module:
        """Return the network to evaluate: the moving average of a decay, or with None the weights themselves."""
        return self.detector if ema is None else self.averages[ema].module


def train_step(state: TrainState, batches: Sequence[Batch]) -> Float[Tensor, " 7"]:
    """Run one optimizer step over this worker's micro-batches.

    Returns the sums named by TERMS, on the device. The normaliser covers all micro-batches of all workers, so that the
    step does not depend on accumulation or on the number of workers. Hence an assignment by outputs allows one
    micro-batch only. Nothing here waits for the device.
    """
    locations = [state.locate(batch) for batch in batches]
    assert len(batches) == 1 or not state.assigns_by_outputs, "the configuration refuses accumulation"
    first_outputs = _forward(state, batches[0]) if state.assigns_by_outputs else None
    assignments = [
        state.assign(batch.targets, batch_locations, first_outputs)
        for batch, batch_locations in zip(batches, locations, strict=True)
    ]
    normalizer = state.loss.normalizer(assignments)
    state.optimizer.zero_grad(set_to_none=True)
    terms = torch.zeros(len(TERMS), device=batches[0].pixels.device)
    micro_batches = zip(batches, locations, assignments, strict=True)
    for number, (batch, batch_locations, assignment) in enumerate(micro_batches, start=1):
        with _without_sync(state.model) if number < len(batches) else nullcontext():
            outputs = _forward(state, batch) if first_outputs is None else first_outputs
            assignment = state.loss.best_pairing(outputs, assignment, batch_locations, normalizer)
            losses = state.loss(outputs, assignment, batch_locations, normalizer)
            state.scaler.scale(losses.total).backward()
        positives_per_image = assignment.positive.sum() / (batch.pixels.shape[0] * len(batches))
        terms += _terms(state.loss, losses, outputs, assignment, normalizer, positives_per_image)
    if state.clip_norm is not None:
        state.scaler.unscale_(state.optimizer)
        nn.utils.clip_grad_norm_(state.model.parameters(), state.clip_norm)
    state.scaler.step(state.optimizer)
    state.scaler.update()
    state.scheduler.step()
    for average in state.averages.values():
        average.update_parameters(state.detector)
    return terms


def _terms(
    loss: FCOSLoss,
    losses: Losses,
    outputs: HeadOutputs,
    assignment: Assignment,
    normalizer: Normalizer,
    positives_per_image: Tensor,
) -> Float[Tensor, " 7"]:
    """Return the values named by TERMS of one micro-batch, detached."""
    entropy = quality_entropy_sum(outputs, assignment, loss.quality, loss.quality_loss) / normalizer.positives
    floor = entropy * loss.quality_weight
    excess = losses.quality - floor
    parts = (
        losses.total, losses.classification, losses.regression, losses.quality, positives_per_image, floor, excess,
    )  # fmt: skip
    return torch.stack([part.detach().float() for part in parts])


def _forward(state: TrainState, batch: Batch) -> HeadOutputs:
    with autocast(batch.pixels.device, state.precision):
        return state.forward(batch.pixels, batch.sizes)


def _without_sync(model: nn.Module) -> AbstractContextManager[None]:
    """Return a context that keeps gradients local until the last micro-batch."""
    if isinstance(model, DistributedDataParallel):
        return model.no_sync()
    return nullcontext()


@dataclass
class LossLog:
    """Loss terms of the steps since the last read.

    They are kept on the device, so that a step never waits for it.
    """

    pending: list[tuple[int, Tensor, tuple[str, ...]]] = field(default_factory=list)
    # Those of the steps before the pending ones, averaged over the workers: a row for each step, on the CPU. What is
    # read stays until a step is added, so that a checkpoint after a report has what was reported.
    averaged: Float[Tensor, "S 7"] = field(default_factory=lambda: torch.zeros(0, len(TERMS)))
    is_read: bool = False
    missing_positives: MissingPositives = field(default_factory=MissingPositives)

    def add(self, step: int, terms: Float[Tensor, " 7"], names: tuple[str, ...]) -> None:
        if self.is_read:
            self.averaged, self.is_read = self.averaged[:0], False
        self.pending.append((step, terms, names))

    def read(self) -> dict[str, float]:
        """Return the mean of each term over the steps since the last read and all workers; nothing without a step.

        Raises as `average`.
        """
        values = self.average()
        if self.is_read or not len(values):
            return {}
        self.is_read = True
        return dict(zip(TERMS, values.mean(0).tolist(), strict=True))

    def average(self) -> Float[Tensor, "S 7"]:
        """Return the terms of each step since the last read, averaged over the workers; a collective.

        Right after a read they are those that it read. What a read gives afterwards is the same to the last digit.
        Raises Diverged, on every worker, naming the first step whose loss is not finite.
        """
        if not self.pending:
            return self.averaged
        local = torch.stack([terms for _, terms, _ in self.pending])
        # A non-finite loss on one worker makes the mean non-finite, so that all workers stop at the same step.
        values = mean_over_workers(local.flatten()).view_as(local).cpu()
        finite = values.isfinite().all(1)
        if not finite.all():
            index = int((~finite).nonzero()[0])
            raise Diverged(self._describe(index, values[index].tolist()))
        for (step, _, _), positives in zip(self.pending, values[:, _POSITIVES].tolist(), strict=True):
            self.missing_positives.add(step, positives)
        self.pending.clear()
        self.averaged = torch.cat([self.averaged, values])
        return self.averaged

    def _describe(self, index: int, values: list[float]) -> str:
        step, _, names = self.pending[index]
        terms = ", ".join(f"{name}={value:g}" for name, value in zip(TERMS, values, strict=True))
        images = [name for worker_names in gather_objects(names) for name in worker_names]
        return f"the loss is not finite at step {step}: {terms}; images of the batch: {', '.join(images)}"
