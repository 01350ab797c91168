"""Train with an assignment of your own, beside the configured one: python examples/own_assignment.py [FOLDER]

The rule is given as a function. Configuration files never name code: a rule that experiments shall compare becomes one
of the project's own, a file in fcos/assignment/ and a branch in `build_assign` (docs/api.md).
"""

import sys
from pathlib import Path

import torch
from torch import Tensor

import fcos


def inner_half(boxes: Tensor, xy: Tensor, strides: Tensor) -> Tensor:
    """Assign a location to the smallest box whose inner half it lies in, on the level that suits the box.

    boxes: M x 4, x1 y1 x2 y2. xy: P x 2. strides: P. Returns the index of the box of each location, -1 for none.
    """
    centers, sides = (boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]
    is_inner = ((xy[:, None] - centers).abs() < sides / 4).all(2)
    areas = sides.prod(1)
    # Strides of 8, 16, ... for boxes of 32, 64, ... pixels.
    wanted = (areas.sqrt() / 4).clamp(float(strides.min()), float(strides.max())).log2().round()
    is_candidate = is_inner & (strides.log2()[:, None] == wanted)
    cost = areas.expand(len(xy), -1).where(is_candidate, torch.inf)
    least, index = cost.min(1)
    return index.where(least.isfinite(), -1)


def main(folder: Path, steps: int = 150) -> dict[str, fcos.Training]:
    """Draw both assignments of one image, and train a detector with each."""
    config = fcos.configure(
        changes={
            "data.synthetic": {"image_size": 96, "train_images": 200, "val_images": 40, "object_size": [12, 60]},
            "schedule.steps": steps,
            "schedule.warmup_steps": steps // 2,
        }
    )
    folder.mkdir(parents=True, exist_ok=True)
    trainings = {}
    for name, match in {"configured": None, "own": inner_half}.items():
        drawn = fcos.draw_assignment(config, match=match)
        drawn.picture.save(folder / f"{name}.png")
        training = fcos.train(config, folder / name, match=match)
        print(f"{name}: {drawn.lines[0]}; AP {training.metrics['val/AP']:.3f} after {training.step} steps")
        trainings[name] = training
    return trainings


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "outputs/own_assignment"))
