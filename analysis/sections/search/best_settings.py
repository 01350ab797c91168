"""The best settings of a search to paste, and the command that confirms them."""

import json
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from analysis.formatting import format_count, format_number, shorten_metric
from analysis.reader.published import is_published
from analysis.reader.sweep import Search, Sweep
from analysis.stats.importance import is_unset
from analysis.stats.search_path import order_path
from fcos.installation import command, installed_command

# Overrides that belong to the search itself or to its storage, and not to the trainings.
SEARCH_KEYS = ("search", "name", "dry_run", "report", "tracking", "experiment.search", "experiment.seeds")
NUM_SEEDS = 3
# Room for the suffix in a sweep's name of at most 64 characters.
MAX_NAME = 54


def format_best_settings(
    sweep: Sweep, search: Search, best: Mapping[str, Any], shares: pd.DataFrame, confirming: Sequence[int] = ()
) -> str:
    """Return the best settings as YAML, and commands that hold them against the base over other seeds.

    shares: importance of the keys, see analysis.stats.importance. confirming: seeds of that comparison where it is
    there.
    """
    keys = {key: best[key] for key in search.space if not is_unset(best[key])}
    result = f"{shorten_metric(search.metric)} {format_number(best['value'], search.metric)}"
    over = "in one seed" if best["seeds"] < 2 else f"over {format_count(best['seeds'], 'seed')} of the search"
    lines = [f"# best: {best['trial']}, {result} {over}"]
    lines += [f"{key}: {json.dumps(value)}" for key, value in keys.items()]
    seeds = list(confirming) or _choose_seeds(sweep, search)
    if not confirming:
        lines += [f"# over {NUM_SEEDS} other seeds:", f"# {make_confirmation_command(sweep, search, keys, seeds)}"]
    path = order_path(keys, search, shares)
    if len(path) > 1:
        lines += ["# from the base to them, one key at a time:", f"# {make_path_command(sweep, search, path, seeds)}"]
    return "\n".join(lines) + "\n"


def make_confirmation_command(sweep: Sweep, search: Search, keys: Mapping[str, Any], seeds: Sequence[int]) -> str:
    """Return the command of an ablation of the best settings against the search's base."""
    return _make_command(sweep, search, {"best": keys}, seeds, "confirmed")


def make_path_command(sweep: Sweep, search: Search, path: Mapping[str, Any], seeds: Sequence[int]) -> str:
    """Return the command of an ablation whose arms each change one more key, over the seeds of the confirmation.

    Its first and last arm are those of the confirmation, and are taken over from it. path: see
    analysis.stats.search_path.
    """
    names = shorten_keys(path)
    arms = {names[key]: {key: value} for key, value in path.items()}
    return _make_command(sweep, search, arms, seeds, "path", "experiment.cumulative=true")


def shorten_keys(keys: Mapping[str, Any]) -> dict[str, str]:
    """Return key -> its last part, or the whole key where another one has the same last part."""
    last = [key.split(".")[-1] for key in keys]
    return {key: part if last.count(part) == 1 else key for key, part in zip(keys, last, strict=True)}


def _choose_seeds(sweep: Sweep, search: Search) -> list[int]:
    """Return the seeds after all by which the search chose points."""
    first = max((*sweep.experiment.seeds, *search.all_seeds), default=0) + 1
    return list(range(first, first + NUM_SEEDS))


def _make_command(
    sweep: Sweep, search: Search, arms: Mapping[str, Mapping[str, Any]], seeds: Sequence[int], suffix: str, *more: str
) -> str:
    """Return the command of an ablation of arms against the search's base."""
    kept = [override for override in search.overrides if not _is_search_override(override)]
    changes = {
        arm: ", ".join(f"{key}: {json.dumps(value)}" for key, value in keys.items()) for arm, keys in arms.items()
    }
    listed = ", ".join(f"{arm}: {{{keys}}}" for arm, keys in {"base": "", **changes}.items())
    overrides = [
        *kept,
        "experiment.search=null",
        f"name={sweep.name[:MAX_NAME]}_{suffix}",
        "experiment.baseline=base",
        f"experiment.arms={{{listed}}}",
        *more,
        f"experiment.seeds=[{','.join(map(str, seeds))}]",
    ]
    # In an archive it is the same however the report was started, by a script or by an installed command.
    program = installed_command("sweep") if is_published(sweep.uri) else command("sweep")
    return " ".join([program, *(shlex.quote(override) for override in overrides)])


def _is_search_override(override: str) -> bool:
    key = override.lstrip("+~").partition("=")[0]
    return any(key == name or key.startswith(f"{name}.") for name in SEARCH_KEYS)
