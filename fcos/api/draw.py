"""fcos.draw and fcos.draw_assignment: detections on their image, and which location is assigned to which box."""

from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import torch
from PIL.Image import Image

from fcos.api.load import Detector
from fcos.api.predict import Prediction
from fcos.api.train import check_own_rule
from fcos.api.user_errors import check_choice, check_fraction, check_type, raises_config_error
from fcos.assignment.own_rule import Match, assign_by
from fcos.config.choices import Split
from fcos.config.run import Config
from fcos.errors import ConfigError
from fcos.images.open_image import open_image
from fcos.inference import Trained
from fcos.prediction.drawing import draw_picture
from fcos.prediction.run import PICTURE_SCORE
from fcos.structures import Detections
from fcos.studies.draw_assignment import assignment_picture


@raises_config_error
def draw(prediction: Prediction, *, score: float = PICTURE_SCORE) -> Image:
    """Draw the detections of an image on it, with class names and scores; returns an image of Pillow.

    score: the lowest that is drawn. Raises ConfigError where the file is not there any more.

        >>> picture = fcos.draw(prediction, score=0.1)
        >>> picture.save("detections.png")
    """
    check_type("prediction", prediction, Prediction, "give one of those that fcos.predict returns")
    check_fraction("score", score)
    if isinstance(prediction.image, Path):
        pixels = torch.from_numpy(open_image(prediction.image, rules=prediction.rules))
    else:
        pixels = torch.from_numpy(prediction.image).permute(2, 0, 1)
    keep = prediction.scores >= score
    shown = Detections(prediction.boxes[keep], prediction.scores[keep], prediction.labels[keep])
    return draw_picture(pixels, shown, prediction.classes)


@dataclass(frozen=True)
class AssignmentPicture:
    """The assignment of one image: a panel for each level, and lines that count locations by box and level."""

    picture: Image
    lines: tuple[str, ...]


@raises_config_error
def draw_assignment(
    config: Config,
    *,
    split: Split = "val",
    image: str | None = None,
    match: Match | None = None,
    detector: Detector | None = None,
) -> AssignmentPicture:
    """Draw which locations of an image are assigned to which box, level by level.

    image: a file name or an id; None takes the first with boxes. match: an assignment of one's own in place of the
    configured one. detector: for assignments that depend on its outputs (model.assignment.kind=simota).
    Raises ConfigError for an image that is not there.

        >>> drawn = fcos.draw_assignment(config)
        >>> drawn.lines[0].split(":")[0]
        '000000.png'
    """
    check_type("config", config, Config, "give what fcos.configure returns, or a detector's config")
    check_choice("split", split, get_args(Split))
    if match is not None:
        check_own_rule(config.model)
    elif config.model.assignment.by_outputs and not isinstance(detector, Trained):
        raise ConfigError(
            f"model.assignment.kind={config.model.assignment.kind}: assigns by a detector's outputs; give "
            "detector=fcos.load(<run's folder>)"
        )
    trained = detector if isinstance(detector, Trained) and match is None else None
    picture, lines = assignment_picture(config, split, image, trained, None if match is None else assign_by(match))
    if trained is not None:
        # It was moved to the CPU.
        trained.detector.to(trained.device)
    return AssignmentPicture(picture, tuple(lines))
