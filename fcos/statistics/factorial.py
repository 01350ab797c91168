"""Factorial designs: the cells of several factors, and effects as contrasts over them.

A main effect is the mean over the cells with a level minus the mean over those with the first level of its factor. An
interaction is the effect of one factor with the other's level, minus its effect with the other's first level; which of
the two is taken first makes no difference. Both are in the unit of what is measured, averaged over all other factors.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations, product

import numpy as np
from numpy.typing import NDArray

from fcos.statistics.fraction import (
    LEAST_RESOLUTION,
    ROMAN,
    Word,
    expand_relation,
    format_word,
    get_resolution,
    parse_generator,
)

Floats = NDArray[np.float64]

MAX_FACTORS = 8
MAX_CELLS = 64
# Largest number of factors in an effect.
MAX_ORDER = 2


@dataclass(frozen=True)
class Factor:
    """A factor and its levels, of which the first is the baseline's."""

    name: str
    levels: tuple[str, ...]


@dataclass(frozen=True)
class Effect:
    """A main effect, or an interaction of two factors.

    levels: factor and the level that is held against its first one. name: norm*loss, with the level of a factor that
    has more than two: norm:bn*loss.
    """

    name: str
    levels: tuple[tuple[str, str], ...]

    @property
    def word(self) -> Word:
        """The factors."""
        return frozenset(factor for factor, _ in self.levels)

    @property
    def is_interaction(self) -> bool:
        """Whether it is one of two factors."""
        return len(self.levels) > 1


class AliasedClaimsError(ValueError):
    """A fraction aliases claimed effects, which another fraction, or all cells, may keep apart."""


