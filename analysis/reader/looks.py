"""Looks of a sweep: after how many seeds decisions were taken, from the tag of its run."""

from collections.abc import Mapping
from itertools import pairwise

from pydantic import TypeAdapter, ValidationError

from analysis.formatting import format_count
from fcos.storage.store_conventions import Tag

# More seeds than any sweep has: what a tag may claim is bounded.
MAX_SEEDS = 10_000
# Tag.STATUS of a sweep whose command goes on, was killed, or was interrupted.
OPEN = ("running", "interrupted")
_LOOKS = TypeAdapter(tuple[int, ...])


def read_looks(tags: Mapping[str, str], first: int | None, num_seeds: int) -> tuple[tuple[int, ...], tuple[str, ...]]:
    """Return the looks as rising numbers of seeds, and notes.

    first: seeds of the first round where seeds are added until all is decided; then a look after each seed is assumed
    where the tag is missing, or of an earlier command, as its sweep still runs or was killed, or is broken. None for
    fixed seeds: no looks are assumed. num_seeds: that are planned or have a trial.
    """
    text = tags.get(Tag.LOOKS)
    if text is None:
        return _assume_looks(first, num_seeds, f"{Tag.LOOKS} is not recorded")
    try:
        looks = _LOOKS.validate_json(text, strict=True)
    except ValidationError:
        looks = (0,)
    numbers = (0, *looks, MAX_SEEDS)
    if all(before < after for before, after in pairwise(numbers)):
        # A command that goes on or was killed has not recorded its own.
        is_open = first is not None and tags.get(Tag.STATUS) in OPEN
        begin = max(first or 0, looks[-1] + 1 if looks else 0)
        later, notes = _assume_looks(begin if is_open else None, num_seeds, f"{Tag.LOOKS} is of an earlier command")
        return (*looks, *later), notes if later else ()
    reason = f"{Tag.LOOKS}={text[:80]}: is no list of rising numbers of seeds"
    if first is None:
        return (), (f"{reason}; the report counts one look at all.",)
    return _assume_looks(first, num_seeds, reason)


def _assume_looks(first: int | None, num_seeds: int, reason: str) -> tuple[tuple[int, ...], tuple[str, ...]]:
    """Return a look after each seed from the first round on, which is what such a sweep may have had at most."""
    if first is None:
        return (), ()
    note = f"{reason}; the report counts a look after each seed from {format_count(first, 'seed')} on."
    return tuple(range(first, num_seeds + 1)), (note,)
