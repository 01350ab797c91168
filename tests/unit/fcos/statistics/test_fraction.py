"""Fractions: generators, defining relations, resolution, the fraction of the least aberration."""

import pytest

from fcos.statistics.fraction import expand_relation, get_resolution, iterate_fractions, parse_generator

FIVE = ("a", "b", "c", "d", "e")


def relation_of(*generators: str) -> set[str]:
    """Return the defining relation as sorted words."""
    words = expand_relation([parse_generator(text, FIVE) for text in generators])
    return {"".join(sorted(word)) for word in words}


def test_the_relation_is_all_products_of_the_generators() -> None:
    assert relation_of("d=a*b*c") == {"abcd"}
    assert relation_of("d=a*b", "e=a*c") == {"abd", "ace", "bcde"}
    assert relation_of("d=a*b*c", "e = b * c * d") == {"abcd", "bcde", "ae"}


def test_a_generator_that_follows_from_the_others_gives_an_empty_word() -> None:
    assert "" in relation_of("d=a*b", "a=b*d")


@pytest.mark.parametrize(
    ("generators", "resolution"), [(["c=a*b"], 3), (["d=a*b*c"], 4), (["e=a*b*c*d"], 5), (["d=a*b", "e=a*c"], 3)]
)
def test_the_resolution_is_the_length_of_the_shortest_word(generators: list[str], resolution: int) -> None:
    assert get_resolution(expand_relation([parse_generator(text, FIVE) for text in generators])) == resolution


@pytest.mark.parametrize("text", ["d=a*x", "d", "", "=a*b", "x=a*b", "d=a*a", "a=a*b"])
def test_what_is_no_generator_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="fraction: "):
        parse_generator(text, FIVE)


@pytest.mark.parametrize(
    ("factors", "count", "resolution", "cells"),
    [
        (3, 1, 3, 4),
        (4, 1, 4, 8),
        (5, 1, 5, 16),
        (5, 2, 3, 8),
        (6, 2, 4, 16),
        (7, 3, 4, 16),
        (7, 4, 3, 8),
        (8, 4, 4, 16),
    ],
)
def test_the_first_fraction_has_the_resolution_of_the_tables(
    factors: int, count: int, resolution: int, cells: int
) -> None:
    """As in Box, Hunter and Hunter, Statistics for Experimenters (2005), table 6.22."""
    names = tuple("abcdefgh"[:factors])
    first = next(iterate_fractions(names, count))
    assert 2 ** (factors - count) == cells
    assert get_resolution(expand_relation([parse_generator(text, names) for text in first])) == resolution


@pytest.mark.parametrize(("factors", "count"), [(2, 1), (3, 2), (3, 3), (4, 2), (8, 5), (3, 0)])
def test_fractions_that_alias_main_effects_are_none(factors: int, count: int) -> None:
    assert next(iterate_fractions(tuple("abcdefgh"[:factors]), count), None) is None
