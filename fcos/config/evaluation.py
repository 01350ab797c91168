"""Settings of an evaluation: what differs between arms that share a training."""

from pydantic import Field

from fcos.config.base import Section
from fcos.config.model_parts import PostprocessConfig
from fcos.config.run import Config


class EvaluationSettings(Section):
    """Inference settings, and the weights of a training that they are applied to."""

    postprocess: PostprocessConfig
    # Decay of the moving average of the weights; null evaluates the weights themselves (see schedule.ema).
    ema: float | None = Field(None, gt=0, lt=1)

    @classmethod
    def of(cls, config: Config) -> "EvaluationSettings":
        """Return the settings that a config evaluates by."""
        return cls(postprocess=config.model.postprocess, ema=config.schedule.ema)
