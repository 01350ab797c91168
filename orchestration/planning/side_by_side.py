"""Check that trainings which run at the same time fit into this machine's shared memory together."""

from collections.abc import Collection, Sequence

from fcos.data.shared_memory import FOLDER, format_mib, free_bytes, way_out
from fcos.errors import ConfigError
from orchestration.cluster.resources import Node, demand, max_concurrent
from orchestration.config.schema import LabConfig
from orchestration.experiment.trials import Trial
from orchestration.planning.plan import Plan
from orchestration.planning.reuse import ReusableRuns, is_done
from orchestration.planning.search_race import count_to_come
from orchestration.planning.seed_rounds import later_trainings


def check_loaders_together(lab: LabConfig, plan: Plan, nodes: Sequence[Node] | None, reusable: ReusableRuns) -> None:
    """Raise ConfigError where loaders of trainings that run side by side need more shared memory than is free.

    Each training fits by itself (`prepare_data`). Points that a search is yet to draw count as the largest that is
    known. Rounds of seeds count each by itself: one begins when the one before has ended. nodes: None before a cluster
    is joined, whose machines are not this one.
    """
    if nodes is None or lab.cluster.address != "local" or plan.datasets is None:
        return
    done = {trial.identity for trial in plan.trials if is_done(plan, trial, reuse=lab.reuse)}
    left = [trial for trial in plan.trials if trial.identity not in {*done, *reusable.sources}]
    to_come = [plan.datasets.most_loader_bytes] * count_to_come(plan)
    most = max_concurrent(nodes, demand(lab.cluster, nodes), lab.cluster.concurrent)
    for trials in _split_rounds(left, later_trainings(plan, lab.experiment)):
        needed = [plan.datasets.info(trial.config).loader_bytes for trial in trials]
        _check_sum(sorted([*needed, *to_come], reverse=True)[:most])


def _split_rounds(trials: Sequence[Trial], later: Collection[str]) -> list[list[Trial]]:
    """Return the trainings that may begin at once, and those of each later seed, whose identities are `later`."""
    rounds: dict[int | None, list[Trial]] = {None: []}
    for trial in trials:
        rounds.setdefault(trial.seed if trial.identity in later else None, []).append(trial)
    return list(rounds.values())


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
