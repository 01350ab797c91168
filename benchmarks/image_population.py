"""A population of images and trainings with known effects, from which evaluations are drawn as matches."""

from dataclasses import dataclass

import numpy as np

from fcos.evaluation.matches import Matches

CLASSES = 3
# Quality from which a box is found at each of the IoU thresholds of this population.
NEEDED_QUALITY = np.array([-0.5, 0.5, 1.5])
# Of an image, on average; each has one box more.
BOXES, FALSE_POSITIVES = 1.0, 3.0


@dataclass(frozen=True)
class Effects:
    """Standard deviations of what changes the quality of a detection, beside noise of 0.7 for each.

    image: difficulty of an image. arm_by_image: what the arm changes in an image, whatever the seed. seed: what a seed
    changes in both arms, and arm_by_seed in one, by class. seed_by_image: what a training changes in an image. lift:
    mean gain of the arm.
    """

    image: float = 1.0
    arm_by_image: float = 0.5
    seed: float = 0.15
    arm_by_seed: float = 0.07
    seed_by_image: float = 0.3
    lift: float = 0.15


DIFFERING = {
    "both": "seeds and images make differences",
    "seeds": "seeds make most of the differences",
    "images": "images make most of the differences",
}
POPULATIONS = {
    "both": Effects(),
    "seeds": Effects(arm_by_image=0.1, arm_by_seed=0.25, seed_by_image=0.0),
    "images": Effects(arm_by_image=0.9, arm_by_seed=0.02, seed_by_image=0.2),
}


@dataclass(frozen=True)
class ImageSet:
    """Images with their boxes, and what an arm changes in each image."""

    difficulty: np.ndarray
    gain: np.ndarray
    # Of each box.
    image: np.ndarray
    label: np.ndarray
    box_difficulty: np.ndarray


def draw_images(num_images: int, effects: Effects, rng: np.random.Generator) -> ImageSet:
    """Draw images; each has at least one box."""
    image = np.repeat(np.arange(num_images), 1 + rng.poisson(BOXES, num_images))
    return ImageSet(
        difficulty=rng.normal(0, effects.image, num_images),
        gain=rng.normal(effects.lift, effects.arm_by_image, num_images),
        image=image,
        label=rng.integers(0, CLASSES, len(image)),
        box_difficulty=rng.normal(0, 0.7, len(image)),
    )


def draw_pair(images: ImageSet, effects: Effects, rng: np.random.Generator) -> tuple[Matches, Matches]:
    """Draw the evaluations of the baseline and of the arm with one seed."""
    seed = rng.normal(0, effects.seed, CLASSES)
    drawn = [
        _draw_training(images, gain, seed + rng.normal(0, effects.arm_by_seed, CLASSES), effects, rng)
        for gain in (np.zeros_like(images.gain), images.gain)
    ]
    return drawn[0], drawn[1]


def _draw_training(
    images: ImageSet, gain: np.ndarray, by_class: np.ndarray, effects: Effects, rng: np.random.Generator
) -> Matches:
    num_images = len(gain)
    of_image = images.difficulty + gain + rng.normal(0, effects.seed_by_image, num_images)
    quality = of_image[images.image] + images.box_difficulty + by_class[images.label]
    quality += rng.normal(0, 0.7, len(quality))
    wrong = np.repeat(np.arange(num_images), rng.poisson(FALSE_POSITIVES, num_images))
    image = np.concatenate([images.image, wrong])
    label = np.concatenate([images.label, rng.integers(0, CLASSES, len(wrong))])
    scores = np.concatenate([quality + rng.normal(0, 0.5, len(quality)), rng.normal(-0.7, 1, len(wrong))])
    found = np.concatenate([quality >= NEEDED_QUALITY[:, None], np.zeros((3, len(wrong)), dtype=bool)], axis=1)
    order = np.lexsort((-scores, label))
    return Matches(
        class_offsets=np.searchsorted(label[order], np.arange(CLASSES + 1)).astype(np.int64),
        row=order,
        image=image[order],
        scores=scores[order],
        rank=np.zeros(len(order), dtype=np.int64),
        true_positive=found[:, order],
        ignored=np.zeros_like(found),
        # Precision does not depend on which box it is.
        box=np.where(found, 0, -1)[:, order].astype(np.int32),
        positives=np.bincount(images.label * num_images + images.image, minlength=CLASSES * num_images).reshape(
            CLASSES, num_images
        ),
    )
