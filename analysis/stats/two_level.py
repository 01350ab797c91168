"""Intervals of a paired difference for other seeds and other images, from seeds and resamples of the images.

Two samples are behind a mean difference d over n seeds: the seeds, and the validation images. With effects of seeds S,
of images I and of both together SI, its variance is (S + SI) / n + I:

- s^2 / n, from the spread s of the differences over seeds on all images, is (S + SI) / n;
- the variance of d over resamples of the images with these seeds is I + SI / n;
- the variance over resamples of what single seeds differ by from d is SI, so that I follows.

Adding the first two would count SI / n twice (Cameron, Gelbach and Miller, Journal of Business & Economic Statistics
2011). The quantile is Student's t with Welch's and Satterthwaite's degrees of freedom: n - 1 for seeds, the number of
images - 1 for images. No interval is narrower than the t-interval from seeds alone.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from analysis.stats.weighted_ap import Weights
from fcos.statistics.holm import FAMILY_LEVEL

Floats = NDArray[np.float64]

# One sequence of resamples for every report: the same evaluations give the same intervals.
SEED = 0
# Differences that are equal but for the rounding of a subtraction vary by less.
_ROUNDING = 1e-12
# Resamples that are drawn at a time.
_CHUNK = 256


@dataclass(frozen=True)
class ImageVariance:
    """Variance that other images of the same kind bring about, in squared units of the metric.

    common: what all seeds share. by_seed: what differs from seed to seed, of a single one; 0 with a single seed.
    """

    common: float
    by_seed: float


@dataclass(frozen=True)
class TwoLevelInterval:
    """A mean paired difference with its interval for other seeds and other images.

    image_share: share of the squared standard error that other images add; NaN where nothing varies.
    """

    difference: float
    low: float
    high: float
    standard_error: float
    degrees_of_freedom: float
    image_share: float


def draw_image_weights(num_images: int, resamples: int) -> Weights:
    """Return how often each image occurs in all images and in each resample: (images, 1 + resamples).

    The first column is 1, the others are drawn with replacement, always the same. In 16 bits: of 10,000 resamples of
    5,000 images they take 100 MB.
    """
    generator = np.random.default_rng(SEED)
    shares = np.full(num_images, 1 / num_images)
    weights: Weights = np.ones((num_images, 1 + resamples), dtype=np.int16)
    for start in range(1, 1 + resamples, _CHUNK):
        count = min(_CHUNK, 1 + resamples - start)
        weights[:, start : start + count] = generator.multinomial(num_images, shares, size=count).T
    return weights


def estimate_image_variance(samples: Floats, num_images: int) -> ImageVariance | None:
    """Split the variance over resamples of the images; None below two images or two resamples with a value.

    samples: (seeds, resamples), NaN where a resample has no box of the metric.
    """
    samples = samples[:, np.isfinite(samples).all(axis=0)]
    num_seeds, num_resamples = samples.shape
    if num_images < 2 or num_resamples < 2 or num_seeds < 1:
        return None
    # A resample has the variance of the sample, which is too small by this.
    correction = num_images / (num_images - 1)
    of_mean = float(samples.mean(axis=0).var(ddof=1)) * correction
    if num_seeds == 1:
        return ImageVariance(common=of_mean, by_seed=0.0)
    centred = samples - samples.mean(axis=1, keepdims=True)
    by_seed = float(centred.var(axis=0, ddof=1).sum()) / (num_resamples - 1) * correction
    return ImageVariance(common=max(0.0, of_mean - by_seed / num_seeds), by_seed=by_seed)


def estimate_two_level(
    differences: Floats, resampled: Floats, num_images: int, level: float = FAMILY_LEVEL
) -> TwoLevelInterval | None:
    """Return the interval of a mean paired difference; None below two seeds, images or resamples with a value.

    differences: of each seed on all images. resampled: (seeds, resamples), see estimate_image_variance. level: one
    minus the confidence.
    """
    num_seeds = len(differences)
    of_images = estimate_image_variance(resampled, num_images)
    if num_seeds < 2 or of_images is None or not np.isfinite(differences).all():
        return None
    mean = float(differences.mean())
    of_seeds = float(differences.var(ddof=1)) / num_seeds
    variance = of_seeds + of_images.common
    error = math.sqrt(variance)
    if error < _ROUNDING:
        return TwoLevelInterval(mean, mean, mean, 0.0, math.inf, math.nan)
    image_share = of_images.common / variance
    freedom = 1 / ((1 - image_share) ** 2 / (num_seeds - 1) + image_share**2 / (num_images - 1))
    # With few seeds a chance value of the images' part would else make the interval narrower than that of seeds alone.
    half_width = max(
        float(stdtrit(freedom, 1 - level / 2)) * error,
        float(stdtrit(num_seeds - 1, 1 - level / 2)) * math.sqrt(of_seeds),
    )
    return TwoLevelInterval(
        difference=mean,
        low=mean - half_width,
        high=mean + half_width,
        standard_error=error,
        degrees_of_freedom=freedom,
        image_share=image_share,
    )
