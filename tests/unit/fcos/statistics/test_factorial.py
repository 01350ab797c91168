"""Factorial designs: cells, contrasts beside a least-squares fit, what a fraction adds to an effect."""

from collections.abc import Sequence
from functools import reduce
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fcos.statistics.aliases import describe_aliases, describe_fraction, list_aliases
from fcos.statistics.factorial import Effect, Factor, FactorialDesign, measure_effect


def make_design(counts: Sequence[int], generators: Sequence[str] = (), claimed: Sequence[str] = ()) -> FactorialDesign:
    """Return a design of factors a, b, c, ... with so many levels a0, a1, ..."""
    factors = tuple(
        Factor(name, tuple(f"{name}{level}" for level in range(count)))
        for name, count in zip("abcdefghi", counts, strict=False)
    )
    return FactorialDesign(factors, tuple(generators), tuple(claimed))


def effect_of(design: FactorialDesign, name: str) -> Effect:
    return next(effect for effect in design.effects if effect.name == name)


def test_cells_are_all_combinations_and_the_first_is_the_baseline() -> None:
    design = make_design([2, 3])
    assert design.arms == ("a0+b0", "a0+b1", "a0+b2", "a1+b0", "a1+b1", "a1+b2")
    assert [effect.name for effect in design.effects] == ["a", "b:b1", "b:b2", "a*b:b1", "a*b:b2"]
    assert describe_fraction(design) == "all of them"


def test_the_baseline_is_in_every_fraction() -> None:
    assert make_design([2] * 3, ["c=a*b"]).arms == ("a0+b0+c0", "a0+b1+c1", "a1+b0+c1", "a1+b1+c0")
    assert make_design([2] * 5, ["d=a*b", "e=a*b*c"]).cells[0] == ("a0", "b0", "c0", "d0", "e0")


def test_an_interaction_is_a_difference_of_differences() -> None:
    design = make_design([2, 2])
    rows: list[list[float | None]] = [
        [10.0, 11.0, 13.0, 19.0],
        [10.0, None, 13.0, 19.0],
        [10.0, float("inf"), 13.0, 19.0],
    ]
    assert measure_effect(design, effect_of(design, "a"), rows) == [pytest.approx(5.5), None, None]
    assert measure_effect(design, effect_of(design, "b"), rows)[0] == pytest.approx(3.5)
    assert measure_effect(design, effect_of(design, "a*b"), rows)[0] == pytest.approx((19 - 11) - (13 - 10))


def fit_full_model(counts: Sequence[int], values: np.ndarray) -> tuple[np.ndarray, list[np.ndarray]]:
    """Fit every main effect and interaction by least squares, coded so that effects sum to zero over levels.

    Returns the coefficients, an axis for each factor whose index 0 is its absence, and the codes of each factor's
    levels.
    """
    codes = [np.vstack([np.eye(count - 1), -np.ones(count - 1)]) for count in counts]
    bases = [np.hstack([np.ones((len(code), 1)), code]) for code in codes]
    coefficients, *_ = np.linalg.lstsq(reduce(np.kron, bases), values, rcond=None)
    return coefficients.reshape(counts), codes


@settings(deadline=None, max_examples=60)
@given(st.lists(st.integers(2, 4), min_size=2, max_size=3), st.integers(0, 2**32 - 1))
def test_contrasts_equal_a_least_squares_fit_of_the_full_model(counts: list[int], seed: int) -> None:
    design = make_design(counts)
    values = np.random.default_rng(seed).normal(size=len(design.cells))
    coefficients, codes = fit_full_model(counts, values)
    names = list(design.names)
    for effect in design.effects:
        axes = [names.index(factor) for factor, _ in effect.levels]
        chosen = tuple(slice(1, None) if axis in axes else 0 for axis in range(len(counts)))
        term = coefficients[chosen]
        for position, axis in enumerate(axes):
            term = np.moveaxis(np.tensordot(codes[axis], term, axes=(1, position)), 0, position)
        fitted = term
        for _, level in reversed(effect.levels):
            index = int(level[1:])
            fitted = fitted[..., index] - fitted[..., 0]
        assert design.make_contrast(effect) @ values == pytest.approx(float(fitted), abs=1e-9)


FRACTIONS = ((3, ["c=a*b"]), (4, ["d=a*b*c"]), (5, ["d=a*b", "e=a*c"]), (5, ["e=a*b*c*d"]), (6, ["e=a*b*c", "f=b*c*d"]))


