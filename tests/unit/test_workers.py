"""Fewer workers than planned share the same batch in pieces of the same size, and the result says so."""

from typing import Any

import pytest

from fcos.config import Config
from fcos.parsing import parse
from fcos.workers import go_on, in_words, pieces, remarks


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
    assert pieces(micro_batch, workers, planned) == expected
    assert micro_batch % (workers * expected) == 0


def test_what_is_done_again_counts_for_the_workers_that_do_it() -> None:
    history = go_on([], 0, 2)
    assert history == [[0, 2]]
    assert go_on(history, 8, 2) == [[0, 2]]
    shrunk = go_on(history, 8, 1)
    assert shrunk == [[0, 2], [8, 1]]
    assert go_on(shrunk, 8, 2) == [[0, 2]]
    assert go_on(shrunk, 12, 2) == [[0, 2], [8, 1], [12, 2]]
    assert go_on([[0, 2]], 0, 1) == [[0, 1]]
    assert in_words(shrunk) == "2, from step 9 on 1"
    assert in_words([[0, 8]]) == "8"


@pytest.mark.parametrize(
    ("norm", "normalizer", "expected"),
    [
        ("bn", "global", "but batch norms gather statistics on each worker, so that the number matters"),
        ("frozen_bn", "local", "but losses are divided by each worker's own positives, so that the number matters"),
        ("frozen_bn", "global", "2, from step 9 on 1; batch size and learning rate stayed as they were"),
    ],
)
def test_a_change_is_told_with_what_it_means(
    tiny_values: dict[str, Any], norm: str, normalizer: str, expected: str
) -> None:
    tiny_values["model"]["backbone"]["norm"] = norm
    tiny_values["model"]["loss"] = {**tiny_values["model"].get("loss", {}), "normalizer": normalizer}
    config = parse(Config, tiny_values)
    assert remarks([[0, 2]], config) == []
    (told,) = remarks([[0, 2], [8, 1]], config)
    assert told.endswith(expected)
