"""What each augmentation adds to the loading of an image: python benchmarks/augmentation.py [ROUNDS]

JPEG files of 640x480 to samples with 800 pixels on the short side, in one thread, each augmentation with probability 1.
Rounds go over all of them in turn, so that a busy machine is as busy for each; medians, and ratios to none.
"""

import statistics
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import torch
from data_pipeline import draw_jpegs, make_dataset

from fcos.config.augmentation import AugmentationConfig
from fcos.data.coco import CocoDataset
from fcos.data.masks import MASK_SIDE
from fcos.data.sample_settings import SampleSettings
from fcos.studies.draw_augmentation import ALONE

IMAGES = 8


def datasets(folder: Path, side: int) -> dict[str, CocoDataset]:
    """Return the same images, without an augmentation and with each of them."""
    draw_jpegs(folder, IMAGES)
    plain = make_dataset(folder, side)
    # Whole boxes as masks.
    packed = torch.full((len(plain.annotations.boxes), MASK_SIDE * MASK_SIDE // 8), 255, dtype=torch.uint8)
    masked = replace(plain.annotations, masks=packed.numpy())

    def with_settings(augmentation: AugmentationConfig, pastes: bool) -> CocoDataset:
        settings: SampleSettings = replace(plain.settings, augmentation=augmentation, masks=False)
        return CocoDataset(masked if pastes else plain.annotations, folder, settings, training=True, seed=0)

    found = {"none": with_settings(AugmentationConfig(), False)}
    return found | {
        name: with_settings(AugmentationConfig(**values), name == "copy_paste") for name, values in ALONE.items()
    }


def seconds_of(dataset: CocoDataset, epoch: int) -> float:
    """Time to load all images once."""
    start = time.perf_counter()
    for index in range(len(dataset)):
        dataset[epoch, index]
    return time.perf_counter() - start


def main(rounds: int) -> None:
    """Measure and print one line each."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        measured = datasets(Path(name), 800)
        times: dict[str, list[float]] = {each: [] for each in measured}
        for epoch in range(rounds):
            for each, dataset in measured.items():
                times[each].append(seconds_of(dataset, epoch))
    medians = {each: statistics.median(values[1:] or values) for each, values in times.items()}
    for each, median in medians.items():
        print(f"{each:<14} {1000 * median / IMAGES:7.1f} ms per image {median / medians['none']:6.2f}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 6)
