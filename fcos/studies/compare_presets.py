"""Compare implementations of FCOS on one image: targets, and losses and detections of the same outputs."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Int
from PIL.Image import Image
from torch import Tensor

from fcos.annotations.annotations import Annotations, read_annotations
from fcos.assignment.build import build_assign, build_locate
from fcos.augmentation.transforms import resize_image
from fcos.build import build_loss
from fcos.config.model import ModelConfig
from fcos.config.presets import load_presets
from fcos.data.batching import canvas_size
from fcos.data.coco import CocoDataset, Sample
from fcos.data.loader import collate
from fcos.data.sample_settings import SampleSettings
from fcos.drawing.assignment import difference_panel
from fcos.drawing.canvas import tile
from fcos.errors import ConfigError
from fcos.losses.criterion import Losses
from fcos.postprocess.decode import Postprocess
from fcos.structures import NO_OBJECT, Assignment, Batch, HeadOutputs, Locations

# Longest side of a panel in pixels.
PANEL_SIDE = 720


@dataclass(frozen=True)
class PresetResult:
    """Targets, losses and detections of one image under the preset of an implementation."""

    name: str
    sample: Sample
    locations: Locations
    assignment: Assignment
    # Matched boxes as rows of the annotation file, since indices differ where an implementation drops a box.
    matched_rows: Int[Tensor, " P"]
    losses: Losses
    # Number after threshold, top-k and NMS.
    detections: int


def compare_presets(
    image: Path, annotations: Path, *, short_side: int, long_side: int, seed: int
) -> list[PresetResult]:
    """Apply every preset to an image, all with the same random head outputs.

    Raises DataError for files that cannot be read, ConfigError where the annotations do not contain the image.
    """
    models = load_presets()
    files = {convention: read_annotations(annotations, convention) for convention in ("plain", "inclusive")}
    position = _position(files["plain"], image)
    samples, rows = {}, {}
    for name, model in models.items():
        file = files[model.assignment.corners]
        samples[name] = _sample(file, position, image, model, short_side, long_side)
        file_rows = np.arange(file.offsets[position], file.offsets[position + 1])
        rows[name] = torch.from_numpy(file_rows[file.trainable[file_rows]])
    # Image sides may differ by a pixel of rounding; on one canvas all presets have the same number of locations.
    divisor = max(model.size_divisor for model in models.values())
    canvas = canvas_size([sample.size for sample in samples.values()], divisor)
    outputs: HeadOutputs | None = None
    results = []
    for name, model in models.items():
        batch = collate([samples[name]], canvas)
        locations = build_locate(model)(batch)
        outputs = outputs or random_outputs(locations, len(files["plain"].classes), seed)
        results.append(_apply_preset(name, model, samples[name], batch, locations, rows[name], outputs))
    return results


def random_outputs(locations: Locations, classes: int, seed: int) -> HeadOutputs:
    """Return random head outputs: few confident classes, boxes of a few strides."""
    generator = torch.Generator().manual_seed(seed)
    num = len(locations.xy)
    logits = torch.randn(1, num, classes, generator=generator) * 1.2 - 6
    ltrb = torch.exp(torch.randn(1, num, 4, generator=generator) / 2) * 2 * locations.strides[:, None]
    counts = [rows * columns for rows, columns in locations.shapes]
    return HeadOutputs(logits.split(counts, dim=1), ltrb, torch.randn(1, num, generator=generator), locations.shapes)


def _apply_preset(
    name: str,
    model: ModelConfig,
    sample: Sample,
    batch: Batch,
    locations: Locations,
    rows: Int[Tensor, " M"],
    outputs: HeadOutputs,
) -> PresetResult:
    assignment = build_assign(model)(batch.targets, locations)
    loss = build_loss(model)
    with torch.no_grad():
        losses = loss(outputs, assignment, locations, loss.normalizer([assignment]))
    unbounded = model.postprocess.model_copy(update={"max_detections": len(locations.xy)})
    postprocess = Postprocess(unbounded, model.assignment.corners)
    detections = postprocess(outputs, locations, batch.sizes, batch.original_sizes)
    matched = assignment.matched[0]
    row_of_box = torch.cat((rows, rows.new_tensor([NO_OBJECT])))
    return PresetResult(name, sample, locations, assignment, row_of_box[matched], losses, len(detections[0].boxes))


def _position(file: Annotations, image: Path) -> int:
    """Return the index of an image in its annotations, by the end of its path.

    Raises ConfigError unless exactly one image matches.
    """
    text = image.resolve().as_posix()
    exact = [row for row, name in enumerate(file.names) if text.endswith(f"/{name}")]
    if len(exact) == 1:
        return exact[0]
    raise ConfigError(f"{image}: {file.path} has {'several images' if exact else 'no image'} of that name")


def _sample(
    file: Annotations, position: int, image: Path, model: ModelConfig, short_side: int, long_side: int
) -> Sample:
    single = replace(file.select(np.array([position])), names=(image.name,))
    settings = SampleSettings((short_side,), long_side, box_convention=model.assignment.corners)
    dataset = CocoDataset(single, image.parent, settings, training=False, seed=0)
    return dataset[0, 0]


def differs(result: PresetResult, first: PresetResult) -> Bool[Tensor, " P"]:
    """Return which locations, by index in the grid, have another box in the two results."""
    return result.matched_rows != first.matched_rows


def format_table(results: Sequence[PresetResult]) -> list[str]:
    """Return a table with one line per implementation: positives, differences to the first, losses, detections."""
    levels = [f"P{stride.bit_length() - 1}" for stride in results[0].locations.level_strides]
    header = ["", "positives", *levels, "unassigned", "differ", "class", "box", "quality", "total", "detections"]
    lines = [header]
    for result in results:
        positive = result.assignment.positive[0]
        per_level = positive.split([lines * columns for lines, columns in result.locations.shapes])
        matched_boxes = set(result.matched_rows[positive].tolist())
        parts = (result.losses.classification, result.losses.regression, result.losses.quality, result.losses.total)
        lines.append(
            [
                result.name,
                str(int(positive.sum())),
                *(str(int(part.sum())) for part in per_level),
                str(len(result.sample.boxes) - len(matched_boxes)),
                str(int(differs(result, results[0]).sum())),
                *(f"{float(part):.3f}" for part in parts),
                str(result.detections),
            ]
        )
    widths = [max(len(cells[column]) for cells in lines) for column in range(len(header))]
    return [
        "  ".join(cell.ljust(width) if column == 0 else cell.rjust(width)
                  for column, (cell, width) in enumerate(zip(cells, widths, strict=True))).rstrip()
        for cells in lines
    ]  # fmt: skip


def identical_presets(results: Sequence[PresetResult]) -> list[str]:
    """Return the groups of implementations that assign every location the same box."""
    presets_by_targets: dict[tuple[int, ...], list[str]] = {}
    for result in results:
        presets_by_targets.setdefault(tuple(result.matched_rows.tolist()), []).append(result.name)
    return [", ".join(names) for names in presets_by_targets.values() if len(names) > 1]


def draw_comparison(results: Sequence[PresetResult]) -> Image:
    """Draw a panel per implementation, with locations in the colour of their box.

    Locations that differ from those of the first implementation are ringed.
    """
    color_index = {box: number for number, box in enumerate(sorted(Counter(_matched_rows(results))))}
    panels = []
    for result in results:
        height, width = result.sample.size
        scale = min(1.0, PANEL_SIDE / max(height, width))
        pixels = resize_image(result.sample.image, (max(1, round(height * scale)), max(1, round(width * scale))))
        differing = differs(result, results[0])
        panels.append(
            difference_panel(
                pixels,
                result.sample.boxes * scale,
                result.locations.xy * scale,
                result.locations.strides * scale,
                [color_index.get(row) for row in result.matched_rows.tolist()],
                differing,
                title=f"{result.name}: {int(result.assignment.positive.sum())} positives, "
                f"{int(differing.sum())} differ",
            )
        )
    return tile(panels, columns=2)


def _matched_rows(results: Sequence[PresetResult]) -> list[int]:
    return [row for result in results for row in result.matched_rows.unique().tolist() if row != NO_OBJECT]
