"""The search that plan.json holds: points that earlier commands sampled, and seeds by which they chose them."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import count, islice
from typing import Any

from pydantic import BaseModel, ConfigDict

from fcos.config.parse import with_keys
from fcos.config.run import Config
from fcos.errors import ConfigError
from orchestration.experiment.trials import changed_keys
from orchestration.search.observations import Observation
from orchestration.search.points import SampledPoint, Search


class StoredSearch(BaseModel):
    """What plan.json holds of a search."""

    model_config = ConfigDict(frozen=True)

    space: dict[str, Any]
    strategy: dict[str, Any] = {}
    # Name of a training -> its point.
    drawn: dict[str, SampledPoint] = {}
    # By which points were chosen; empty where an older version wrote the plan.
    seeds: list[int] = []
    # What the searcher was given, and of which metrics; None where nothing was looked up.
    observations: list[Observation] | None = None
    observed_metrics: list[str] | None = None
    # Of the trainings that the searcher was given in any command; None where an older version wrote the plan.
    observed_seeds: list[int] | None = None

    @classmethod
    def of(cls, search: Search) -> "StoredSearch":
        """Return what is stored of a search."""
        space = search.config.model_dump(mode="json")["space"]
        strategy = search.strategy.model_dump(mode="json")
        values = cls(
            space=space,
            strategy=strategy,
            drawn=dict(search.drawn),
            seeds=search.all_seeds,
            observed_seeds=sorted(search.observed_seeds),
        )
        if not search.strategy.warm_start:
            return values
        observed = {"observations": search.observations, "observed_metrics": list(search.config.metrics)}
        return values.model_copy(update=observed)

    def merged_into(self, before: "StoredSearch") -> "StoredSearch":
        """Add what an earlier command sampled and was given."""
        update: dict[str, Any] = {
            "drawn": {**before.drawn, **self.drawn},
            "seeds": sorted({*before.seeds, *self.seeds}),
            "observed_seeds": sorted({*(before.observed_seeds or ()), *(self.observed_seeds or ())}),
        }
        if self.observations is None:
            update |= {"observations": before.observations, "observed_metrics": before.observed_metrics}
        return self.model_copy(update=update)


def sampled_before(search: Search, stored: StoredSearch | None) -> dict[str, Config]:
    """Take up the points that earlier commands sampled; return their configs by name.

    Raises ConfigError for a point that is no valid configuration any more.
    """
    configs = {}
    for name, drawn in ({} if stored is None else stored.drawn).items():
        search.drawn[name] = drawn
        try:
            configs[name] = with_keys(search.base, drawn.keys)
        except ConfigError as error:
            raise ConfigError(f"{name}, drawn by an earlier command: {error}; give another name=...") from None
    return configs


def with_seeds_before(search: Search, stored: StoredSearch | None) -> Search:
    """Return a search that confirms by seeds which no command of its sweep has chosen points by.

    Trainings that the searcher was given have, too. A number of seeds passes over theirs; raises ConfigError for a list
    with one that has chosen points.
    """
    before = () if stored is None else tuple(stored.seeds)
    search = replace(search, seeds_before=before)
    if not isinstance(search.strategy.confirm_seeds, tuple):
        unseen = (seed for seed in count(max(search.all_seeds) + 1) if seed not in search.observed_seeds)
        return replace(search, confirm_seeds=tuple(islice(unseen, len(search.confirm_seeds))))
    if both := sorted(set(before) & set(search.confirm_seeds)):
        raise ConfigError(
            f"search.confirm_seeds={list(search.confirm_seeds)}: {both} were among experiment.seeds of an earlier "
            "command, by which points were chosen; give others, their number alone, or another name=..."
        )
    if both := sorted(search.observed_seeds & set(search.confirm_seeds)):
        raise ConfigError(
            f"search.confirm_seeds={list(search.confirm_seeds)}: {both} are seeds of trainings that an earlier command "
            "gave to the searcher (search.warm_start); give others, their number alone, or another name=..."
        )
    return search


def search_differences(before: StoredSearch, now: Search, lines: Sequence[str]) -> list[str]:
    """Return the differences of a search from the stored one; `lines` are those of its points.

    Where another space, searcher or seed gives other points, that is the difference, and not what it gave.
    """
    stored = StoredSearch.of(now)
    causes = changed_keys({"experiment.search.space": before.space}, {"experiment.search.space": stored.space})
    drawing = ("searcher", "seed")
    old, new = (
        {f"search.{key}": each.strategy[key] for key in drawing if key in each.strategy} for each in (before, stored)
    )
    drawn = [line for line in lines if line.split(":")[0] in now.config.space]
    if drawn and old:
        causes += [f"{line}, which draws other points" for line in changed_keys(old, new)]
    return [*causes, *(line for line in lines if not causes or line not in drawn)]
