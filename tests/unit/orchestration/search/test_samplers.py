"""Samplers of a search: what one seed of its generator draws, no other one draws."""

from fcos.config.parse import parse
from orchestration.config.search import Distribution, StrategyConfig
from orchestration.search.samplers import generator_seed, make_searcher, propose

SPACE = {"rate": parse(Distribution, {"loguniform": [0.001, 1.0]})}


def draw(seed: int, turns: int) -> list[float]:
    """Return the first points of a search whose trainings have not ended: TPE draws them at random."""
    strategy = StrategyConfig(searcher="tpe", seed=seed)
    return [propose(strategy, SPACE, ["max"], [], sampled=turn)["rate"] for turn in range(turns)]


def test_searches_with_neighbouring_seeds_have_no_point_in_common() -> None:
    drawn = [rate for seed in range(3) for rate in draw(seed, 6)]
    assert len(set(drawn)) == len(drawn)


def test_a_point_follows_from_seed_and_turn_alone() -> None:
    assert draw(1, 3) == draw(1, 3)


def test_a_later_command_does_not_draw_what_the_first_one_of_another_seed_drew() -> None:
    known = [({"rate": value}, value) for value in (0.1, 0.2, 0.3)]
    later = make_searcher(StrategyConfig(searcher="tpe"), SPACE, "max", known)
    first = make_searcher(StrategyConfig(searcher="tpe", seed=3), SPACE, "max", [])
    assert later.suggest("a") != first.suggest("a")


def test_every_seed_of_a_generator_is_one_that_numpy_takes() -> None:
    seeds = [generator_seed(seed, turn) for seed in (0, 1, 2**40) for turn in range(50)]
    assert len(set(seeds)) == len(seeds) and all(0 <= seed < 2**32 for seed in seeds)
