"""Variance by source of chance, its interval, and what it lets a sweep see."""

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.reader.sweep import Experiment
from analysis.stats.noise import (
    ValidationNoise,
    collect_metric_noise,
    compute_resolutions,
    compute_spread,
    find_sources,
    share_factor,
    sum_sources,
    summarise_noise,
    validation_share,
)
from fcos.storage.noise_floor import Spread

EXPERIMENT = Experiment(
    name="floor",
    kind="noise_floor",
    baseline="all",
    arms={
        "all": {"seeds.weights": None, "seeds.order": None, "seeds.augmentation": None},
        "weights": {"seeds.order": 0, "seeds.augmentation": 0},
        "order": {"seeds.weights": 0, "seeds.augmentation": 0},
        "augmentation": {"seeds.weights": 0, "seeds.order": 0},
        "kernels": {"seeds.weights": 0, "seeds.order": 0, "seeds.augmentation": 0},
    },
    seeds=[0, 1, 2],
    metrics=["val/AP"],
)


def values_of(numbers: dict[str, list[float]], metric: str = "val/AP") -> pd.DataFrame:
    rows = [(metric, arm, seed, value) for arm, of_arm in numbers.items() for seed, value in enumerate(of_arm)]
    return pd.DataFrame(rows, columns=["metric", "arm", "seed", "value"])


THREE = {"all": [0.30, 0.34, 0.38], "weights": [0.30, 0.33, 0.36], "order": [0.30, 0.32, 0.34]}
WHOLE = {**THREE, "augmentation": [0.30, 0.31, 0.32], "kernels": [0.30, 0.30, 0.30]}


def test_a_source_varies_where_its_own_seed_is_not_given() -> None:
    assert find_sources(EXPERIMENT) == {
        "all": ("weights", "order", "augmentation"),
        "weights": ("weights",),
        "order": ("order",),
        "augmentation": ("augmentation",),
        "kernels": (),
    }


def test_variances_of_sources_their_shares_and_their_sum() -> None:
    noises = summarise_noise(values_of(WHOLE), EXPERIMENT, "all")
    assert {noise.arm: noise.spread.deviation for noise in noises if noise.spread} == pytest.approx(
        {"all": 0.04, "weights": 0.03, "order": 0.02, "augmentation": 0.01, "kernels": 0.0}
    )
    assert {noise.arm: noise.share for noise in noises} == pytest.approx(
        {"all": 1, "weights": 9 / 16, "order": 4 / 16, "augmentation": 1 / 16, "kernels": 0}
    )
    total = sum_sources(noises, "val/AP", "all")
    assert total is not None
    assert total.spread.deviation == pytest.approx(math.sqrt(0.0014)) and total.share == pytest.approx(14 / 16)
    # Satterthwaite: (9 + 4 + 1)**2 / ((81 + 16 + 1) / 2) = 4 degrees of freedom; chi-square quantiles 0.4844, 11.143.
    assert total.spread.low == pytest.approx(math.sqrt(0.0014 * 4 / 11.143), rel=1e-3)
    assert total.spread.high == pytest.approx(math.sqrt(0.0014 * 4 / 0.4844), rel=1e-3)


def test_without_an_arm_for_each_source_there_is_no_sum() -> None:
    noises = summarise_noise(values_of(THREE), EXPERIMENT, "all")
    assert sum_sources(noises, "val/AP", "all") is None


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_seeds_without_a_finite_value_are_named_and_do_not_count(value: float) -> None:
    (noise,) = summarise_noise(values_of({"all": [0.30, value, 0.34]}), EXPERIMENT, "all")
    assert (noise.n, noise.missing) == (2, (1,))
    assert noise.mean == pytest.approx(0.32)
    assert noise.spread is not None and noise.spread.deviation == pytest.approx(np.std([0.30, 0.34], ddof=1))


def test_values_too_large_for_a_variance_have_no_spread() -> None:
    (noise,) = summarise_noise(values_of({"all": [1e200, -1e200]}), EXPERIMENT, "all")
    assert noise.spread is None and collect_metric_noise([noise], "all") == {}


