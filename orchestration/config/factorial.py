"""Factors of an experiment: their design, and the arms that are its cells."""

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

from fcos.config.parse import flatten
from fcos.errors import ConfigError
from fcos.statistics.aliases import describe_aliases, describe_fraction, list_aliases
from fcos.statistics.factorial import MAX_ORDER, AliasedClaimsError, Factor, FactorialDesign, check_factors
from fcos.statistics.fraction import iterate_fractions
from orchestration.config.groups import expand_presets


def with_cells(experiment: Mapping[str, Any], own: Path | None = None) -> dict[str, Any]:
    """Return the plain values of an experiment, where it has factors completed by arms, baseline and generators.

    What is no mapping of mappings is left to the schema. `own` is the folder of --config-dir. Raises ConfigError for
    factors that are no design, and for keys beside them that exclude them.
    """
    values = dict(experiment)
    factors, fraction, claimed = (values.get(key) for key in ("factors", "fraction", "claimed_effects"))
    if not factors:
        for key, value in (("fraction", fraction), ("claimed_effects", claimed)):
            if value:
                raise ConfigError(f"experiment.{key}={value}: has no effect without experiment.factors; leave it out")
        return values
    is_number = isinstance(fraction, int) and not isinstance(fraction, bool)
    has_shape = _is_nested(factors) and (is_number or isinstance(fraction, list | None))
    if not has_shape or not isinstance(claimed, list | None):
        return values
    expanded = {name: expand_presets(levels, own, f"experiment.factors.{name}") for name, levels in factors.items()}
    try:
        _check_distinct_keys(expanded)
        design = plan_design(expanded, fraction, tuple(map(str, claimed or ())))
        arms = make_arms(design, expanded)
        _check_others(values, arms)
    except ValueError as error:
        raise ConfigError(f"experiment.{error}") from None
    generated = {"arms": arms, "baseline": design.arms[0], "fraction": list(design.generators)}
    return {**values, "factors": expanded, **generated}


def _is_nested(factors: Any) -> bool:
    return isinstance(factors, Mapping) and all(
        isinstance(levels, Mapping) and all(isinstance(keys, Mapping) for keys in levels.values())
        for levels in factors.values()
    )


def plan_design(
    factors: Mapping[str, Mapping[str, Any]], fraction: Sequence[Any] | int | None, claimed: tuple[str, ...] = ()
) -> FactorialDesign:
    """Return the design of factors; a number p as fraction is one of 2^-p that keeps claimed effects apart.

    Raises ValueError where there is none, with the aliases and a fraction that would do.
    """
    given = tuple(Factor(str(name), tuple(map(str, levels))) for name, levels in factors.items())
    if isinstance(fraction, int):
        return _choose_fraction(given, fraction, claimed)
    # Without claims first: what is no fraction at all has another way out.
    design = FactorialDesign(given, tuple(map(str, fraction or ())))
    try:
        return replace(design, claimed=claimed)
    except AliasedClaimsError as error:
        raise ValueError(f"{error}{_suggest_fraction(design, len(design.generators), claimed)}") from None


def _choose_fraction(factors: tuple[Factor, ...], count: int, claimed: tuple[str, ...]) -> FactorialDesign:
    """Return the fraction of 2^-count with the least aberration that keeps claimed effects apart."""
    # Before any fraction: of more factors there are too many to iterate over.
    check_factors(factors)
    names = [factor.name for factor in factors]
    if count < 0:
        raise ValueError(f"fraction={count}: must not be below 0; fraction=1 is half of the cells")
    if count == 0:
        return FactorialDesign(factors, claimed=claimed)
    first = next(iterate_fractions(names, count), None)
    if first is None:
        most = max((p for p in range(len(names)) if p == 0 or next(iterate_fractions(names, p), None)), default=0)
        raise ValueError(
            f"fraction={count}: would not separate the main effects of {len(names)} factors; at most fraction={most} "
            "does"
        )
    design = FactorialDesign(factors, first)
    for generators in iterate_fractions(names, count):
        try:
            return FactorialDesign(factors, generators, claimed)
        except AliasedClaimsError as error:
            reason = str(error)
    raise ValueError(f"{reason}{_suggest_fraction(design, count - 1, claimed)}")


def _suggest_fraction(design: FactorialDesign, most: int, claimed: tuple[str, ...]) -> str:
    """Return the fraction of the fewest cells, 2^-most at the least, in which no claimed effect is aliased."""
    for count in range(most, 0, -1):
        for generators in iterate_fractions(design.names, count):
            try:
                apart = FactorialDesign(design.factors, generators, claimed)
            except ValueError:
                continue
            word = shlex.quote(f"experiment.fraction={json.dumps(generators)}")
            return f"; {word} of {len(apart.cells)} cells keeps them apart"
    return "; leave experiment.fraction out: all cells keep them apart"


def make_arms(design: FactorialDesign, factors: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return an arm for each cell: the dotted keys of its levels."""
    arms: dict[str, dict[str, Any]] = {}
    for arm, cell in zip(design.arms, design.cells, strict=True):
        arms[arm] = {}
        for name, level in zip(design.names, cell, strict=True):
            arms[arm] |= flatten(factors[name][level])
    return arms


def _check_distinct_keys(factors: Mapping[str, Mapping[str, Any]]) -> None:
    """Raise ValueError for a key that two factors set, of which one would win."""
    keys = {name: {key for changes in levels.values() for key in flatten(changes)} for name, levels in factors.items()}
    for (one, ours), (other, theirs) in combinations(keys.items(), 2):
        for key in sorted(ours & theirs):
            raise ValueError(f"factors: {one} and {other} both set {key}; a key belongs to one factor")


def _check_others(values: Mapping[str, Any], arms: Mapping[str, Any]) -> None:
    """Raise ValueError for what an experiment with factors cannot have beside them."""
    given = {key for key, value in values.items() if value}
    for other in sorted(given & {"search"} | ({"arms"} if values.get("arms") not in (None, {}, arms) else set())):
        raise ValueError(f"factors, {other}: give exactly one of arms, factors, search; both are given")
    if "cumulative" in given:
        raise ValueError("cumulative: has no meaning for factors, whose cells are all combinations; leave it out")
    if "paper" in given:
        raise ValueError(
            "paper: rows of a paper differ in single arms, and factors are judged by their effects; leave it out, or "
            "give arms"
        )
    if values.get("kind", "comparison") != "comparison":
        raise ValueError(f"kind={values['kind']}: has arms that differ in seeds; leave the factors out")
    baseline, first = values.get("baseline"), next(iter(arms))
    if baseline not in (None, first):
        raise ValueError(
            f"baseline={baseline}: is {first} with these factors, the cell of all first levels; leave it out"
        )


def describe_design(design: FactorialDesign) -> list[str]:
    """Return lines on the cells of a design and on effects aliased with those of few factors, for the plan."""
    factors = ", ".join(f"{factor.name} ({', '.join(factor.levels)})" for factor in design.factors)
    lines = [f"{len(design.cells)} cells of the factors {factors}: {describe_fraction(design)}"]
    short = [
        effect for effect in design.effects if any(alias.order <= MAX_ORDER for alias in list_aliases(design, effect))
    ]
    pairs = [f"{effect.name} with {describe_aliases(design, effect)}" for effect in short]
    return [*lines, *([f"aliased, which no number of seeds separates: {'; '.join(pairs)}"] if pairs else [])]
