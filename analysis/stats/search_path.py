"""The path from a search's starting point to its best settings, one key at a time."""

import re
from collections.abc import Mapping
from typing import Any

import pandas as pd

from analysis.reader.sweep import Search


def order_path(best: Mapping[str, Any], search: Search, shares: pd.DataFrame) -> dict[str, Any]:
    """Return the keys in which the best settings differ from the starting point, the most important first.

    A key whose condition names another one comes after that one. Keys without an importance, as not all trainings have
    them, come last in the order of the space; so do all of them where too few trainings give none. best: dotted key ->
    value. shares: see analysis.stats.importance.compute_importance.
    """
    if search.base is None:
        return {}
    importance = {key: _sum_components(key, shares) for key in search.space}
    changed = [key for key in search.space if key in best and best[key] != search.base.get(key)]
    remaining = sorted(changed, key=lambda key: -importance[key])
    path: dict[str, Any] = {}
    while remaining:
        key = next(key for key in remaining if not set(search.space[key].when) & set(remaining))
        path[key] = best[key]
        remaining.remove(key)
    return path


def _sum_components(key: str, shares: pd.DataFrame) -> float:
    """Return the importance of a key; of level ranges that of all their ends."""
    names = shares["key"].astype(str)
    is_own = names.str.fullmatch(rf"{re.escape(key)}( \d+)?")
    return float(shares.loc[is_own, "importance"].sum())