def test_one_seed_has_no_spread_and_leaves_no_noise() -> None:
    noises = summarise_noise(values_of({"all": [0.3]}), EXPERIMENT, "all")
    assert noises[0].spread is None and math.isnan(noises[0].share)
    assert collect_metric_noise(noises, "all") == {}


def test_equal_values_have_no_noise_whatever_their_mean_rounds_to() -> None:
    assert compute_spread([0.1] * 6) == Spread(seeds=6, deviation=0, low=0, high=0)


def test_the_interval_covers_the_true_deviation_in_95_percent_of_samples() -> None:
    draws = np.random.default_rng(0).normal(0.3, 0.02, (1000, 6))
    spreads = [compute_spread(row.tolist()) for row in draws]
    covered = sum(spread is not None and spread.low <= 0.02 <= spread.high for spread in spreads)
    # Three standard errors of a share of 0.95 of 1,000.
    assert covered == pytest.approx(950, abs=21)


@given(st.lists(st.floats(0, 1), min_size=2, max_size=20))
def test_the_deviation_lies_in_its_interval(values: list[float]) -> None:
    spread = compute_spread(values)
    assert spread is not None and 0 <= spread.low <= spread.deviation
    # The interval of two values ends at 31.9 times the deviation, of twenty at 1.46 times.
    assert spread.high >= spread.deviation


def test_resolutions_scale_with_the_noise_and_few_seeds_show_nothing() -> None:
    one, two = (
        {item.seeds: item for item in compute_resolutions(Spread(seeds=6, deviation=each, low=each / 2, high=2 * each))}
        for each in (0.01, 0.02)
    )
    assert all(math.isinf(value) for value in (one[3].counts_from, one[3].shows, one[3].shows_low, one[3].shows_high))
    # 4.303 * sqrt(2) * 0.01 / sqrt(3)
    assert one[3].t == pytest.approx(0.0351, abs=1e-4)
    for seeds in (6, 8, 12):
        assert two[seeds].shows == pytest.approx(2 * one[seeds].shows)
        assert one[seeds].shows_high == pytest.approx(4 * one[seeds].shows_low)
        assert one[seeds].counts_from < one[seeds].shows
    assert one[3].t > one[6].t > one[8].t > one[12].t


def test_a_share_of_six_seeds_is_known_to_a_factor_of_seven() -> None:
    # F quantiles of 0.975 at 5, 5 and 2, 2 degrees of freedom, from a table.
    assert share_factor(6, 6) == pytest.approx(7.146, abs=1e-3)
    assert share_factor(3, 3) == pytest.approx(39.0, abs=1e-3)


def test_of_unequal_numbers_of_seeds_the_wider_side_is_given_whichever_is_fewer() -> None:
    # At 5, 2 and at 2, 5 degrees of freedom: 39.298 and 8.434.
    assert share_factor(3, 6) == share_factor(6, 3) == pytest.approx(39.298, abs=1e-3)


def test_no_noise_resolves_everything_from_six_seeds_on() -> None:
    shown = {item.seeds: item.shows for item in compute_resolutions(Spread(seeds=6, deviation=0, low=0, high=0))}
    assert shown[6] == 0 and math.isinf(shown[3])


def test_the_validation_sample_adds_to_the_variance_of_seeds() -> None:
    assert validation_share(0.03, ValidationNoise(variance=0.0003, images=300, resamples=1000)) == pytest.approx(0.25)
    assert math.isnan(validation_share(0.0, ValidationNoise(variance=0.0, images=300, resamples=1000)))


def test_noise_of_a_metric_has_its_sources() -> None:
    noise = collect_metric_noise(summarise_noise(values_of(WHOLE), EXPERIMENT, "all"), "all")["val/AP"]
    assert noise.seeds == 3 and noise.mean == pytest.approx(0.34)
    assert {source: spread.deviation for source, spread in noise.sources.items()} == pytest.approx(
        {"weights": 0.03, "order": 0.02, "augmentation": 0.01}
    )
