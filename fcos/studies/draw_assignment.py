"""Draw the target assignment of one image of a data set, level by level."""

from collections.abc import Sequence

import torch
from PIL.Image import Image

from fcos.assignment.build import Assign, build_assign, build_locate
from fcos.config.choices import Split
from fcos.config.model import ModelConfig
from fcos.config.model_parts import AssignmentConfig
from fcos.config.run import Config
from fcos.data.batching import canvas_size
from fcos.data.coco import CocoDataset, Sample, make_dataset
from fcos.data.loader import collate
from fcos.data.prepare import prepare
from fcos.drawing.assignment import draw_assignment
from fcos.errors import ConfigError, suggest
from fcos.inference import Trained, check_classes
from fcos.structures import Assignment, Locations


def assignment_picture(
    config: Config, split: Split, image: str | None, trained: Trained | None = None, assign: Assign | None = None
) -> tuple[Image, list[str]]:
    """Draw the assignment of one image, one panel per level, and describe it in lines of text.

    `image` is a file name or an id; None takes the first image with boxes. `trained` provides the outputs for
    assignments that depend on them; the data must have its classes. `assign` takes the place of the configured
    assignment. Raises ConfigError for an unknown image, and CheckpointError for other classes.
    """
    assignment_config = config.model.assignment
    data = prepare(
        config.data,
        box_convention=assignment_config.corners,
        masks=[split] if assignment_config.by_masks else [],
        splits=[split],
        classes=None if trained is None else trained.classes,
    )
    if trained is not None:
        check_classes(data, trained.classes)
    dataset = make_dataset(data, split, config.data, training=False, seed=config.seed)
    sample = dataset[0, find_position(dataset, image)]
    batch = collate([sample], canvas_size([sample.size], config.model.size_divisor))
    locations = build_locate(config.model)(batch)
    outputs = None
    if trained is not None:
        with torch.no_grad():
            outputs = trained.detector.cpu()(batch.pixels, batch.sizes)
    assignment = (assign or build_assign(config.model))(batch.targets, locations, outputs)
    titles = [
        f"P{level} stride {stride}" + ("" if assign else f", {_range_text(config.model.assignment, level_index)}")
        for level_index, (level, stride) in enumerate(zip(config.model.levels, config.model.strides, strict=True))
    ]
    picture = draw_assignment(sample.image, batch.targets, assignment, locations, titles=titles)
    return picture, _describe(sample, assignment, locations, config.model, data.classes)


def _describe(
    sample: Sample, assignment: Assignment, locations: Locations, model: ModelConfig, classes: Sequence[str]
) -> list[str]:
    """Return lines of text: the image, then each box with the number of its locations by level."""
    lines = [f"{sample.name}: {len(sample.labels)} boxes, {int(assignment.positive.sum())} positive locations"]
    for index, (box, label) in enumerate(zip(sample.boxes.tolist(), sample.labels.tolist(), strict=True)):
        is_own = assignment.matched[0] == index
        per_level = ", ".join(
            f"P{level}: {count}"
            for level, stride in zip(model.levels, model.strides, strict=True)
            if (count := int((is_own & (locations.strides == stride)).sum()))
        )
        box_text = ", ".join(f"{side:.1f}" for side in box)
        lines.append(f"  box {index} {classes[label]} [{box_text}]: {per_level or 'no location'}")
    return lines


def _range_text(assignment: AssignmentConfig, level: int) -> str:
    if assignment.kind not in ("fcos", "center"):
        return assignment.kind
    low, high = assignment.ranges[level]
    return f"{low:g} to {'inf' if high is None else format(high, 'g')} px"


def find_position(dataset: CocoDataset, image: str | None) -> int:
    """Return the index of an image by its file name or id; None takes the first with boxes.

    Raises ConfigError with close matches for an unknown one.
    """
    annotations = dataset.annotations
    if image is None:
        with_boxes = (index for index in range(len(annotations)) if len(annotations.training_boxes(index)[1]))
        return next(with_boxes, 0)
    if image in annotations.names:
        return annotations.names.index(image)
    ids = [str(level_index) for level_index in annotations.image_ids]
    if image in ids:
        return ids.index(image)
    hint = suggest(image, annotations.names)
    raise ConfigError(
        f"--image {image}: {annotations.path} has no image of that file name or id{f'; {hint}' if hint else ''}"
    )
