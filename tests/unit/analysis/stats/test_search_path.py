"""The path from a search's starting point to its best settings."""

from typing import Any

import pandas as pd

from analysis.reader.sweep import Distribution, Search
from analysis.stats.search_path import order_path

SPACE = {
    "model.assignment.ranges": Distribution(ranges=(16, 128, 2)),
    "model.head.gn_groups": Distribution(choice=[4, 8], when={"model.head.norm": "gn"}),
    "model.head.norm": Distribution(choice=["gn", "bn"]),
    "schedule.lr": Distribution(loguniform=(0.001, 0.1)),
    "schedule.lr_scale": Distribution(loguniform=(0.001, 0.1)),
}
BASE: dict[str, Any] = {
    "model.assignment.ranges": [[0, 32], [32, 64], [64, None]],
    "model.head.gn_groups": 8,
    "model.head.norm": "bn",
    "schedule.lr": 0.01,
    "schedule.lr_scale": 1.0,
}
BEST: dict[str, Any] = {
    "model.assignment.ranges": [[0, 20], [20, 90], [90, None]],
    "model.head.gn_groups": 4,
    "model.head.norm": "gn",
    "schedule.lr": 0.02,
    "schedule.lr_scale": 1.0,
}


def search(base: dict[str, Any] | None = BASE) -> Search:
    return Search(space=SPACE, trials=9, metric="val/AP", mode="max", base=base)


def shares(**importance: float) -> pd.DataFrame:
    rows = [(key.replace("__", ".").replace("_end_", " "), value) for key, value in importance.items()]
    return pd.DataFrame(rows, columns=["key", "importance"])


def test_the_most_important_key_comes_first_and_level_ranges_count_as_one() -> None:
    known = shares(
        schedule__lr=0.4,
        model__assignment__ranges_end_1=0.3,
        model__assignment__ranges_end_2=0.2,
        model__head__norm=0.1,
    )
    assert list(order_path(BEST, search(), known)) == [
        "model.assignment.ranges",
        "schedule.lr",
        "model.head.norm",
        "model.head.gn_groups",
    ]


def test_a_key_with_a_condition_follows_the_key_that_it_depends_on() -> None:
    known = shares(model__head__gn_groups=0.9, model__head__norm=0.1)
    path = list(order_path(BEST, search(), known))
    assert path.index("model.head.norm") < path.index("model.head.gn_groups")


def test_a_key_that_stays_as_it_was_is_no_step() -> None:
    path = order_path({**BEST, "model.head.norm": "bn"}, search(), shares())
    assert path == {key: BEST[key] for key in ("model.assignment.ranges", "model.head.gn_groups", "schedule.lr")}


def test_without_the_starting_point_there_is_no_path() -> None:
    assert order_path(BEST, search(None), shares(schedule__lr=1.0)) == {}
