"""Coverage against a straightforward per-image numpy version: python benchmarks/coverage.py <annotations.json[.gz]>

Both count best possible recall and ambiguous locations of FCOS with FPN, v2's conventions, on one core; the counts
must be equal. Prints seconds, their ratio and the peak memory.
"""

import argparse
import resource
import time
from pathlib import Path

import numpy as np
import torch

from fcos.annotations.annotations import read_annotations
from fcos.config.model_parts import AssignmentConfig
from fcos.coverage.boxes import InputBoxes, input_boxes
from fcos.coverage.counts import count

STRIDES = (8, 16, 32, 64, 128)
RANGES = ((0, 64), (64, 128), (128, 256), (256, 512), (512, None))
CHUNK = 512


def by_image(boxes: InputBoxes, radius: float | None) -> tuple[int, int, int]:
    """Count recalled boxes, positives and ambiguous locations with a matrix of locations and boxes for each image."""
    recalled = positives = ambiguous = 0
    for image in range(len(boxes)):
        mine = boxes.boxes[boxes.offsets[image] : boxes.offsets[image + 1]]
        if not len(mine):
            continue
        height, width = boxes.sizes[image]
        area = (mine[:, 2] - mine[:, 0]) * (mine[:, 3] - mine[:, 1])
        owners = []
        for stride, (low, high) in zip(STRIDES, RANGES, strict=True):
            x = (stride // 2 + stride * np.arange(-(-width // stride))).astype(np.float32)
            y = (stride // 2 + stride * np.arange(-(-height // stride))).astype(np.float32)
            xs, ys = (grid.ravel()[:, None] for grid in np.meshgrid(x, y))
            ltrb = np.stack([xs - mine[:, 0], ys - mine[:, 1], mine[:, 2] - xs, mine[:, 3] - ys])
            far = ltrb.max(axis=0)
            admitted = (ltrb.min(axis=0) > 0) & (far >= low) & (far <= (np.inf if high is None else high))
            if radius is not None:
                away_x = np.abs(xs - (mine[:, 0] + mine[:, 2]) / 2)
                away_y = np.abs(ys - (mine[:, 1] + mine[:, 3]) / 2)
                admitted &= np.maximum(away_x, away_y) < radius * stride
            number = admitted.sum(axis=1)
            positives += int((number > 0).sum())
            ambiguous += int((number > 1).sum())
            owners.append(np.where(admitted, area, np.inf).argmin(axis=1)[number > 0])
        recalled += len(np.unique(np.concatenate(owners)))
    return recalled, positives, ambiguous


def together(boxes: InputBoxes, radius: float | None) -> tuple[int, int, int]:
    """Count the same by fcos.coverage."""
    assignment = AssignmentConfig(ranges=RANGES, ends="closed", center_sampling_radius=radius)
    sums = np.zeros(3, dtype=np.int64)
    for first in range(0, len(boxes), CHUNK):
        part = boxes.select(np.arange(first, min(first + CHUNK, len(boxes))))
        counts, _ = count(part, STRIDES, assignment)
        sums += [counts.recalled[0], counts.claims.sum(), counts.claims[1:].sum()]
    recalled, positives, ambiguous = sums.tolist()
    return recalled, positives, ambiguous


def main() -> None:
    """Measure both and compare their counts."""
    parser = argparse.ArgumentParser(description="Coverage against a per-image numpy version, as a ratio.")
    parser.add_argument("annotations", type=Path)
    parser.add_argument("--without-numpy", action="store_true", help="only fcos.coverage, for large files")
    options = parser.parse_args()
    torch.set_num_threads(1)
    began = time.perf_counter()
    boxes = input_boxes(read_annotations(options.annotations), 800, 1333, "half_up")
    print(f"{len(boxes)} images, {len(boxes.boxes)} boxes, read in {time.perf_counter() - began:.2f} s")
    for name, radius in (("every location inside a box", None), ("center sampling, radius 1.5", 1.5)):
        began = time.perf_counter()
        ours = together(boxes, radius)
        seconds = time.perf_counter() - began
        line = f"{name}: recall {100 * ours[0] / len(boxes.boxes):.2f}, ambiguous {100 * ours[2] / ours[1]:.2f}; "
        line += f"fcos.coverage {seconds:.2f} s"
        if not options.without_numpy:
            began = time.perf_counter()
            theirs = by_image(boxes, radius)
            slow = time.perf_counter() - began
            line += f", numpy {slow:.2f} s, {slow / seconds:.0f} times as long"
            if ours != theirs:
                raise SystemExit(f"{name}: the counts differ: {ours} and {theirs}")
        print(line)
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f} GiB")


if __name__ == "__main__":
    main()