@settings(deadline=None, max_examples=60)
@given(st.sampled_from(FRACTIONS), st.integers(0, 2**32 - 1))
def test_a_fraction_measures_an_effect_plus_its_aliases(fraction: tuple[int, list[str]], seed: int) -> None:
    count, generators = fraction
    whole, design = make_design([2] * count), make_design([2] * count, generators)
    generator = np.random.default_rng(seed)
    words = [word for size in range(count + 1) for word in combinations(design.names, size)]
    coefficients = {frozenset(word): generator.normal() for word in words}

    def value_of(cell: tuple[str, ...]) -> float:
        signs = {name: 1 if level.endswith("1") else -1 for name, level in zip(design.names, cell, strict=True)}
        return sum(value * np.prod([signs[name] for name in word]) for word, value in coefficients.items())

    sizes = {word: 2 ** len(word) * value for word, value in coefficients.items()}
    values = [value_of(cell) for cell in design.cells]
    assert len(values) == len(whole.cells) >> len(generators)
    for effect in design.effects:
        aliases = list_aliases(design, effect)
        assert len(aliases) == 2 ** len(generators) - 1
        expected = sizes[effect.word] + sum(
            alias.coefficient * sizes[frozenset(alias.name.split("*"))] for alias in aliases
        )
        assert design.make_contrast(effect) @ values == pytest.approx(expected, abs=1e-9)


def test_aliases_of_half_of_four_factors() -> None:
    design = make_design([2] * 4, ["d=a*b*c"])
    assert design.resolution == "IV"
    assert describe_fraction(design) == "a fraction of resolution IV, I = a*b*c*d"
    assert {effect.name: describe_aliases(design, effect) for effect in design.effects} == {
        **dict.fromkeys("abcd", "1 of 3 or more factors"),
        "a*b": "+c*d",
        "a*c": "+b*d",
        "a*d": "+b*c",
    }


def test_aliases_of_half_of_three_factors() -> None:
    design = make_design([2] * 3, ["c=a*b"])
    assert describe_fraction(design) == "a fraction of resolution III, I = -a*b*c"
    assert {effect.name: describe_aliases(design, effect) for effect in design.effects} == {
        "a": "-0.5 b*c",
        "b": "-0.5 a*c",
        "c": "-0.5 a*b",
    }


def test_of_aliased_interactions_the_claimed_one_is_kept_and_alone_tested() -> None:
    design = make_design([2] * 4, ["d=a*b*c"], ["c*d", "a"])
    assert [effect.name for effect in design.effects] == ["a", "b", "c", "d", "a*c", "a*d", "c*d"]
    assert [effect.name for effect in design.tested] == ["a", "c*d"]


@pytest.mark.parametrize(
    ("counts", "generators", "claimed", "message"),
    [
        ([2], [], [], "factors: 1 given; give 2 to 8"),
        ([2] * 9, [], [], "factors: 9 given"),
        ([2, 1], [], [], r"factors\.b: has the one level b0; give two or more"),
        ([5, 5, 3], [], [], "factors: have 75 cells"),
        ([2] * 7, [], [], "factors: have 128 cells"),
        ([2, 3, 2], ["c=a*b"], [], "fraction: b has 3 levels"),
        ([2] * 3, ["c=a"], [], r"fraction: c=a: would not separate the main effects of a\*c"),
        ([2] * 4, ["c=a*b", "d=a*b"], [], r"would not separate the main effects of c\*d"),
        ([2] * 4, ["c=a*b", "a=b*c"], [], "one of them follows from the others"),
        ([2] * 3, ["d=a*b"], [], "fraction: d=a\\*b: d is no factor"),
        ([2] * 3, [], ["a*d"], r"claimed_effects: a\*d is no factor and no interaction of two, such as a\*b"),
        ([2] * 3, [], ["a*b*c"], r"claimed_effects: a\*b\*c is no factor"),
        ([2] * 3, [], ["a*a"], r"claimed_effects: a\*a is no factor"),
        ([2] * 3, ["c=a*b"], ["a*b"], r"a\*b is aliased with c, a main effect, in the fraction c=a\*b"),
        ([2] * 4, ["d=a*b*c"], ["a*b", "c*d"], r"a\*b is aliased with c\*d, claimed too"),
    ],
)
def test_what_is_no_design_is_refused(
    counts: list[int], generators: list[str], claimed: list[str], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        make_design(counts, generators, claimed)
