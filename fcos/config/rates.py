"""Learning rates that are known to destroy the pretrained weights that a training begins from."""

from fcos.config.run import Config

# AdamW's rate of the backbone from which pretrained weights are known to be lost. Measured on 240x320 photographs of
# one class with MobileNetV2 (IMAGENET1K_V1): AP 4 at 0.01 (schedule=embedded), AP 38 at 0.0005 with frozen batch norms,
# both after 400 steps.
DESTRUCTIVE_ADAMW = 2e-3


def rate_notes(config: Config) -> tuple[str, ...]:
    """Return a note where the rate would destroy the weights that a training begins from; none where it fits."""
    model, schedule = config.model, config.schedule
    weights = "model.weights" if model.weights is not None else "model.backbone.weights"
    if config.task != "train" or (model.weights is None and model.backbone.weights is None):
        return ()
    rate = schedule.resolved_lr * schedule.backbone_lr_factor
    if schedule.optimizer != "adamw" or rate < DESTRUCTIVE_ADAMW:
        return ()
    return (
        f"the backbone begins from {weights} and learns at {rate:g} with AdamW, which is known to destroy pretrained "
        f"weights from about {DESTRUCTIVE_ADAMW:g} on; schedule=finetune has rates that keep them, or give schedule.lr",
    )
