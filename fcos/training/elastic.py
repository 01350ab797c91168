"""How many workers trained which steps of a run, and what a change of their number means."""

from fcos.config.model import ModelConfig
from fcos.config.run import Config

# [step after which they began, how many], in order.
History = list[list[int]]


def go_on(history: History, start: int, workers: int) -> History:
    """The history with so many workers from a step on; what they do again counts as theirs."""
    kept = [[step, count] for step, count in history if step < start]
    return kept if kept and kept[-1][1] == workers else [*kept, [start, workers]]


def in_words(history: History) -> str:
    """2, or 2, from step 9 on 1."""
    first, *others = history
    return ", ".join([str(first[1]), *(f"from step {step + 1} on {count}" for step, count in others)])


def number_decides(model: ModelConfig) -> list[str]:
    """Name what each worker computes from its own part of a batch; empty where any number gives the same result."""
    norms = {model.backbone.norm, model.fpn.norm, model.head.norm}
    reasons = {
        "batch norms gather statistics on each worker": bool(norms & {"bn", "bn_per_level"}),
        "losses are divided by each worker's own positives": model.loss.normalizer == "local",
        "ties between boxes are drawn on each worker": model.assignment.tie_break == "random",
    }
    return [reason for reason, holds in reasons.items() if holds]


def remarks(history: History, config: Config) -> list[str]:
    """What a result has to say of a number of workers that changed; nothing where it did not."""
    if len(history) < 2:
        return []
    text = f"number of workers: {in_words(history)}; batch size and learning rate stayed as they were"
    reasons = number_decides(config.model)
    return [f"{text}, but {' and '.join(reasons)}, so that the number matters" if reasons else text]
