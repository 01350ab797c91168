"""The variance is split into that of seeds and that of images, and the interval covers both."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from analysis.stats.two_level import draw_image_weights, estimate_image_variance, estimate_two_level

SEEDS, IMAGES, RESAMPLES = 4, 200, 3000


def resampled_means(by_image: np.ndarray) -> np.ndarray:
    """Return means over images, of all and of resamples: (seeds, 1 + resamples). by_image: (seeds, images)."""
    weights = draw_image_weights(by_image.shape[1], RESAMPLES)
    means: np.ndarray = by_image @ weights / by_image.shape[1]
    return means


def draw(seed: int, common: float, by_seed: float) -> np.ndarray:
    """Return values of each seed and image: what all seeds share, and what differs, with these deviations."""
    rng = np.random.default_rng(seed)
    return rng.normal(0, common, IMAGES) + rng.normal(0, by_seed, (SEEDS, IMAGES))


def test_the_first_weights_are_all_images_once_and_each_resample_has_as_many() -> None:
    weights = draw_image_weights(30, 200)
    assert weights[:, 0].tolist() == [1] * 30
    assert weights.shape == (30, 201)
    assert (weights.sum(axis=0) == 30).all()
    assert (weights[:, 1:].max(axis=0) > 1).all()


def test_resamples_are_always_the_same_and_fewer_are_the_first_of_more() -> None:
    assert (draw_image_weights(30, 50) == draw_image_weights(30, 200)[:, :51]).all()


@pytest.mark.parametrize("seed", range(3))
def test_the_variance_of_images_is_that_of_a_mean_of_their_common_part(seed: int) -> None:
    by_image = draw(seed, common=1.0, by_seed=0.5)
    variance = estimate_image_variance(resampled_means(by_image)[:, 1:], IMAGES)
    assert variance is not None
    # Of a mean the bootstrap's variance is known: that of the values, divided by their number.
    of_mean = by_image.mean(axis=0).var(ddof=1) / IMAGES
    assert variance.common + variance.by_seed / SEEDS == pytest.approx(of_mean, rel=0.1)
    rest = by_image - by_image.mean(axis=0)
    assert variance.by_seed == pytest.approx(rest.var(axis=1, ddof=1).sum() / (SEEDS - 1) / IMAGES, rel=0.1)


def test_images_that_change_each_seed_on_its_own_add_almost_nothing() -> None:
    samples = resampled_means(draw(0, common=0.0, by_seed=1.0))
    interval = estimate_two_level(samples[:, 0], samples[:, 1:], IMAGES)
    assert interval is not None
    assert interval.image_share < 0.3


def test_without_images_that_matter_the_interval_is_that_of_the_seeds() -> None:
    differences = np.array([0.01, 0.03, 0.02])
    interval = estimate_two_level(differences, np.repeat(differences[:, None], 50, axis=1), IMAGES, level=0.1)
    assert interval is not None
    low, high = stats.t.interval(0.9, 2, differences.mean(), stats.sem(differences))
    assert (interval.low, interval.high) == pytest.approx((low, high))
    assert interval.image_share == 0
    assert interval.degrees_of_freedom == pytest.approx(2)


def test_without_seeds_that_matter_the_interval_is_that_of_the_images() -> None:
    samples = resampled_means(np.repeat(draw(1, common=1.0, by_seed=0.0)[:1], SEEDS, axis=0))
    interval = estimate_two_level(samples[:, 0], samples[:, 1:], IMAGES)
    assert interval is not None
    assert interval.image_share == pytest.approx(1)
    assert interval.degrees_of_freedom == pytest.approx(IMAGES - 1)
    assert interval.standard_error == pytest.approx(samples[0, 1:].std(ddof=1), rel=0.01)


@settings(deadline=None, max_examples=50)
@given(seed=st.integers(0, 1000), common=st.floats(0, 2), by_seed=st.floats(0, 2), shift=st.floats(-1, 1))
def test_the_interval_is_around_the_mean_and_no_surer_than_the_seeds(
    seed: int, common: float, by_seed: float, shift: float
) -> None:
    samples = (draw(seed, common, by_seed) + shift)[:, :51] / 10
    interval = estimate_two_level(samples[:, 0], samples[:, 1:], IMAGES)
    assert interval is not None
    assert interval.low <= interval.difference <= interval.high
    assert interval.difference == pytest.approx(samples[:, 0].mean())
    error = samples[:, 0].std(ddof=1) / np.sqrt(SEEDS)
    assert interval.standard_error >= error - 1e-11
    assert interval.high - interval.low >= 2 * stats.t.ppf(0.975, SEEDS - 1) * error - 1e-10


def test_differences_that_never_vary_have_an_interval_of_no_width() -> None:
    interval = estimate_two_level(np.full(3, 0.5), np.full((3, 20), 0.5), IMAGES)
    assert interval is not None
    assert (interval.low, interval.high, interval.standard_error) == (0.5, 0.5, 0)


def test_resamples_without_a_value_are_left_out() -> None:
    samples = resampled_means(draw(2, 1.0, 0.5))
    holes = samples.copy()
    holes[:, 5] = np.nan
    expected = estimate_two_level(samples[:, 0], np.delete(samples[:, 1:], 4, axis=1), IMAGES)
    assert estimate_two_level(holes[:, 0], holes[:, 1:], IMAGES) == expected


def test_one_seed_one_image_or_no_resample_gives_no_interval() -> None:
    samples = resampled_means(draw(3, 1.0, 0.5))
    assert estimate_two_level(samples[:1, 0], samples[:1, 1:], IMAGES) is None
    assert estimate_two_level(samples[:, 0], samples[:, 1:], 1) is None
    assert estimate_two_level(samples[:, 0], samples[:, 1:1], IMAGES) is None
