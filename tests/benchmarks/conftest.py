"""Benchmarks are imported as modules by their tests."""

import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], ModuleType]]:
    """Imports a benchmark as its own process would, and forgets it again."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    before = set(sys.modules)

    def import_it(name: str) -> ModuleType:
        return importlib.import_module(name)

    yield import_it
    for name in set(sys.modules) - before:
        file = getattr(sys.modules[name], "__file__", None)
        if file is not None and Path(file).is_relative_to(BENCHMARKS):
            del sys.modules[name]
