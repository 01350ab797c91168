"""The best settings of a search to paste, and the command that confirms them."""

import json
import shlex
from collections.abc import Mapping
from typing import Any

from analysis.formatting import format_count, format_number, shorten_metric
from analysis.reader.sweep import Search, Sweep
from analysis.stats.importance import is_unset
from fcos.installation import command

# Overrides that belong to the search itself or to its storage, and not to the trainings.
SEARCH_KEYS = ("search", "name", "dry_run", "tracking", "experiment.search", "experiment.seeds")
NUM_SEEDS = 3
# Room for the suffix in a sweep's name of at most 64 characters.
MAX_NAME = 54


def format_best_settings(sweep: Sweep, search: Search, best: Mapping[str, Any], *, is_confirmed: bool) -> str:
    """Return the best settings as YAML; where they are not confirmed also the command that compares them."""
    keys = {key: best[key] for key in search.space if not is_unset(best[key])}
    result = f"{shorten_metric(search.metric)} {format_number(best['value'], search.metric)}"
    over = "in one seed" if best["seeds"] < 2 else f"over {format_count(best['seeds'], 'seed')} of the search"
    lines = [f"# best: {best['trial']}, {result} {over}"]
    lines += [f"{key}: {json.dumps(value)}" for key, value in keys.items()]
    if not is_confirmed:
        lines += [f"# over {NUM_SEEDS} other seeds:", f"# {make_confirmation_command(sweep, search, keys)}"]
    return "\n".join(lines) + "\n"


def make_confirmation_command(sweep: Sweep, search: Search, keys: Mapping[str, Any]) -> str:
    """Return the command of an ablation of the best settings against the search's base, over unused seeds."""
    kept = [override for override in search.overrides if not _is_search_override(override)]
    first = max(sweep.experiment.seeds, default=0) + 1
    seeds = ",".join(str(seed) for seed in range(first, first + NUM_SEEDS))
    arm = ", ".join(f"{key}: {json.dumps(value)}" for key, value in keys.items())
    overrides = [
        *kept,
        "experiment.search=null",
        f"name={sweep.name[:MAX_NAME]}_confirmed",
        "experiment.baseline=base",
        f"experiment.arms={{base: {{}}, best: {{{arm}}}}}",
        f"experiment.seeds=[{seeds}]",
    ]
    return " ".join([command("sweep"), *(shlex.quote(override) for override in overrides)])


def _is_search_override(override: str) -> bool:
    key = override.lstrip("+~").partition("=")[0]
    return any(key == name or key.startswith(f"{name}.") for name in SEARCH_KEYS)
