"""The race of a search's points over seeds: who gets a seed, who is dropped, who leads."""

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from orchestration.search.race import Contender, RaceRules, TrainSeed, decide, judge

SEEDS = (0, 1, 2)
RULES = RaceRules(SEEDS, "max", trials=20, points=4)


def points(*values: Sequence[float | None]) -> list[Contender]:
    """Return points a, b, ... with the values of their first seeds."""
    return [Contender(name, dict(zip(SEEDS, of, strict=False))) for name, of in zip("abcdefgh", values, strict=False)]


def test_points_are_drawn_before_any_gets_a_second_seed() -> None:
    assert decide([], RULES) == "sample"
    assert decide(points([0.3], [0.4], [0.2]), RULES) == "sample"
    assert decide(points([0.3], [0.4], [0.2], [0.1]), RULES) == TrainSeed("b", 1)


def test_a_point_that_was_drawn_and_not_begun_is_begun_first() -> None:
    assert decide([*points([0.3]), Contender("b", {})], RULES) == TrainSeed("b", 0)


def test_the_best_challenger_catches_up_before_the_leader_goes_on() -> None:
    assert decide(points([0.30, 0.30], [0.29], [0.28], [0.2]), RULES) == TrainSeed("b", 1)
    assert decide(points([0.30, 0.30], [0.29, 0.2], [0.28, 0.2], [0.2, 0.2]), RULES) == TrainSeed("a", 2)


def test_the_lead_is_taken_on_common_seeds_alone() -> None:
    # c is better on its one seed, and has too few; b is better over both.
    assert judge(points([0.30, 0.30], [0.29, 0.35], [0.39]), RULES).leader == "b"
    assert judge(points([0.30, 0.30], [0.29, 0.30], [0.39]), RULES).leader == "a"
    assert judge(points([0.39], [0.30, 0.35]), RULES).leader == "b"


def test_a_challenger_that_surely_loses_gets_no_more_seeds() -> None:
    near = [0.295, 0.305, 0.30]
    standings = judge(points([0.30, 0.30, 0.30], near, [0.31, 0.29, 0.297], [0.10]), RULES)
    assert (standings.leader, set(standings.lost)) == ("a", {"d"})


def test_nothing_is_dropped_while_the_spread_is_unknown() -> None:
    assert judge(points([0.30], [0.10], [0.01]), RULES).lost == set()


def test_a_point_that_failed_in_one_seed_or_was_pruned_is_out() -> None:
    failed, pruned = Contender("b", {0: 0.9, 1: None}), Contender("c", {0: 0.9}, pruned=True)
    standings = judge([*points([0.3]), failed, pruned], RULES)
    assert (standings.leader, set(standings.lost)) == ("a", {"b", "c"})


def test_less_is_better_in_a_search_for_the_minimum() -> None:
    rules = RaceRules(SEEDS, "min", 20, 2)
    assert judge(points([3.0], [2.0]), rules).leader == "b"
    assert decide(points([3.0], [2.0, 2.0]), rules) == TrainSeed("a", 1)


def test_a_running_challenger_is_waited_for_and_trainings_are_counted() -> None:
    running = Contender("b", {0: 0.29}, running=True)
    assert decide([*points([0.30, 0.30]), running], RULES, can_sample=False) == "wait"
    few = RaceRules(SEEDS, "max", trials=4, points=2)
    assert decide([*points([0.30, 0.30]), running], few) == "wait"
    assert decide(points([0.30, 0.30], [0.29, 0.29]), few) == "end"


def test_a_race_that_cannot_draw_ends_when_nothing_is_left_to_decide() -> None:
    rules = RaceRules(SEEDS, "max", trials=20, points=20)
    assert decide(points([0.3, 0.3, 0.3], [0.2, 0.2, 0.2]), rules, can_sample=False) == "end"
    assert decide([Contender("a", {0: None})], rules, can_sample=False) == "end"


@given(st.lists(st.floats(0, 1), min_size=2, max_size=9, unique=True), st.integers(1, 4), st.integers(2, 30))
def test_every_race_ends_within_its_trainings_with_the_best_of_a_noiseless_surface(
    values: list[float], num_seeds: int, trials: int
) -> None:
    rules = RaceRules.of(tuple(range(num_seeds)), "max", trials)
    results: dict[str, dict[int, float | None]] = {}
    for _ in range(trials + 1):
        contenders = [Contender(name, of) for name, of in results.items()]
        decision = decide(contenders, rules, can_sample=len(results) < len(values))
        if decision == "end":
            break
        if decision == "sample":
            decision = TrainSeed(f"t{len(results)}", 0)
        assert isinstance(decision, TrainSeed)
        of_point = results.setdefault(decision.name, {})
        assert decision.seed not in of_point
        of_point[decision.seed] = values[int(decision.name[1:])]
    assert decision == "end"
    leader = judge([Contender(name, of) for name, of in results.items()], rules).leader
    assert leader == f"t{values.index(max(values[: len(results)]))}"
