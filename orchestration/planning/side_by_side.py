"""Check that trainings which run at the same time fit into this machine's shared memory together."""

from collections.abc import Sequence

from fcos.data.shared_memory import FOLDER, format_mib, free_bytes, way_out
from fcos.errors import ConfigError
from orchestration.cluster.resources import Node, demand, max_concurrent
from orchestration.config.schema import LabConfig
from orchestration.planning.plan import Plan
from orchestration.planning.reuse import ReusableRuns, is_done
from orchestration.planning.search_race import count_to_come


def check_loaders_together(lab: LabConfig, plan: Plan, nodes: Sequence[Node] | None, reusable: ReusableRuns) -> None:
    """Raise ConfigError where loaders of trainings that run side by side need more shared memory than is free.

    Each training fits by itself (`prepare_data`). Points that a search is yet to draw count as the largest that is
    known. nodes: None before a cluster is joined, whose machines are not this one.
    """
    if nodes is None or lab.cluster.address != "local" or plan.datasets is None:
        return
    done = {trial.identity for trial in plan.trials if is_done(plan, trial, reuse=lab.reuse)}
    left = [trial for trial in plan.trials if trial.identity not in {*done, *reusable.sources}]
    needed = [plan.datasets.info(trial.config).loader_bytes for trial in left]
    needed += [plan.datasets.most_loader_bytes] * count_to_come(plan)
    count = min(max_concurrent(nodes, demand(lab.cluster, nodes), lab.cluster.concurrent), len(needed))
    _check_sum(sorted(needed, reverse=True)[:count])


def _check_sum(needed: Sequence[int]) -> None:
    """Raise ConfigError where so many bytes for each training, largest first, are more than there are together."""
    free, total = free_bytes(), sum(needed)
    if free is None or total <= free or len(needed) < 2:
        return
    fitting = max(count for count in range(1, len(needed)) if count == 1 or sum(needed[:count]) <= free)
    raise ConfigError(
        f"cluster.concurrent: {len(needed)} trainings side by side need {format_mib(total)} of {FOLDER} for the "
        f"batches of their loader processes, where {format_mib(free)} are free; give cluster.concurrent={fitting}, or "
        f"{way_out(total)}"
    )
