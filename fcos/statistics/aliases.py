"""Aliases: what a fraction of a factorial design adds to each of its effects."""

from dataclasses import dataclass

from fcos.statistics.factorial import MAX_ORDER, Effect, FactorialDesign
from fcos.statistics.fraction import format_word


@dataclass(frozen=True)
class Alias:
    """An effect that a fraction adds to another one.

    name: its factors, such as norm*loss. order: their number. coefficient: how many times it is added.
    """

    name: str
    order: int
    coefficient: float


def list_aliases(design: FactorialDesign, effect: Effect) -> tuple[Alias, ...]:
    """Return what is added to an effect, that of the fewest factors first; nothing where all cells are there.

    An effect of n factors, each against the first level, is 2^n times its coefficient in the model of -1 and +1, in
    which two words are aliased with the sign of their product.
    """
    aliases = []
    for word in design.relation:
        other = effect.word ^ word
        coefficient = 2.0 ** (len(effect.word) - len(other)) * (-1) ** len(word)
        aliases.append(Alias(format_word(other, design.names), len(other), coefficient))
    return tuple(sorted(aliases, key=lambda alias: alias.order))


def describe_aliases(design: FactorialDesign, effect: Effect) -> str:
    """Describe the aliases of an effect: "-0.5 loss*radius, 2 of more factors"; "" where nothing is added."""
    aliases = list_aliases(design, effect)
    short = [alias for alias in aliases if alias.order <= MAX_ORDER]
    parts = [f"{_format_coefficient(alias.coefficient)}{alias.name}" for alias in short]
    if more := len(aliases) - len(short):
        parts.append(f"{more} of {MAX_ORDER + 1} or more factors")
    return ", ".join(parts)


def _format_coefficient(coefficient: float) -> str:
    return {1.0: "+", -1.0: "-"}.get(coefficient, f"{coefficient:+g} ")


def describe_fraction(design: FactorialDesign) -> str:
    """Describe which cells there are: "a fraction of resolution III, I = -norm*loss*quality", or "all of them"."""
    if not design.relation:
        return "all of them"
    words = sorted(design.relation, key=lambda word: (len(word), format_word(word, design.names)))
    signed = [f"{'-' if len(word) % 2 else ''}{format_word(word, design.names)}" for word in words]
    return f"a fraction of resolution {design.resolution}, I = {' = '.join(signed)}"
