"""Fewer workers than planned share the same batch in pieces of the same size, and the result says so."""

from typing import Any

import pytest

from fcos.config.parse import parse, set_value
from fcos.config.run import Config
from fcos.data.sampler import split_count
from fcos.training.elastic import describe_history, extend_history, history_notes
from orchestration.experiment.identity import worker_dependences_of


@pytest.mark.parametrize(
    ("micro_batch", "workers", "planned", "expected"),
    [
        (16, 2, 2, 1),
        (16, 1, 2, 2),
        (16, 2, 8, 4),
        (16, 8, 1, 1),
        # A third of six is two; three for each of two workers are cut into ones.
        (6, 2, 3, 3),
        (24, 3, 4, 2),
        (2, 1, 2, 2),
        (1, 1, 1, 1),
    ],
)
def test_no_piece_is_larger_than_with_all_workers(micro_batch: int, workers: int, planned: int, expected: int) -> None:
    assert split_count(micro_batch, workers, planned) == expected
    assert micro_batch % (workers * expected) == 0


def test_what_is_done_again_counts_for_the_workers_that_do_it() -> None:
    history = extend_history([], 0, 2)
    assert history == [[0, 2]]
    assert extend_history(history, 8, 2) == [[0, 2]]
    shrunk = extend_history(history, 8, 1)
    assert shrunk == [[0, 2], [8, 1]]
    assert extend_history(shrunk, 8, 2) == [[0, 2]]
    assert extend_history(shrunk, 12, 2) == [[0, 2], [8, 1], [12, 2]]
    assert extend_history([[0, 2]], 0, 1) == [[0, 1]]
    assert describe_history(shrunk) == "2, from step 9 on 1"
    assert describe_history([[0, 8]]) == "8"


GATHERS = "but batch norms gather statistics on each worker, so that the number matters"


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"model.backbone.norm": "bn"}, GATHERS),
        ({"model.fpn.norm": "bn"}, GATHERS),
        ({"model.head.norm": "bn_per_level"}, GATHERS),
        (
            {"model.loss.normalizer": "local"},
            "but losses are divided by each worker's own positives, so that the number matters",
        ),
        (
            {"model.assignment.tie_break": "random"},
            "but ties between boxes are drawn on each worker, so that the number matters",
        ),
        ({}, "2, from step 9 on 1; batch size and learning rate stayed as they were"),
    ],
)
def test_a_changed_number_of_workers_is_noted_with_what_it_means(
    tiny_values: dict[str, Any], changes: dict[str, str], expected: str
) -> None:
    for key, value in {"model.backbone.norm": "frozen_bn", "model.head.norm": "gn", **changes}.items():
        tiny_values = set_value(tiny_values, key, value)
    config = parse(Config, tiny_values)
    assert history_notes([[0, 2]], config) == []
    (note,) = history_notes([[0, 2], [8, 1]], config)
    assert note.endswith(expected)
    # The identity of a training goes by the same rule.
    assert bool(worker_dependences_of(config)) is bool(changes)
