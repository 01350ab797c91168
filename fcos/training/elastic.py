"""Number of workers of a training that may go on with fewer or more of them."""

from fcos.config.model import ModelConfig
from fcos.config.run import Config

# [step after which they began, number of workers], in order; plain lists, as checkpoints hold them.
WorkerHistory = list[list[int]]


def extend_history(history: WorkerHistory, start: int, workers: int) -> WorkerHistory:
    """Return the history with this number of workers from step `start` on; steps done again count as theirs."""
    kept = [[step, count] for step, count in history if step < start]
    return kept if kept and kept[-1][1] == workers else [*kept, [start, workers]]


def describe_history(history: WorkerHistory) -> str:
    """Format a history: `2`, or `2, from step 9 on 1`."""
    first, *others = history
    return ", ".join([str(first[1]), *(f"from step {step + 1} on {count}" for step, count in others)])


def worker_dependences(model: ModelConfig) -> list[str]:
    """Name what each worker computes from its own part of a batch; empty where any number gives the same result."""
    norms = {model.backbone.norm, model.fpn.norm, model.head.norm}
    reasons = {
        "batch norms gather statistics on each worker": bool(norms & {"bn", "bn_per_level"}),
        "losses are divided by each worker's own positives": model.loss.normalizer == "local",
        "ties between boxes are drawn on each worker": model.assignment.tie_break == "random",
    }
    return [reason for reason, holds in reasons.items() if holds]


def history_notes(history: WorkerHistory, config: Config) -> list[str]:
    """Return the note for a result whose number of workers changed; none where it did not."""
    if len(history) < 2:
        return []
    text = f"number of workers: {describe_history(history)}; batch size and learning rate stayed as they were"
    reasons = worker_dependences(config.model)
    return [f"{text}, but {' and '.join(reasons)}, so that the number matters" if reasons else text]