@dataclass(frozen=True)
class FactorialDesign:
    """All cells of several factors, or those of a fraction; raises ValueError for what is no design.

    generators: of a fraction, see fcos.statistics.fraction. claimed: effects that a claim is about, by their factors
    (norm, norm*loss); no fraction may alias them with each other or with a main effect.
    """

    factors: tuple[Factor, ...]
    generators: tuple[str, ...] = ()
    claimed: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_factors(self.factors)
        _check_fraction(self)
        if aliased := self.find_aliased_claims():
            raise AliasedClaimsError(f"claimed_effects: {aliased}")

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The names of the factors."""
        return tuple(factor.name for factor in self.factors)

    @cached_property
    def relation(self) -> tuple[Word, ...]:
        """The defining relation of a fraction; empty for all cells."""
        return expand_relation([parse_generator(text, self.names) for text in self.generators])

    @property
    def resolution(self) -> str:
        """The resolution of a fraction in Roman numerals, "" for all cells."""
        return ROMAN[get_resolution(self.relation)] if self.relation else ""

    @cached_property
    def cells(self) -> tuple[tuple[str, ...], ...]:
        """The levels of each cell in the order of the factors; the first cell is the baseline."""
        words = [parse_generator(text, self.names) for text in self.generators]
        indices = product(*(range(len(factor.levels)) for factor in self.factors))
        chosen = [cell for cell in indices if not any(self._count_second(cell, word) % 2 for word in words)]
        return tuple(
            tuple(factor.levels[index] for factor, index in zip(self.factors, cell, strict=True)) for cell in chosen
        )

    def _count_second(self, cell: Sequence[int], word: Word) -> int:
        return sum(index for name, index in zip(self.names, cell, strict=True) if name in word)

    @property
    def arms(self) -> tuple[str, ...]:
        """The names of the cells as arms: gn+giou."""
        return tuple("+".join(cell) for cell in self.cells)

    @cached_property
    def claimed_words(self) -> tuple[Word, ...]:
        """The factors of the claimed effects."""
        return tuple(dict.fromkeys(self._parse_effect(text) for text in self.claimed))

    def _parse_effect(self, text: str) -> Word:
        names = [name.strip() for name in text.split("*")]
        known = all(name in self.names for name in names) and len(set(names)) == len(names) <= MAX_ORDER
        if not known:
            rule = f"is no factor and no interaction of two, such as {'*'.join(self.names[:2])}"
            raise ValueError(f"claimed_effects: {text} {rule}; the factors are {', '.join(self.names)}")
        return frozenset(names)

    @cached_property
    def effects(self) -> tuple[Effect, ...]:
        """The main effects and interactions of two factors that the cells separate from each other.

        Of several that are aliased the main effect is here, or else a claimed one, or else the first.
        """
        orders = [combinations(self.names, order) for order in range(1, MAX_ORDER + 1)]
        words = [frozenset(names) for of_order in orders for names in of_order]
        kept: list[Word] = []
        for word in sorted(words, key=lambda word: (len(word) > 1, word not in self.claimed_words)):
            if not any(word ^ other in self.relation for other in kept):
                kept.append(word)
        return tuple(effect for word in words if word in kept for effect in self._make_effects(word))

    @property
    def tested(self) -> tuple[Effect, ...]:
        """The family of a correction: the claimed effects, or else all of them."""
        return tuple(effect for effect in self.effects if not self.claimed or effect.word in self.claimed_words)

    def _make_effects(self, word: Word) -> list[Effect]:
        """Return an effect for each combination of levels beside the first ones."""
        factors = [factor for factor in self.factors if factor.name in word]
        choices = [[(factor, level) for level in factor.levels[1:]] for factor in factors]
        return [
            Effect("*".join(_name_level(*each) for each in chosen), tuple((each.name, level) for each, level in chosen))
            for chosen in product(*choices)
        ]

    def make_contrast(self, effect: Effect) -> Floats:
        """Return the weight of each cell in an effect: (cells,), of sum 0."""
        first = {factor.name: factor.levels[0] for factor in self.factors}
        weights = np.zeros(len(self.cells))
        for corner in product(*(((name, level, 1.0), (name, first[name], -1.0)) for name, level in effect.levels)):
            inside = np.array(
                [all(cell[self.names.index(name)] == level for name, level, _ in corner) for cell in self.cells]
            )
            weights += np.prod([sign for _, _, sign in corner]) * inside / inside.sum()
        return weights

    def find_aliased_claims(self) -> str:
        """Describe the first claimed effect that is aliased with another one or a main effect; "" without any."""
        mains = [frozenset({name}) for name in self.names]
        for word in self.claimed_words:
            for other in (*mains, *self.claimed_words):
                if word ^ other in self.relation:
                    what = "a main effect" if len(other) == 1 else "claimed too"
                    pair = [format_word(each, self.names) for each in (word, other)]
                    return f"{pair[0]} is aliased with {pair[1]}, {what}, in the fraction {', '.join(self.generators)}"
        return ""


def _name_level(factor: Factor, level: str) -> str:
    return factor.name if len(factor.levels) == 2 else f"{factor.name}:{level}"


def check_factors(factors: Sequence[Factor]) -> None:
    """Raise ValueError for too few or too many factors, and for one without two levels."""
    if not 2 <= len(factors) <= MAX_FACTORS:
        raise ValueError(f"factors: {len(factors)} given; give 2 to {MAX_FACTORS}, and arms for a single one")
    for factor in factors:
        if len(factor.levels) < 2:
            raise ValueError(f"factors.{factor.name}: has the one level {', '.join(factor.levels)}; give two or more")


def _check_fraction(design: FactorialDesign) -> None:
    """Raise ValueError for generators that are no fraction, and for too many cells."""
    if design.generators:
        for factor in design.factors:
            if len(factor.levels) > 2:
                raise ValueError(
                    f"fraction: {factor.name} has {len(factor.levels)} levels, and fractions are of factors with two; "
                    "leave the fraction out, or a level"
                )
        if frozenset() in design.relation:
            raise ValueError(f"fraction: {', '.join(design.generators)}: one of them follows from the others")
        if get_resolution(design.relation) < LEAST_RESOLUTION:
            pair = format_word(min(design.relation, key=len), design.names)
            raise ValueError(f"fraction: {', '.join(design.generators)}: would not separate the main effects of {pair}")
    count = int(np.prod([len(factor.levels) for factor in design.factors])) >> len(design.generators)
    if count > MAX_CELLS:
        raise ValueError(
            f"factors: have {count} cells, each a training for each seed; {MAX_CELLS} is the most: leave out levels "
            "or factors, or give a fraction"
        )


def measure_effect(
    design: FactorialDesign, effect: Effect, values: Sequence[Sequence[float | None]]
) -> list[float | None]:
    """Return the size of an effect in each seed, in the unit of the values.

    values: a row for each seed with a value for each cell of the design. None where a cell has none, or none that is
    finite, as the other cells would then give another effect.
    """
    contrast = design.make_contrast(effect)
    rows = [[math.nan if value is None else value for value in row] for row in values]
    return [float(contrast @ row) if np.isfinite(row).all() else None for row in rows]
