"""What each implementation of FCOS makes of one image: targets, and losses and detections of the same outputs."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Int
from PIL.Image import Image
from torch import Tensor

from fcos.assignment.build import build_assign, build_locate
from fcos.build import build_loss
from fcos.config.model import ModelConfig
from fcos.config.presets import load_presets
from fcos.data.annotations import Annotations, read_annotations
from fcos.data.coco import CocoDataset, Sample
from fcos.data.loader import canvas_size, collate
from fcos.data.transforms import resize_image
from fcos.draw import difference_panel, tile
from fcos.errors import ConfigError
from fcos.losses.criterion import Losses
from fcos.postprocess.decode import Postprocess
from fcos.structures import NO_OBJECT, Assignment, Batch, HeadOutputs, Locations

# Longest side of a panel in pixels.
PANEL = 720


@dataclass(frozen=True)
class Seen:
    """One image as an implementation sees it, and what it makes of it."""

    name: str
    sample: Sample
    places: Locations
    assignment: Assignment
    # Rows of the annotation file instead of positions, which differ where an implementation drops a box.
    owners: Int[Tensor, " P"]
    losses: Losses
    # What is left after threshold, top-k and NMS.
    detections: int


def compare(image: Path, annotations: Path, *, short_side: int, long_side: int, seed: int) -> list[Seen]:
    """What every preset makes of an image, all with the same random head outputs.

    Raises DataError for files that cannot be read, ConfigError where the annotations do not know the image.
    """
    models = load_presets()
    files = {corners: read_annotations(annotations, corners) for corners in ("plain", "inclusive")}
    position = _position(files["plain"], image)
    samples, rows = {}, {}
    for name, model in models.items():
        file = files[model.assignment.corners]
        samples[name] = _sample(file, position, image, model, short_side, long_side)
        own = np.arange(file.offsets[position], file.offsets[position + 1])
        rows[name] = torch.from_numpy(own[file.trainable[own]])
    # Sides may differ by a pixel of rounding; on one canvas all have the same number of locations.
    divisor = max(model.size_divisor for model in models.values())
    canvas = canvas_size([sample.size for sample in samples.values()], divisor)
    outputs: HeadOutputs | None = None
    seen = []
    for name, model in models.items():
        batch = collate([samples[name]], canvas)
        places = build_locate(model)(batch)
        outputs = outputs or random_outputs(places, len(files["plain"].classes), seed)
        seen.append(_see(name, model, samples[name], batch, places, rows[name], outputs))
    return seen


def random_outputs(places: Locations, classes: int, seed: int) -> HeadOutputs:
    """Head outputs of a detector that knows nothing: few confident classes, boxes of some strides."""
    draw = torch.Generator().manual_seed(seed)
    num = len(places.xy)
    logits = torch.randn(1, num, classes, generator=draw) * 1.2 - 6
    ltrb = torch.exp(torch.randn(1, num, 4, generator=draw) / 2) * 2 * places.strides[:, None]
    counts = [rows * columns for rows, columns in places.shapes]
    return HeadOutputs(logits.split(counts, dim=1), ltrb, torch.randn(1, num, generator=draw), places.shapes)


def _see(
    name: str,
    model: ModelConfig,
    sample: Sample,
    batch: Batch,
    places: Locations,
    rows: Int[Tensor, " M"],
    outputs: HeadOutputs,
) -> Seen:
    assignment = build_assign(model)(batch.targets, places)
    rule = build_loss(model)
    with torch.no_grad():
        losses = rule(outputs, assignment, places, rule.normalizer([assignment]))
    unbounded = model.postprocess.model_copy(update={"max_detections": len(places.xy)})
    every = Postprocess(unbounded, model.assignment.corners)
    found = every(outputs, places, batch.sizes, batch.original_sizes)
    matched = assignment.matched[0]
    known = torch.cat((rows, rows.new_tensor([NO_OBJECT])))
    return Seen(name, sample, places, assignment, known[matched], losses, len(found[0].boxes))


def _position(file: Annotations, image: Path) -> int:
    """Where an image stands in its annotations: by the end of its path, which must say which one is meant."""
    text = image.resolve().as_posix()
    exact = [row for row, name in enumerate(file.names) if text.endswith(f"/{name}")]
    if len(exact) == 1:
        return exact[0]
    raise ConfigError(f"{image}: {file.path} knows {'several images' if exact else 'no image'} of that name")


def _sample(
    file: Annotations, position: int, image: Path, model: ModelConfig, short_side: int, long_side: int
) -> Sample:
    alone = replace(file.select(np.array([position])), names=(image.name,))
    dataset = CocoDataset(
        alone, image.parent, short_sides=(short_side,), long_side=long_side, flip=0.0,
        box_convention=model.assignment.corners, training=False, seed=0,
    )  # fmt: skip
    return dataset[0, 0]


def differs(one: Seen, first: Seen) -> Bool[Tensor, " P"]:
    """Locations, by their place in the grid, that answer for another box, or for one in one of them alone."""
    return one.owners != first.owners


def table(seen: Sequence[Seen]) -> list[str]:
    """One line for each implementation, and under it what differs from the first in words."""
    levels = [f"P{stride.bit_length() - 1}" for stride in seen[0].places.level_strides]
    heads = ["", "positives", *levels, "unowned", "differ", "class", "box", "quality", "total", "detections"]
    rows = [heads]
    for one in seen:
        positive = one.assignment.positive[0]
        per_level = positive.split([rows * columns for rows, columns in one.places.shapes])
        owned = set(one.owners[positive].tolist())
        parts = (one.losses.classification, one.losses.regression, one.losses.quality, one.losses.total)
        rows.append(
            [
                one.name,
                str(int(positive.sum())),
                *(str(int(part.sum())) for part in per_level),
                str(len(one.sample.boxes) - len(owned)),
                str(int(differs(one, seen[0]).sum())),
                *(f"{float(part):.3f}" for part in parts),
                str(one.detections),
            ]
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(heads))]
    return [
        "  ".join(cell.ljust(width) if column == 0 else cell.rjust(width)
                  for column, (cell, width) in enumerate(zip(row, widths, strict=True))).rstrip()
        for row in rows
    ]  # fmt: skip


def groups_of_same(seen: Sequence[Seen]) -> list[str]:
    """Which implementations give every location the same box."""
    alike: dict[tuple[int, ...], list[str]] = {}
    for one in seen:
        alike.setdefault(tuple(one.owners.tolist()), []).append(one.name)
    return [", ".join(names) for names in alike.values() if len(names) > 1]


def picture(seen: Sequence[Seen]) -> Image:
    """A panel for each implementation: locations in the colour of their box, ringed where the first differs."""
    numbers = {box: number for number, box in enumerate(sorted(Counter(_owners(seen))))}
    panels = []
    for one in seen:
        height, width = one.sample.size
        scale = min(1.0, PANEL / max(height, width))
        pixels = resize_image(one.sample.image, (max(1, round(height * scale)), max(1, round(width * scale))))
        other = differs(one, seen[0])
        panels.append(
            difference_panel(
                pixels,
                one.sample.boxes * scale,
                one.places.xy * scale,
                one.places.strides * scale,
                [numbers.get(owner) for owner in one.owners.tolist()],
                other,
                title=f"{one.name}: {int(one.assignment.positive.sum())} positives, {int(other.sum())} differ",
            )
        )
    return tile(panels, columns=2)


def _owners(seen: Sequence[Seen]) -> list[int]:
    return [owner for one in seen for owner in one.owners.unique().tolist() if owner != NO_OBJECT]
