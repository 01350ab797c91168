"""Looks of a sweep: after how many seeds decisions were taken, from the tag of its run."""

from collections.abc import Mapping
from itertools import pairwise

from pydantic import TypeAdapter, ValidationError

from fcos.storage.store_conventions import Tag

# More seeds than any sweep has: what a tag may claim is bounded.
MAX_SEEDS = 10_000
_LOOKS = TypeAdapter(tuple[int, ...])


def read_looks(tags: Mapping[str, str]) -> tuple[tuple[int, ...], tuple[str, ...]]:
    """Return the looks as rising numbers of seeds, and notes; no looks without the tag."""
    text = tags.get(Tag.LOOKS)
    if text is None:
        return (), ()
    try:
        looks = _LOOKS.validate_json(text, strict=True)
    except ValidationError:
        looks = (0,)
    numbers = (0, *looks, MAX_SEEDS)
    if all(before < after for before, after in pairwise(numbers)):
        return looks, ()
    return (), (f"{Tag.LOOKS}={text[:80]}: is no list of rising numbers of seeds; the report counts one look at all.",)
